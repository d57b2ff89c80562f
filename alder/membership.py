"""A node's side of the catalog: it announces itself, follows snapshots and finds other nodes.

The newest snapshot is always at hand (:attr:`CatalogFollower.snapshot`); it may lag the
controller's, never go back. Losing the controller stops nothing: the node works on with the
snapshot it has.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import grpc.aio

from alder.catalog import Collection, Node, Snapshot
from alder.errors import AlderError, Reason
from alder.interfaces import CatalogClient, LeafClient, ProofClient, TailerClient
from alder.lease import Lease
from alder.remote import RemoteLeaf, RemoteProof, RemoteTailer, open_channel
from alder.v1 import catalog_pb2

logger = logging.getLogger(__name__)
RECONNECT_DELAY_S: Final = 0.2
OBSERVATIONS_PER_LEASE: Final = 10


class CatalogFollower:
    """Follows the catalog and, given a node, keeps its lease, which ``lease`` is told of."""

    def __init__(
        self, catalog: CatalogClient, node: Node | None = None, lease: Lease | None = None
    ) -> None:
        self.snapshot = Snapshot()
        self._catalog = catalog
        self._node = node
        self._lease = lease or Lease()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to follow; returns at once."""
        self._tasks.append(asyncio.create_task(self._follow()))
        if self._node is not None:
            self._tasks.append(asyncio.create_task(self._keep_lease(self._node)))
            self._tasks.append(asyncio.create_task(self._observe_lease()))

    async def stop(self) -> None:
        """Ends the lease and the following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._lease.end()
        if self._node is not None:
            leaving = catalog_pb2.HeartbeatRequest(node=self._node.to_proto(), leaving=True)
            try:
                await self._catalog.heartbeat(leaving, timeout_s=1)
            except AlderError as error:
                logger.info("left without saying so: %s", error)

    async def wait_until(self, condition: Callable[[Snapshot], bool], timeout_s: float) -> bool:
        """Waits until a snapshot meets the condition; False if none did in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition(self.snapshot):
                    await self.changed()
        except TimeoutError:
            return condition(self.snapshot)
        return True

    async def changed(self) -> None:
        """Waits for the next snapshot."""
        await self._changed.wait()

    def collection(self, name: str, collection_id: int) -> Collection:
        """The collection. Raises AlderError(UNKNOWN_COLLECTION) unless this very one is known."""
        found = self.snapshot.collections.get(name)
        if found is None or found.collection_id != collection_id:
            raise AlderError(
                Reason.UNKNOWN_COLLECTION, f"there is no collection {name!r} with this identity"
            )
        return found

    async def _follow(self) -> None:
        while True:
            try:
                request = catalog_pb2.WatchRequest(revision=self.snapshot.revision)
                async for message in self._catalog.watch(request):
                    self._take(Snapshot.from_proto(message))
            except AlderError as error:
                logger.warning("the catalog does not answer, trying again: %s", error)
            await asyncio.sleep(RECONNECT_DELAY_S)

    def _take(self, snapshot: Snapshot) -> None:
        if snapshot.revision <= self.snapshot.revision:
            return
        self.snapshot = snapshot
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()

    async def _keep_lease(self, node: Node) -> None:
        request = catalog_pb2.HeartbeatRequest(node=node.to_proto())
        while True:
            delay_s = RECONNECT_DELAY_S
            asked_s = self._lease.observe()
            try:
                response = await self._catalog.heartbeat(request, timeout_s=2)
                self._lease.renewed(asked_s, response.lease_ms / 1_000)
                delay_s = self._lease.lease_s / 3
            except AlderError as error:
                logger.warning("the lease was not renewed, trying again: %s", error)
            await asyncio.sleep(delay_s)

    async def _observe_lease(self) -> None:
        while True:
            await asyncio.sleep(self._lease.lease_s / OBSERVATIONS_PER_LEASE or RECONNECT_DELAY_S)
            self._lease.observe()


class Directory:
    """Finds the client of a node by its id: a local one if registered, else one over gRPC.

    Channels are kept per address for the life of the process.
    """

    def __init__(self, follower: CatalogFollower) -> None:
        self._follower = follower
        self._leaves: dict[str, LeafClient] = {}
        self._provers: dict[str, ProofClient] = {}
        self._tailers: dict[str, TailerClient] = {}
        self._channels: dict[str, grpc.aio.Channel] = {}

    def add_leaf(self, node_id: str, leaf: LeafClient, prover: ProofClient) -> None:
        """Registers a leaf of this process, and what tells of its shards."""
        self._leaves[node_id] = leaf
        self._provers[node_id] = prover

    def add_tailer(self, node_id: str, tailer: TailerClient) -> None:
        """Registers a tailer of this process."""
        self._tailers[node_id] = tailer

    def leaf(self, node_id: str) -> LeafClient:
        """Raises AlderError(UNAVAILABLE) if the catalog knows no such leaf."""
        local = self._leaves.get(node_id)
        return local if local is not None else RemoteLeaf(self._channel(node_id))

    def prover(self, node_id: str) -> ProofClient:
        """Raises AlderError(UNAVAILABLE) if the catalog knows no such leaf."""
        local = self._provers.get(node_id)
        return local if local is not None else RemoteProof(self._channel(node_id))

    def tailer(self, node_id: str) -> TailerClient:
        """Raises AlderError(UNAVAILABLE) if the catalog knows no such tailer."""
        local = self._tailers.get(node_id)
        return local if local is not None else RemoteTailer(self._channel(node_id))

    async def close(self) -> None:
        """Closes every channel."""
        for channel in self._channels.values():
            await channel.close()

    def _channel(self, node_id: str) -> grpc.aio.Channel:
        node = self._follower.snapshot.nodes.get(node_id)
        if node is None or not node.address:
            raise AlderError(
                Reason.UNAVAILABLE, f"node {node_id} is not known here (yet); is it running?"
            )
        if node.address not in self._channels:
            self._channels[node.address] = open_channel(node.address)
        return self._channels[node.address]
