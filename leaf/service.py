"""The leaf as a service: what tailers and aggregators call.

The event loop only decides and waits; RocksDB, Arrow and DuckDB run on worker threads
(:mod:`leaf.threads`). Pushes, fragments and upkeep have threads of their own, so that a slow query
delays no push. A call starts once what it names is here (:mod:`leaf.presence`).
"""

import asyncio
import shutil
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial, reduce
from pathlib import Path
from typing import Final, TypeVar

from alder.errors import AlderError, Reason
from alder.fragments import FragmentAnswer, Take
from alder.interfaces import MakeDocumentColumns
from alder.positions import PositionVector
from alder.push import PushFields
from alder.schema import Schema
from alder.v1 import common_pb2, leaf_pb2, quarantine_pb2
from leaf.acceleration import Acceleration
from leaf.answers import (
    describe_caches,
    describe_shard,
    fragment_answer,
    fragment_responses,
)
from leaf.check import Means, check_shards
from leaf.engine import Cancellation, Engine
from leaf.fragmentcalls import FragmentCalls
from leaf.fragmentmodel import FragmentTools
from leaf.history import History, WholeHistory
from leaf.kernels.kernels import Kernels
from leaf.ownership import Follower, ShardKey, Shards
from leaf.partials import Partials
from leaf.presence import Presence
from leaf.proving import Prover
from leaf.pushes import apply_all
from leaf.quarantinecalls import QuarantineCalls
from leaf.rehearsal import rehearse
from leaf.repair import Repair, check_complete
from leaf.settings import LeafSettings
from leaf.shard import Shard
from leaf.threads import interruptible, uninterrupted
from leaf.upkeep import Upkeep
from leaf.workers import SealWorkers

T = TypeVar("T")
CHECK_SHARE_OF_DEADLINE: Final = 0.8
"""What of its deadline a check of indexes uses, so that what it found still arrives."""


class Leaf:
    """Implements :class:`alder.interfaces.LeafClient`."""

    shares_memory = True

    def __init__(
        self,
        node_id: str,
        directory: Path,
        follower: Follower,
        settings: LeafSettings | None = None,
        seal_executor: Executor | None = None,
        history: History | None = None,
        disk_free_bytes: Callable[[], int] | None = None,
        documents: MakeDocumentColumns | None = None,
    ) -> None:
        """``history`` tells whether a damaged shard can be built again (default: it always can).

        ``disk_free_bytes`` tells the room on the disk (default: asks the operating system).
        ``documents`` makes columns of patched documents; without it, collections of patches are
        refused.
        """
        history = history or WholeHistory()
        self._node_id = node_id
        self._directory = directory
        self._follower = follower
        self._settings = settings or LeafSettings()
        self._apply_threads = ThreadPoolExecutor(self._settings.apply_threads, "leaf-apply")
        self._query_threads = ThreadPoolExecutor(self._settings.query_threads, "leaf-query")
        self._upkeep_threads = ThreadPoolExecutor(2, "leaf-upkeep")
        self._engine = Engine(self._settings.query_memory_bytes)
        self._shards = Shards(
            node_id, directory, self._settings, self._upkeep_threads, history, documents
        )
        self._presence = Presence(node_id, self._shards, follower, self._settings)
        self._checking = asyncio.Lock()
        self._applying: dict[int, list[int]] = defaultdict(list)
        """The epochs at which pushes are being applied, by collection."""
        self._workers = SealWorkers(self._settings.seal_workers, directory, seal_executor)
        self._repair = Repair(
            self._shards,
            history,
            self._upkeep_threads,
            self._settings.repair_retry_s,
            self._presence.changed,
        )
        self._upkeep = Upkeep(
            self._shards,
            self._workers,
            self._upkeep_threads,
            self._settings,
            disk_free_bytes or (lambda: shutil.disk_usage(directory).free),
            self._presence.changed,
            self._repair.suspect,
        )
        self._tools = _tools(self._engine, self._settings)
        self._fragments = FragmentCalls(
            self._shards,
            self._presence,
            self._repair,
            self._query_threads,
            self._tools,
            self._settings,
        )
        self._quarantine = QuarantineCalls(
            self._shards, self._presence, self._apply_threads, self._settings
        )
        self._acceleration = Acceleration(
            self._shards, follower, self._tools, self._settings, self._repair.suspect
        )
        self.prover = Prover(self, self._tools, self._repair.suspect)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Opens the shards that the snapshot places here, and follows it from now on."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._workers.remove_leftovers()
        rehearsal = self._query_threads.submit(rehearse, self._tools)
        await self._shards.follow(self._follower.snapshot)
        await asyncio.wrap_future(rehearsal)
        self._workers.start()
        self._tasks = [
            asyncio.create_task(self._presence.follow_forever(), name="leaf-follow"),
            asyncio.create_task(self._upkeep.run_forever(), name="leaf-upkeep"),
            asyncio.create_task(self._acceleration.run_forever(), name="leaf-acceleration"),
        ]

    async def close(self) -> None:
        """Lets what runs end, syncs and closes every shard."""
        self._presence.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._acceleration.drain()
        await self._upkeep.drain()
        await self._repair.drain()
        await self._shards.close()
        self._workers.close()
        for pool in (self._apply_threads, self._query_threads, self._upkeep_threads):
            pool.shutdown()
        self._engine.close()

    async def apply(
        self, request: PushFields, timeout_s: float | None = None
    ) -> leaf_pb2.ApplyResponse:
        """Applies a push to each of its shards; see leaf.proto. Each shard decides for itself."""
        keys = [(request.collection_id, part.shard) for part in request.shards]
        self._presence.check_open()
        self._upkeep.check_room()
        await self._presence.wait_for(
            lambda: self._presence.knows(request) and all(self._shards.get(key) for key in keys),
            self._settings.follow_wait_s,
        )
        await self._wait_for_room(keys)
        collection = self._presence.collection(request.collection, request.collection_id)
        with self._shards.using(keys) as shards:
            if collection is None:
                shards = {}
            epoch = 0 if collection is None else collection.epoch
            assignment = self._presence.assignment
            applying = self._applying[request.collection_id]
            applying.append(epoch)
            try:
                response = await uninterrupted(
                    self._apply_threads, lambda: apply_all(request, shards, epoch, assignment)
                )
            except AlderError as error:
                raise self._repair.noticed(error, keys) from error
            finally:
                applying.remove(epoch)
        self._presence.changed()
        for key in keys:
            self._upkeep.seal_if_due(key)
        return response

    async def positions(
        self, request: leaf_pb2.PositionsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.PositionsResponse:
        """Positions and schema, after waiting for ``min_positions``; see leaf.proto.

        Raises AlderError(NOT_OWNER) where a shard asked for is not here.
        """
        self._presence.check_open()
        wanted = PositionVector.from_proto(request.min_positions)
        keys = await self._presence.keys(request.collection_id, request.shards)
        wait_s = request.wait_ms / 1_000
        if timeout_s is not None:
            wait_s = min(wait_s, timeout_s)
        reached = await self._presence.wait_for(
            lambda: self._presence.have_reached(keys, wanted), wait_s
        )
        views = {key: shard.view for key in keys if (shard := self._shards.get(key))}
        if len(views) < len(keys):
            raise self._presence.not_owner(request.collection)
        version = sum(view.schema.version for view in views.values())
        schema = common_pb2.Schema(version=version)
        if version != request.known_schema_version:
            schemas = (view.schema for _, view in sorted(views.items()))
            schema = reduce(Schema.merged, schemas, Schema()).to_proto()
        return leaf_pb2.PositionsResponse(
            shards=[
                leaf_pb2.ShardPositions(
                    shard=shard,
                    positions=view.positions.to_proto(),
                    rows_stored=view.rows_stored,
                    leader_epochs=[
                        leaf_pb2.LeaderEpoch(source=source, partition=number, leader_epoch=epoch)
                        for (source, number), epoch in view.leader_epochs.items()
                        if epoch >= 0
                    ],
                )
                for (_, shard), view in sorted(views.items())
            ],
            schema=schema,
            reached=reached,
        )

    async def execute(
        self, request: leaf_pb2.FragmentRequest, timeout_s: float | None = None
    ) -> AsyncIterator[leaf_pb2.FragmentResponse]:
        """Runs a fragment at a cut; see leaf.proto.

        Raises AlderError: NOT_OWNER for another epoch or a shard that is not here, UNAVAILABLE
        where a shard does not reach the cut in time, DEADLINE, and what
        :func:`leaf.fragment.run_fragment` raises.
        """
        responses = await self._fragments.run(request, timeout_s, False, fragment_responses)
        for response in responses:
            yield response

    async def answer(
        self,
        request: leaf_pb2.FragmentRequest,
        take: Take,
        timeout_s: float | None = None,
        unfinished: bool = False,
    ) -> FragmentAnswer:
        """As :meth:`execute`, its table by reference, for a caller in this process."""
        answer = await self._fragments.run(request, timeout_s, unfinished, fragment_answer)
        take(answer.size_bytes)
        return answer

    async def list_quarantine(
        self, request: quarantine_pb2.ShardQuarantineRequest, timeout_s: float | None = None
    ) -> AsyncIterator[common_pb2.QuarantinedRecord]:
        """Records in quarantine, of each shard by source, partition and offset."""
        async for record in self._quarantine.list(request):
            yield record

    async def redrive(
        self, request: quarantine_pb2.LeafRedriveRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.LeafRedriveResponse:
        """Applies records that were in quarantine; see :meth:`QuarantineCalls.redrive`."""
        self._presence.check_open()
        self._upkeep.check_room()
        return await self._quarantine.redrive(request)

    async def drop_quarantined(
        self, request: quarantine_pb2.LeafDropRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.LeafDropResponse:
        """Drops records from quarantine; see :meth:`QuarantineCalls.drop`."""
        self._presence.check_open()
        return await self._quarantine.drop(request)

    async def describe(
        self, request: leaf_pb2.DescribeLeafRequest, timeout_s: float | None = None
    ) -> leaf_pb2.DescribeLeafResponse:
        """Sizes and state of the shards and caches here; damage is looked into."""
        collections = self._follower.snapshot.collections.values()
        names = {collection.collection_id: collection.name for collection in collections}
        epochs = {
            one.collection_id: min([one.epoch, *self._applying[one.collection_id]])
            for one in collections
        }
        ids = {name: number for number, name in names.items()}
        with self._shards.using(list(self._shards.all())) as shards:
            descriptions = await uninterrupted(
                self._query_threads,
                lambda: [
                    describe_shard(names[owner], number, shard, epochs[owner])
                    for (owner, number), shard in sorted(shards.items())
                    if owner in names
                ],
            )
        for entry in descriptions:
            if entry.damage:
                self._repair.suspect((ids[entry.collection], entry.shard))
        caches = {
            "pages": self._shards.cache_usage(),
            **self._tools.kernels.cache_usage(),
            "partials": self._tools.partials.usage(),
            "stored partials": self._acceleration.usage(),
        }
        return leaf_pb2.DescribeLeafResponse(
            node_id=self._node_id, shards=descriptions, caches=describe_caches(caches)
        )

    async def check_index(
        self, request: leaf_pb2.CheckIndexRequest, timeout_s: float | None = None
    ) -> leaf_pb2.CheckIndexResponse:
        """Compares indexes with scans; see leaf.proto. One check at a time runs here.

        A shard that turns out to be damaged is looked into, and built again if it is.

        Raises AlderError: NOT_OWNER, DEADLINE.
        """
        self._presence.check_open()
        keys = await self._presence.keys(request.collection_id, request.shards)
        limit_s = self._settings.check_time_s_max
        if timeout_s is not None:
            limit_s = min(limit_s, CHECK_SHARE_OF_DEADLINE * timeout_s)
        end_s = time.monotonic() + limit_s
        cancellation = Cancellation()
        means = Means(
            self._tools,
            cancellation,
            lambda: time.monotonic() > end_s,
            self._settings.check_values_max,
            request.seed,
        )
        async with self._checking:
            with self._shards.using(keys) as shards:
                collection = self._presence.collection(request.collection, request.collection_id)
                if collection is None or len(shards) < len(keys):
                    raise self._shards.refusal(keys) or self._presence.not_owner(request.collection)
                views = {number: shard.view for (_, number), shard in shards.items()}
                call = partial(check_shards, views, collection.keyed, means)
                checks = await interruptible(self._query_threads, call, cancellation, timeout_s)
        for check in checks:
            if check.verdict == leaf_pb2.INDEX_VERDICT_DAMAGED:
                self._repair.suspect((request.collection_id, check.shard))
        return leaf_pb2.CheckIndexResponse(checks=checks)

    async def keep_partials(
        self, request: leaf_pb2.KeepPartialsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.KeepPartialsResponse:
        """Keeps what an accelerated view gives for sealed segments; see leaf.proto.

        Raises AlderError: NOT_OWNER, UNAVAILABLE where a shard can't be written.
        """
        self._presence.check_open()
        keys = await self._presence.keys(request.collection_id, [])
        ready = total = 0
        with self._shards.using(keys) as shards:
            if (
                not shards
                or self._presence.collection(request.collection, request.collection_id) is None
            ):
                raise self._shards.refusal(keys) or self._presence.not_owner(request.collection)
            for shard in shards.values():
                call = partial(shard.stored.keep, request.view, list(request.kept))
                await uninterrupted(self._upkeep_threads, call)
                done, wanted = shard.stored.progress(request.view, shard.view.segments)
                ready, total = ready + done, total + wanted
        self._acceleration.wake()
        return leaf_pb2.KeepPartialsResponse(segments_ready=ready, segments_total=total)

    async def on_shard(
        self,
        collection: str,
        key: ShardKey,
        at: PositionVector,
        call: Callable[[Shard, Cancellation], T],
        timeout_s: float | None,
    ) -> T:
        """Runs a call on a shard that has reached ``at``, on a thread for queries.

        Raises AlderError: NOT_OWNER, UNAVAILABLE, DEADLINE, and what the call raises.
        """
        self._presence.check_open()
        collection_id, number = key
        keys = await self._presence.keys(collection_id, [number])
        await self._presence.catch_up(keys, at, timeout_s)
        cancellation = Cancellation()
        with self._shards.using(keys) as shards:
            if not shards or self._presence.collection(collection, collection_id) is None:
                raise self._shards.refusal(keys) or self._presence.not_owner(collection)
            check_complete(shards)
            run = partial(call, shards[key], cancellation)
            return await interruptible(self._query_threads, run, cancellation, timeout_s)

    async def _wait_for_room(self, keys: Sequence[ShardKey]) -> None:
        """Holds a push back while the live tail is far ahead of its sealing."""
        if not await self._presence.wait_for(
            lambda: self._upkeep.has_room(keys), self._settings.room_wait_s
        ):
            raise AlderError(
                Reason.UNAVAILABLE,
                f"{self._node_id} seals more slowly than rows arrive; push again later",
            )


def _tools(engine: Engine, settings: LeafSettings) -> FragmentTools:
    partials = Partials(settings.partials_bytes)
    kernels = Kernels(engine, partials, settings.codes_bytes, settings.dictionary_bytes)
    return FragmentTools(
        engine, kernels, partials, settings.scan_bytes_max, settings.input_bytes_max
    )
