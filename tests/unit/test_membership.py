"""A node's side of the catalog: it keeps its lease, follows snapshots, and finds other nodes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from alder import membership
from alder.catalog import Collection, Node, Snapshot
from alder.errors import AlderError, Reason
from alder.interfaces import LeafClient, ProofClient
from alder.membership import CatalogFollower, Directory
from alder.remote import RemoteCatalog, RemoteLeaf, RemoteProof, RemoteTailer, open_channel
from alder.serving import Server
from alder.v1 import catalog_pb2
from controller.log import EmbeddedLog
from controller.service import Controller
from controller.settings import ControllerSettings

LEAF = Node("leaf1", catalog_pb2.NODE_ROLE_LEAF, "127.0.0.1:1")


class FlakyCatalog:
    """A catalog whose watches and heartbeats fail as long as told to; counts heartbeats."""

    def __init__(self) -> None:
        self.down = True
        self.revisions = [3, 2, 5]
        self.asked: list[int] = []
        self.asked_for_newest = asyncio.Event()
        self.beats = 0
        self.left = False

    async def watch(
        self, request: catalog_pb2.WatchRequest, timeout_s: float | None = None
    ) -> AsyncIterator[catalog_pb2.CatalogSnapshot]:
        self.asked.append(request.revision)
        if request.revision == max(self.revisions):
            self.asked_for_newest.set()
        if self.down:
            raise AlderError(Reason.UNAVAILABLE, "down")
        for revision in self.revisions:
            await asyncio.sleep(0.01)
            yield catalog_pb2.CatalogSnapshot(
                revision=revision,
                collections=[catalog_pb2.Collection(name=f"r{revision}", collection_id=revision)],
            )

    async def heartbeat(
        self, request: catalog_pb2.HeartbeatRequest, timeout_s: float | None = None
    ) -> catalog_pb2.HeartbeatResponse:
        self.beats += 1
        self.left = request.leaving
        if self.down:
            raise AlderError(Reason.UNAVAILABLE, "down")
        return catalog_pb2.HeartbeatResponse(lease_ms=30)

    async def unused(self, request: object, timeout_s: float | None = None) -> object:
        raise NotImplementedError

    create_collection = drop_collection = register_partitions = unused
    define = undefine = accelerate = unused


@pytest.fixture(autouse=True)
def _quick_reconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "RECONNECT_DELAY_S", 0.01)


def follow(
    scenario: Callable[[CatalogFollower, FlakyCatalog], Awaitable[None]], node: Node | None = None
) -> FlakyCatalog:
    async def run() -> FlakyCatalog:
        catalog = FlakyCatalog()
        follower = CatalogFollower(catalog, node)
        await follower.start()
        try:
            await scenario(follower, catalog)
        finally:
            await follower.stop()
        return catalog

    return asyncio.run(run())


def test_a_follower_takes_what_is_newer_and_survives_failures() -> None:
    async def scenario(follower: CatalogFollower, catalog: FlakyCatalog) -> None:
        assert not await follower.wait_until(lambda s: s.revision > 0, 0.05)
        assert len(catalog.asked) > 1, "it tries again"
        catalog.down = False
        seen: list[int] = []

        def reached(snapshot: Snapshot) -> bool:
            seen.append(snapshot.revision)
            return snapshot.revision == 5

        assert await follower.wait_until(reached, 5)
        assert 2 not in seen, "it went back"
        await asyncio.wait_for(catalog.asked_for_newest.wait(), 5)
        assert follower.collection("r5", 5) == Collection("r5", 5, epoch=0)
        for name, collection_id in (("r5", 4), ("r3", 3)):
            with pytest.raises(AlderError) as caught:
                follower.collection(name, collection_id)
            assert caught.value.reason is Reason.UNKNOWN_COLLECTION

    follow(scenario)


def test_a_lease_is_kept_over_failures_and_given_back() -> None:
    async def scenario(follower: CatalogFollower, catalog: FlakyCatalog) -> None:
        await asyncio.sleep(0.05)
        assert catalog.beats > 1
        catalog.down = False
        before = catalog.beats
        await asyncio.sleep(0.1)
        assert catalog.beats > before + 1
        assert not catalog.left

    assert follow(scenario, LEAF).left


def test_changed_wakes_all_who_wait() -> None:
    async def scenario(follower: CatalogFollower, catalog: FlakyCatalog) -> None:
        waiting = [asyncio.create_task(follower.changed()) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        catalog.down = False
        await asyncio.wait_for(asyncio.gather(*waiting), 5)

    follow(scenario)


def test_nodes_come_and_go_over_grpc(tmp_path: Path) -> None:
    async def run() -> None:
        log = EmbeddedLog(tmp_path / "log", lambda: 1)
        await log.start()
        clock = asyncio.get_running_loop().time
        controller = Controller(
            tmp_path / "catalog.db", log, clock, ControllerSettings(lease_s=3.0)
        )
        await controller.start()
        server = Server()
        server.add(catalog_pb2.DESCRIPTOR.services_by_name["Catalog"], controller)
        port = await server.start("127.0.0.1:0")
        async with open_channel(f"127.0.0.1:{port}") as channel:
            catalog = RemoteCatalog(channel)
            watcher, leaf = CatalogFollower(catalog), CatalogFollower(catalog, LEAF)
            await watcher.start()
            await leaf.start()

            def alive(snapshot: Snapshot) -> bool:
                return [n.node_id for n in snapshot.live_nodes(LEAF.role)] == ["leaf1"]

            assert await watcher.wait_until(alive, 5)
            request = catalog_pb2.CreateCollectionRequest(name="x")
            await catalog.create_collection(request, timeout_s=5)
            assert await watcher.wait_until(lambda s: "x" in s.collections, 5)
            with pytest.raises(AlderError) as caught:
                await catalog.drop_collection(catalog_pb2.DropCollectionRequest(name="xx"))
            assert "did you mean x?" in caught.value.message
            await leaf.stop()
            assert await watcher.wait_until(lambda s: not alive(s), 5)
            assert watcher.snapshot == controller.snapshot
            await watcher.stop()
        await controller.close()
        await server.stop(0)
        await log.close()

    asyncio.run(run())


class LocalLeaf:
    """Stands for a leaf of this process."""


def test_a_directory_prefers_the_leaf_of_its_own_process(tmp_path: Path) -> None:
    async def run() -> None:
        follower = CatalogFollower(FlakyCatalog())
        nodes = {
            "far": Node("far", LEAF.role, "127.0.0.1:1"),
            "other": Node("other", LEAF.role, "127.0.0.1:2"),
            "near": Node("near", LEAF.role, ""),
        }
        follower.snapshot = Snapshot(1, {}, nodes)
        directory = Directory(follower)
        local = cast(LeafClient, LocalLeaf())
        prover = cast(ProofClient, LocalLeaf())
        directory.add_leaf("near", local, prover)
        assert directory.leaf("near") is local
        assert directory.prover("near") is prover
        assert isinstance(directory.prover("far"), RemoteProof)
        assert isinstance(directory.leaf("far"), RemoteLeaf)
        assert isinstance(directory.tailer("far"), RemoteTailer)
        for unknown in ("nobody", "near"):
            with pytest.raises(AlderError) as caught:
                directory.tailer(unknown)
            assert caught.value.reason is Reason.UNAVAILABLE
        await directory.close()

    asyncio.run(run())
