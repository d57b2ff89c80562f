"""The controller: ``alder.interfaces.CatalogClient`` over a store, a log and leases.

It turns requests into changes of the catalog and topics of the log, in an order in which no crash
leaves the two at odds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from alder.catalog import LOG_SOURCE, Collection, CollectionSettings, Node, Snapshot, next_name
from alder.errors import AlderError, Reason
from alder.interfaces import LogClient, SourceReach
from alder.transformation import ordinal_bits_of
from alder.v1 import catalog_pb2, log_pb2
from controller import definitions, rebuilding, requests, sources
from controller.catalog import Catalog, Decision
from controller.changes import CatalogState, Change, PutCollection, PutNode, RemoveCollection
from controller.liveness import Liveness
from controller.partitions import registered
from controller.placement import place_shards, shards_per_leaf
from controller.settings import ControllerSettings

_ANSWER_MARGIN_S: Final = 0.1


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
        self._log = log
        self._settings = settings or ControllerSettings()
        self._liveness = Liveness(self._settings.lease_s, monotonic_s)
        self._catalog = Catalog(path, self._settings.snapshot_bytes_max, self._liveness.holds)
        self._defining = asyncio.Lock()
        self._reach: SourceReach | None = None

    def ask_about_sources(self, reach: SourceReach) -> None:
        """Whom to ask about topics and files; until then they are taken for whole."""
        self._reach = reach

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._catalog.state.snapshot

    async def start(self) -> None:
        """Opens the catalog. Raises AlderError(UNAVAILABLE, CORRUPT) where it can't.

        Nodes with an address get one lease in advance: a restart of the controller alone is no
        reason to take the cluster for dead.
        """
        loaded = await self._catalog.load()
        nodes = loaded.snapshot.nodes.values()
        self._liveness.renew(node.node_id for node in nodes if node.address)
        await self._catalog.begin(loaded)
        self._sweeping = asyncio.create_task(self._liveness.run_forever(self._catalog))

    async def close(self) -> None:
        """Ends every watch, finishes what is being changed, and closes the catalog."""
        if not self._catalog.is_open:
            return
        self._catalog.stop()
        self._sweeping.cancel()
        await asyncio.gather(self._sweeping, return_exceptions=True)
        await self._catalog.close()

    async def create_collection(
        self, request: catalog_pb2.CreateCollectionRequest, timeout_s: float | None = None
    ) -> catalog_pb2.CreateCollectionResponse:
        """Makes a topic and places the shards on live leaves; waits for one if there is none.

        A topic of that name which no collection has is left from a creation that failed half-way;
        it is taken as it is, because records may have been appended to it.
        Raises AlderError(INVALID_ARGUMENT, LIMIT, ALREADY_EXISTS, UNAVAILABLE), and as
        :class:`alder.transformation.Transformation` does.
        """
        self._catalog.check_open()
        requests.check_create(request, self._settings)
        if request.name in self.snapshot.collections:
            raise requests.already_exists(request.name)
        definitions.check_unused(self.snapshot, request.name)
        bits = await asyncio.to_thread(ordinal_bits_of, request.settings.transform_sql)
        request.settings.ordinal_bits = bits
        requests.check_transformed(CollectionSettings.from_proto(request.settings))
        await self._wait_for_leaf(timeout_s)
        collection, revision = await self._catalog.uninterrupted(self._create(request, timeout_s))
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
        self._catalog.check_open()
        revision = await self._catalog.uninterrupted(self._drop(request.name, timeout_s))
        return catalog_pb2.DropCollectionResponse(revision=revision)

    async def define(
        self, request: catalog_pb2.DefineRequest, timeout_s: float | None = None
    ) -> catalog_pb2.DefineResponse:
        """Adds a version of a view or saved query; raises what :mod:`controller.definitions` does.

        Collections stay as they are meanwhile, so none that it reads goes half-way.
        """
        self._catalog.check_open()
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
        self._catalog.check_open()
        state = await self._redefine(lambda state: definitions.undefined(state.snapshot, request))
        return catalog_pb2.UndefineResponse(revision=state.snapshot.revision)

    async def accelerate(
        self, request: catalog_pb2.AccelerateRequest, timeout_s: float | None = None
    ) -> catalog_pb2.AccelerateResponse:
        """Says whether leaves keep what a view gives. Raises AlderError(UNKNOWN_COLLECTION)."""
        self._catalog.check_open()
        state = await self._redefine(lambda state: definitions.accelerated(state.snapshot, request))
        return catalog_pb2.AccelerateResponse(revision=state.snapshot.revision)

    async def rebuild(
        self, request: catalog_pb2.RebuildRequest, timeout_s: float | None = None
    ) -> catalog_pb2.RebuildResponse:
        """One step of a rebuild; to ask for it again changes nothing.

        Raises AlderError(UNKNOWN_COLLECTION, OUT_OF_RANGE, CONFLICT, UNAVAILABLE), and as
        :class:`alder.transformation.Transformation` does.
        """
        self._catalog.check_open()
        rebuilding.check_serves(self._collection(self._catalog.state, request.name))
        match request.step:
            case catalog_pb2.REBUILD_STEP_BEGIN:
                decide = await self._beginning(request, timeout_s)
            case catalog_pb2.REBUILD_STEP_FINISH:

                def decide(state: CatalogState) -> Sequence[Change]:
                    now = self._collection(state, request.name)
                    return rebuilding.finished(state, now, request.collection_id)

            case catalog_pb2.REBUILD_STEP_ABORT:

                def decide(state: CatalogState) -> Sequence[Change]:
                    return rebuilding.aborted(state, self._collection(state, request.name))

            case _:
                raise AlderError(Reason.INVALID_ARGUMENT, "a rebuild needs a step")
        state = await self._redefine(decide)
        begins = request.step == catalog_pb2.REBUILD_STEP_BEGIN
        name = next_name(request.name) if begins else request.name
        return catalog_pb2.RebuildResponse(
            collection=self._collection(state, name).to_proto(), revision=state.snapshot.revision
        )

    async def register_partitions(
        self, request: catalog_pb2.RegisterPartitionsRequest, timeout_s: float | None = None
    ) -> catalog_pb2.RegisterPartitionsResponse:
        """Gives numbers to files, or takes those of a topic; asking again changes nothing.

        Raises AlderError(UNKNOWN_COLLECTION, INVALID_ARGUMENT, IDENTITY_CHANGED, LIMIT).
        """
        self._catalog.check_open()

        def decide(state: CatalogState) -> Sequence[Change]:
            collection = self._collection(state, request.collection)
            before = requests.found_source(collection, request.source)
            after = registered(before, request, self._settings)
            if after is before:
                return ()
            known = tuple(after if entry is before else entry for entry in collection.sources)
            return (PutCollection(replace(collection, sources=known)),)

        state = await self._catalog.change(decide)
        collection = self._collection(state, request.collection)
        source = requests.found_source(collection, request.source)
        return catalog_pb2.RegisterPartitionsResponse(source=source.to_proto())

    async def change_sources(
        self, request: catalog_pb2.ChangeSourcesRequest, timeout_s: float | None = None
    ) -> catalog_pb2.ChangeSourcesResponse:
        """Pauses, resumes or seeks, as :mod:`controller.sources` says; raises what that does."""
        self._catalog.check_open()
        state = await self._redefine(
            lambda state: sources.changed(
                state,
                self._collection(state, request.collection),
                request,
                self._settings.skipped_ranges_max,
            )
        )
        return catalog_pb2.ChangeSourcesResponse(
            collection=self._collection(state, request.collection).to_proto(),
            revision=state.snapshot.revision,
        )

    async def heartbeat(
        self, request: catalog_pb2.HeartbeatRequest, timeout_s: float | None = None
    ) -> catalog_pb2.HeartbeatResponse:
        """Renews a node's lease, or ends it; makes the node known. Commits only what is news.

        Raises AlderError(INVALID_ARGUMENT) without id or role.
        """
        self._catalog.check_open()
        node = replace(Node.from_proto(request.node), live=not request.leaving)
        if not node.node_id or not node.role:
            raise AlderError(Reason.INVALID_ARGUMENT, "a node needs an id and a role")
        if max(len(node.node_id), len(node.address)) > self._settings.text_characters_max:
            raise AlderError(Reason.LIMIT, "the id or the address of the node is too long")
        nodes = self.snapshot.nodes
        if node.node_id not in nodes and len(nodes) >= self._settings.nodes_max:
            raise AlderError(Reason.LIMIT, f"the catalog knows {len(nodes)} nodes, the limit")
        if request.leaving:
            self._liveness.end(node.node_id)
        else:
            self._liveness.renew([node.node_id])
        if nodes.get(node.node_id) != node:
            await self._catalog.change(
                lambda state: (
                    () if state.snapshot.nodes.get(node.node_id) == node else (PutNode(node),)
                )
            )
        return catalog_pb2.HeartbeatResponse(
            lease_ms=round(self._settings.lease_s * 1000), revision=self.snapshot.revision
        )

    def watch(
        self, request: catalog_pb2.WatchRequest, timeout_s: float | None = None
    ) -> AsyncIterator[catalog_pb2.CatalogSnapshot]:
        """The newest snapshot, and again after changes until the controller closes.

        As :meth:`controller.catalog.Catalog.watch` says.
        """
        return self._catalog.watch(request.revision, timeout_s)

    async def expire_leases(self) -> None:
        """Reports nodes whose lease ran out as not live."""
        await self._liveness.expire(self._catalog)

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
                    partitions=requests.log_partitions(request, self._settings),
                ),
                timeout_s,
            )
            state = await self._catalog.change(lambda state: self._placed(state, request, topic))
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
            rebuilding.check_serves(self._collection(self._catalog.state, name))
            definitions.check_unread(self.snapshot, name)
            await self._log.delete_topic(log_pb2.DeleteTopicRequest(topic=name), timeout_s)
            state = await self._catalog.change(
                lambda state: (
                    *rebuilding.aborted(state, self._collection(state, name)),
                    RemoveCollection(name),
                )
            )
        return state.snapshot.revision

    async def _beginning(
        self, request: catalog_pb2.RebuildRequest, timeout_s: float | None
    ) -> Decision:
        serving = self._collection(self._catalog.state, request.name)
        transform_sql = serving.settings.transform_sql
        if request.HasField("transform_sql"):
            transform_sql = request.transform_sql
        ordinal_bits = await asyncio.to_thread(ordinal_bits_of, transform_sql)
        asked = log_pb2.OffsetsRequest(topic=request.name)
        rebuilding.check_reaches_back(request.name, await self._log.offsets(asked, timeout_s))
        if self._reach is not None and any(one.url != LOG_SOURCE for one in serving.sources):
            missing = await self._reach.missing(serving, timeout_s)
            rebuilding.check_sources(request.name, missing)
        await self._wait_for_leaf(timeout_s)

        def decide(state: CatalogState) -> Sequence[Change]:
            leaves = [node.node_id for node in _live_leaves(state.snapshot)]
            if not leaves:
                raise _no_leaf()
            now = self._collection(state, request.name)
            sources.check_none_paused(now)
            settings = replace(now.settings, transform_sql=transform_sql, ordinal_bits=ordinal_bits)
            return rebuilding.begun(state, now, settings, leaves)

        return decide

    async def _redefine(self, decide: Decision) -> CatalogState:
        async def work() -> CatalogState:
            async with self._defining:
                return await self._catalog.change(decide)

        return await self._catalog.uninterrupted(work())

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
                    self._catalog.check_open()
                    await self._catalog.changed()
        except TimeoutError as error:
            raise _no_leaf() from error


def _live_leaves(snapshot: Snapshot) -> list[Node]:
    return snapshot.live_nodes(catalog_pb2.NODE_ROLE_LEAF)


def _no_leaf() -> AlderError:
    return AlderError(
        Reason.UNAVAILABLE, "no leaf is live to take the shards; start a leaf and try again"
    )
