"""The controller: ``alder.interfaces.CatalogClient`` over a store, a log and leases.

The newest state is in memory, immutable, and replaced after each commit. A change is a function of
that state: it is committed if the store is still at that revision, and made again from the newer
state if not, so that no change is lost and none is made from what is no longer true.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from alder.catalog import Collection, CollectionSettings, Node, Snapshot
from alder.errors import AlderError, Reason
from alder.interfaces import LogClient
from alder.v1 import catalog_pb2, log_pb2
from controller import definitions, requests
from controller.catalog_store import CatalogStore
from controller.changes import CatalogState, Change, PutCollection, PutNode, RemoveCollection
from controller.leases import Leases
from controller.partitions import registered
from controller.placement import place_shards, shards_per_leaf
from controller.settings import ControllerSettings

logger = logging.getLogger(__name__)
_ATTEMPTS_MAX: Final = 100
_SWEEPS_PER_LEASE: Final = 10
_ANSWER_MARGIN_S: Final = 0.1
_Result = TypeVar("_Result")
Decision = Callable[[CatalogState], Sequence[Change]]


class Controller:
    """The control plane. Use between :meth:`start` and :meth:`close`, on one event loop."""

    def __init__(
        self,
        path: Path,
        log: LogClient,
        monotonic_s: Callable[[], float],
        settings: ControllerSettings | None = None,
    ) -> None:
        """``path`` is the catalog's file; ``monotonic_s`` is the clock of the leases."""
        self._path = path
        self._log = log
        self._monotonic_s = monotonic_s
        self._settings = settings or ControllerSettings()
        self._state = CatalogState(Snapshot())
        self._message = catalog_pb2.CatalogSnapshot()
        self._leases = Leases(self._settings.lease_s)
        self._changed = asyncio.Event()
        self._defining = asyncio.Lock()
        self._changes: set[asyncio.Task[object]] = set()
        self._open = False

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._state.snapshot

    async def start(self) -> None:
        """Opens the catalog. Raises AlderError(UNAVAILABLE, CORRUPT) where it can't.

        Nodes with an address get one lease in advance: a restart of the controller alone is no
        reason to take the cluster for dead. Each start is a new revision, because what followers
        know of liveness may not be true any more.
        """
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="catalog")
        self._store = await self._blocking(lambda: CatalogStore(self._path))
        state = await self._blocking(self._store.load)
        addressed = [node.node_id for node in state.snapshot.nodes.values() if node.address]
        self._leases = self._leases.renewed(addressed, self._monotonic_s())
        state = state.with_liveness(self._leases.holds)
        self._publish(await self._blocking(lambda: self._store.commit(state, ())))
        self._open = True
        self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Ends every watch, finishes what is being changed, and closes the catalog."""
        if not self._open:
            return
        self._open = False
        self._ring()
        self._sweeping.cancel()
        await asyncio.gather(self._sweeping, *self._changes, return_exceptions=True)
        await self._blocking(self._store.close)
        self._executor.shutdown()

    async def create_collection(
        self, request: catalog_pb2.CreateCollectionRequest, timeout_s: float | None = None
    ) -> catalog_pb2.CreateCollectionResponse:
        """Makes a topic and places the shards on live leaves; waits for one if there is none.

        A topic of that name which no collection has is left from a creation that failed half-way;
        it is taken as it is, because records may have been appended to it.
        Raises AlderError(INVALID_ARGUMENT, LIMIT, ALREADY_EXISTS, UNAVAILABLE).
        """
        self._check_open()
        requests.check_create(request, self._settings)
        if request.name in self.snapshot.collections:
            raise requests.already_exists(request.name)
        definitions.check_unused(self.snapshot, request.name)
        await self._wait_for_leaf(timeout_s)
        collection, revision = await self._uninterrupted(self._create(request, timeout_s))
        return catalog_pb2.CreateCollectionResponse(
            collection=collection.to_proto(), revision=revision
        )

    async def drop_collection(
        self, request: catalog_pb2.DropCollectionRequest, timeout_s: float | None = None
    ) -> catalog_pb2.DropCollectionResponse:
        """Removes the topic, then the collection; leaves drop shards that they no longer see.

        In this order no crash leaves a topic whose records a later collection would take over.
        Raises AlderError(UNKNOWN_COLLECTION, CONFLICT, UNAVAILABLE).
        """
        self._check_open()
        revision = await self._uninterrupted(self._drop(request.name, timeout_s))
        return catalog_pb2.DropCollectionResponse(revision=revision)

    async def define(
        self, request: catalog_pb2.DefineRequest, timeout_s: float | None = None
    ) -> catalog_pb2.DefineResponse:
        """Adds a version of a view or saved query; raises what :mod:`controller.definitions` does.

        Collections stay as they are meanwhile, so none that it reads goes half-way.
        """
        self._check_open()
        state = await self._redefine(
            lambda state: definitions.defined(state.snapshot, request, self._settings)
        )
        known = state.snapshot.definitions[request.name]
        return catalog_pb2.DefineResponse(
            version=known.newest.number, revision=state.snapshot.revision
        )

    async def undefine(
        self, request: catalog_pb2.UndefineRequest, timeout_s: float | None = None
    ) -> catalog_pb2.UndefineResponse:
        """Drops a view or saved query, unless a view reads it."""
        self._check_open()
        state = await self._redefine(lambda state: definitions.undefined(state.snapshot, request))
        return catalog_pb2.UndefineResponse(revision=state.snapshot.revision)

    async def accelerate(
        self, request: catalog_pb2.AccelerateRequest, timeout_s: float | None = None
    ) -> catalog_pb2.AccelerateResponse:
        """Says whether leaves keep what a view gives. Raises AlderError(UNKNOWN_COLLECTION)."""
        self._check_open()
        state = await self._redefine(lambda state: definitions.accelerated(state.snapshot, request))
        return catalog_pb2.AccelerateResponse(revision=state.snapshot.revision)

    async def register_partitions(
        self, request: catalog_pb2.RegisterPartitionsRequest, timeout_s: float | None = None
    ) -> catalog_pb2.RegisterPartitionsResponse:
        """Gives numbers to files, or takes those of a topic; asking again changes nothing.

        Raises AlderError(UNKNOWN_COLLECTION, INVALID_ARGUMENT, IDENTITY_CHANGED, LIMIT).
        """
        self._check_open()

        def decide(state: CatalogState) -> Sequence[Change]:
            collection = self._collection(state, request.collection)
            before = requests.found_source(collection, request.source)
            after = registered(before, request, self._settings)
            if after is before:
                return ()
            sources = tuple(after if entry is before else entry for entry in collection.sources)
            return (PutCollection(replace(collection, sources=sources)),)

        state = await self._change(decide)
        collection = self._collection(state, request.collection)
        source = requests.found_source(collection, request.source)
        return catalog_pb2.RegisterPartitionsResponse(source=source.to_proto())

    async def heartbeat(
        self, request: catalog_pb2.HeartbeatRequest, timeout_s: float | None = None
    ) -> catalog_pb2.HeartbeatResponse:
        """Renews a node's lease, or ends it; makes the node known. Commits only what is news.

        Raises AlderError(INVALID_ARGUMENT) without id or role.
        """
        self._check_open()
        node = replace(Node.from_proto(request.node), live=not request.leaving)
        if not node.node_id or not node.role:
            raise AlderError(Reason.INVALID_ARGUMENT, "a node needs an id and a role")
        if max(len(node.node_id), len(node.address)) > self._settings.text_characters_max:
            raise AlderError(Reason.LIMIT, "the id or the address of the node is too long")
        nodes = self.snapshot.nodes
        if node.node_id not in nodes and len(nodes) >= self._settings.nodes_max:
            raise AlderError(Reason.LIMIT, f"the catalog knows {len(nodes)} nodes, the limit")
        if request.leaving:
            self._leases = self._leases.ended(node.node_id)
        else:
            self._leases = self._leases.renewed([node.node_id], self._monotonic_s())
        if nodes.get(node.node_id) != node:
            await self._change(
                lambda state: (
                    () if state.snapshot.nodes.get(node.node_id) == node else (PutNode(node),)
                )
            )
        return catalog_pb2.HeartbeatResponse(
            lease_ms=round(self._settings.lease_s * 1000), revision=self.snapshot.revision
        )

    async def watch(
        self, request: catalog_pb2.WatchRequest, timeout_s: float | None = None
    ) -> AsyncIterator[catalog_pb2.CatalogSnapshot]:
        """The newest snapshot, and again after changes until the controller closes.

        A slow watcher misses snapshots in between, never the newest. The messages are shared by all
        watchers: they are not to be changed. Raises AlderError(DEADLINE) after ``timeout_s``.
        """
        deadline_s = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        revision = request.revision
        while self._open:
            if self._message.revision > revision:
                message = self._message
                revision = message.revision
                yield message
                continue
            try:
                async with asyncio.timeout_at(deadline_s):
                    await self._changed.wait()
            except TimeoutError as error:
                raise AlderError(
                    Reason.DEADLINE, "the deadline of the watch passed; watch again"
                ) from error

    async def expire_leases(self) -> None:
        """Reports nodes whose lease ran out as not live."""
        self._leases = self._leases.swept(self._monotonic_s())
        await self._settle_liveness()

    async def _create(
        self, request: catalog_pb2.CreateCollectionRequest, timeout_s: float | None
    ) -> tuple[Collection, int]:
        async with self._defining:
            if request.name in self.snapshot.collections:
                raise requests.already_exists(request.name)
            definitions.check_unused(self.snapshot, request.name)
            topic = await self._log.create_topic(
                log_pb2.CreateTopicRequest(
                    topic=request.name,
                    partitions=request.log_partitions or self._settings.log_partitions_default,
                ),
                timeout_s,
            )
            state = await self._change(lambda state: self._placed(state, request, topic))
        return state.snapshot.collections[request.name], state.snapshot.revision

    def _placed(
        self,
        state: CatalogState,
        request: catalog_pb2.CreateCollectionRequest,
        topic: log_pb2.CreateTopicResponse,
    ) -> Sequence[Change]:
        collections = state.snapshot.collections
        if request.name in collections:
            raise requests.already_exists(request.name)
        if len(collections) >= self._settings.collections_max:
            raise AlderError(
                Reason.LIMIT,
                f"there are {len(collections)} collections, the limit; drop some first",
            )
        leaves = [node.node_id for node in _live_leaves(state.snapshot)]
        if not leaves:
            raise _no_leaf()
        collection = Collection(
            name=request.name,
            collection_id=state.next_collection_id,
            key_path=request.key_path,
            time_path=request.time_path,
            shard_by_path=request.shard_by_path,
            settings=CollectionSettings.from_proto(request.settings),
            sources=requests.sources(request.source_urls, topic.topic_id, topic.partitions),
            shards=place_shards(
                request.shards or self._settings.shards_default,
                leaves,
                shards_per_leaf(collections.values()),
            ),
        )
        return (PutCollection(collection),)

    async def _drop(self, name: str, timeout_s: float | None) -> int:
        async with self._defining:
            self._collection(self._state, name)
            definitions.check_unread(self.snapshot, name)
            await self._log.delete_topic(log_pb2.DeleteTopicRequest(topic=name), timeout_s)
            state = await self._change(
                lambda state: (RemoveCollection(self._collection(state, name).name),)
            )
        return state.snapshot.revision

    async def _redefine(self, decide: Decision) -> CatalogState:
        async def work() -> CatalogState:
            async with self._defining:
                return await self._commit(decide)

        return await self._uninterrupted(work())

    def _collection(self, state: CatalogState, name: str) -> Collection:
        collection = state.snapshot.collections.get(name)
        if collection is None:
            raise requests.unknown_collection(name, state.snapshot.collections)
        return collection

    async def _wait_for_leaf(self, timeout_s: float | None) -> None:
        wait_s = self._settings.leaf_wait_s_default
        if timeout_s is not None:
            wait_s = timeout_s - _ANSWER_MARGIN_S
        try:
            async with asyncio.timeout(max(wait_s, 0)):
                while not _live_leaves(self.snapshot):
                    self._check_open()
                    await self._changed.wait()
        except TimeoutError as error:
            raise _no_leaf() from error

    async def _change(self, decide: Decision) -> CatalogState:
        """Commits what ``decide`` makes of the newest state; returns the state then."""
        return await self._uninterrupted(self._commit(decide))

    async def _commit(self, decide: Decision) -> CatalogState:
        for _ in range(_ATTEMPTS_MAX):
            before = self._state
            changes = decide(before)
            if not changes:
                return before
            self._check_size(before.applied(changes))
            try:
                after = await self._blocking(partial(self._store.commit, before, changes))
            except AlderError as error:
                if error.reason is not Reason.CONFLICT:
                    raise
                if self._state is before:
                    state = await self._blocking(self._store.load)
                    self._publish(state.with_liveness(self._leases.holds))
                continue
            self._publish(after)
            return after
        raise AlderError(Reason.CONFLICT, "the catalog changes too fast; try again")

    def _check_size(self, state: CatalogState) -> None:
        size_bytes = state.snapshot.to_proto().ByteSize()
        if size_bytes > self._settings.snapshot_bytes_max:
            raise AlderError(
                Reason.LIMIT,
                f"the catalog would have {size_bytes} bytes, the limit is "
                f"{self._settings.snapshot_bytes_max}; drop collections, or join small files",
            )

    async def _settle_liveness(self) -> None:
        """Makes the snapshot say of every node what its lease says."""

        def decide(state: CatalogState) -> Sequence[Change]:
            return [
                PutNode(replace(node, live=not node.live))
                for node in state.snapshot.nodes.values()
                if node.live != self._leases.holds(node.node_id)
            ]

        while decide(self._state):
            await self._change(decide)

    async def _sweep(self) -> None:
        """Expires leases in time. What the event loop slept is not held against the nodes."""
        pause_s = self._settings.lease_s / _SWEEPS_PER_LEASE
        before_s = self._monotonic_s()
        while True:
            await asyncio.sleep(pause_s)
            now_s = self._monotonic_s()
            overslept_s = now_s - before_s - pause_s
            if overslept_s > pause_s:
                self._leases = self._leases.postponed(overslept_s)
            before_s = now_s
            try:
                await self.expire_leases()
            except AlderError as error:
                logger.error("the catalog could not be told of expired leases: %s", error)

    def _publish(self, state: CatalogState) -> None:
        if state.snapshot.revision <= self._state.snapshot.revision:
            return
        self._state = state
        self._message = state.snapshot.to_proto()
        self._ring()

    def _ring(self) -> None:
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()

    async def _uninterrupted(self, work: Coroutine[None, None, _Result]) -> _Result:
        """Does ``work`` to its end even if the caller is cancelled: memory and disk must agree."""
        task = asyncio.create_task(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _blocking(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _check_open(self) -> None:
        if not self._open:
            raise AlderError(Reason.UNAVAILABLE, "the controller is closed; start the server")


def _live_leaves(snapshot: Snapshot) -> list[Node]:
    return snapshot.live_nodes(catalog_pb2.NODE_ROLE_LEAF)


def _no_leaf() -> AlderError:
    return AlderError(
        Reason.UNAVAILABLE, "no leaf is live to take the shards; start a leaf and try again"
    )
