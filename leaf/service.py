"""The leaf as a service: what tailers and aggregators call.

The event loop only decides and waits; RocksDB, Arrow and DuckDB run on worker threads. Pushes,
fragments and upkeep have threads of their own, so that a slow query delays no push.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Final, TypeVar

from alder.catalog import Collection
from alder.errors import AlderError, Reason
from alder.fragments import FragmentAnswer, Take
from alder.positions import PositionVector
from alder.push import PushFields
from alder.schema import Schema
from alder.v1 import common_pb2, leaf_pb2
from leaf.acceleration import Acceleration
from leaf.answers import (
    describe_caches,
    describe_shard,
    fragment_answer,
    fragment_responses,
)
from leaf.check import Means, check_shards
from leaf.engine import Cancellation, Engine
from leaf.fragment import FragmentMode, FragmentResult, FragmentTools, Joined, run_fragment
from leaf.history import History, WholeHistory
from leaf.kernels.kernels import Kernels
from leaf.kernels.top import Wanted
from leaf.ownership import Follower, ShardKey, Shards
from leaf.partials import Partials
from leaf.proving import Prover
from leaf.pushes import apply_all
from leaf.rehearsal import rehearse
from leaf.repair import Repair, check_complete
from leaf.settings import LeafSettings
from leaf.shard import Shard
from leaf.signal import Signal
from leaf.upkeep import Upkeep
from leaf.workers import SealWorkers

logger = logging.getLogger(__name__)
T = TypeVar("T")
INTERRUPT_INTERVAL_S: Final = 0.05
CHECK_SHARE_OF_DEADLINE: Final = 0.8
"""What of its deadline a check of indexes uses, so that what it found still arrives."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Shards of one collection that a fragment reads, at a cut (None: at their newest)."""

    collection: Collection
    keys: list[ShardKey]
    cut: PositionVector | None


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
    ) -> None:
        """``history`` tells whether a damaged shard can be built again (default: it always can).

        ``disk_free_bytes`` tells the room on the disk (default: asks the operating system).
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
        self._shards = Shards(node_id, directory, self._settings, self._upkeep_threads, history)
        self._moved = Signal()
        self._closing = False
        self._checking = asyncio.Lock()
        self._workers = SealWorkers(self._settings.seal_workers, directory, seal_executor)
        self._repair = Repair(
            self._shards,
            history,
            self._upkeep_threads,
            self._settings.repair_retry_s,
            self._moved.notify,
        )
        self._upkeep = Upkeep(
            self._shards,
            self._workers,
            self._upkeep_threads,
            self._settings,
            disk_free_bytes or (lambda: shutil.disk_usage(directory).free),
            self._moved.notify,
            self._repair.suspect,
        )
        self._tools = _tools(self._engine, self._settings)
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
            asyncio.create_task(self._follow(), name="leaf-follow"),
            asyncio.create_task(self._upkeep.run_forever(), name="leaf-upkeep"),
            asyncio.create_task(self._acceleration.run_forever(), name="leaf-acceleration"),
        ]

    async def close(self) -> None:
        """Lets what runs end, syncs and closes every shard."""
        self._closing = True
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
        self._check_open()
        self._upkeep.check_room()
        await self._wait_for(
            lambda: self._knows(request) and all(self._shards.get(key) for key in keys),
            self._settings.follow_wait_s,
        )
        await self._wait_for_room(keys)
        collection = self._collection(request.collection, request.collection_id)
        with self._shards.using(keys) as shards:
            if collection is None:
                shards = {}
            epoch = 0 if collection is None else collection.epoch
            try:
                response = await self._in(
                    self._apply_threads, lambda: apply_all(request, shards, epoch)
                )
            except AlderError as error:
                raise self._repair.noticed(error, keys) from error
        self._moved.notify()
        for key in keys:
            self._upkeep.seal_if_due(key)
        return response

    async def positions(
        self, request: leaf_pb2.PositionsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.PositionsResponse:
        """Positions and schema, after waiting for ``min_positions``; see leaf.proto.

        Raises AlderError(NOT_OWNER) where a shard asked for is not here.
        """
        self._check_open()
        wanted = PositionVector.from_proto(request.min_positions)
        keys = await self._keys(request.collection_id, request.shards)
        wait_s = request.wait_ms / 1_000
        if timeout_s is not None:
            wait_s = min(wait_s, timeout_s)
        reached = await self._wait_for(lambda: self._have_reached(keys, wanted), wait_s)
        views = {key: shard.view for key in keys if (shard := self._shards.get(key))}
        if len(views) < len(keys):
            raise self._not_owner(request.collection)
        version = sum(view.schema.version for view in views.values())
        schema = common_pb2.Schema(version=version)
        if version != request.known_schema_version:
            schemas = (view.schema for _, view in sorted(views.items()))
            schema = reduce(Schema.merged, schemas, Schema()).to_proto()
        return leaf_pb2.PositionsResponse(
            shards=[
                leaf_pb2.ShardPositions(
                    shard=shard, positions=view.positions.to_proto(), rows_stored=view.rows_stored
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
        responses = await self._executed(request, timeout_s, False, fragment_responses)
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
        answer = await self._executed(request, timeout_s, unfinished, fragment_answer)
        take(answer.size_bytes)
        return answer

    async def _executed(
        self,
        request: leaf_pb2.FragmentRequest,
        timeout_s: float | None,
        unfinished: bool,
        told: Callable[[FragmentResult, float], T],
    ) -> T:
        """What is made of the result of a fragment and of the moment at which it came here."""
        self._check_open()
        started_s = time.monotonic()
        has_unless = request.HasField("except_at")
        unless = PositionVector.from_proto(request.except_at) if has_unless else None
        parts = [await self._readable(request, unless, timeout_s)]
        if request.HasField("joined"):
            parts.append(await self._readable(request.joined, None, timeout_s))
        keys = list(dict.fromkeys(key for part in parts for key in part.keys))
        with self._shards.using(keys) as shards:
            if len(shards) < len(keys):
                raise self._shards.refusal(keys) or self._not_owner(request.collection)
            check_complete(shards)
            try:
                call = self._run(
                    request,
                    parts,
                    shards,
                    unless,
                    timeout_s,
                    unfinished,
                    lambda result: told(result, started_s),
                )
                return await call
            except AlderError as error:
                raise self._repair.noticed(error, keys) from error

    async def list_quarantine(
        self, request: leaf_pb2.ListQuarantineRequest, timeout_s: float | None = None
    ) -> AsyncIterator[common_pb2.QuarantinedRecord]:
        """Records in quarantine, by shard, partition and offset."""
        limit = self._settings.quarantine_list_max
        records_max = min(request.records_max or limit, limit)
        keys = await self._keys(request.collection_id, [])
        with self._shards.using(keys) as shards:
            for shard in shards.values():
                call = partial(shard.quarantined, records_max)
                records = await self._in(self._query_threads, call)
                for record in records:
                    yield record

    async def describe(
        self, request: leaf_pb2.DescribeLeafRequest, timeout_s: float | None = None
    ) -> leaf_pb2.DescribeLeafResponse:
        """Sizes and state of the shards and caches here; damage is looked into."""
        names = {
            collection.collection_id: collection.name
            for collection in self._follower.snapshot.collections.values()
        }
        ids = {name: number for number, name in names.items()}
        with self._shards.using(list(self._shards.all())) as shards:
            descriptions = await self._in(
                self._query_threads,
                lambda: [
                    describe_shard(names[owner], number, shard)
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
        self._check_open()
        keys = await self._keys(request.collection_id, request.shards)
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
                collection = self._collection(request.collection, request.collection_id)
                if collection is None or len(shards) < len(keys):
                    raise self._shards.refusal(keys) or self._not_owner(request.collection)
                views = {number: shard.view for (_, number), shard in shards.items()}
                call = partial(check_shards, views, collection.keyed, means)
                checks = await self._interruptible(call, cancellation, timeout_s)
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
        self._check_open()
        keys = await self._keys(request.collection_id, [])
        ready = total = 0
        with self._shards.using(keys) as shards:
            if not shards or self._collection(request.collection, request.collection_id) is None:
                raise self._shards.refusal(keys) or self._not_owner(request.collection)
            for shard in shards.values():
                call = partial(shard.stored.keep, request.view, list(request.kept))
                await self._in(self._upkeep_threads, call)
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
        self._check_open()
        collection_id, number = key
        keys = await self._keys(collection_id, [number])
        await self._catch_up(keys, at, timeout_s)
        cancellation = Cancellation()
        with self._shards.using(keys) as shards:
            if not shards or self._collection(collection, collection_id) is None:
                raise self._shards.refusal(keys) or self._not_owner(collection)
            check_complete(shards)
            run = partial(call, shards[key], cancellation)
            return await self._interruptible(run, cancellation, timeout_s)

    async def _readable(
        self,
        wanted: leaf_pb2.FragmentRequest | leaf_pb2.JoinedRows,
        unless: PositionVector | None,
        timeout_s: float | None,
    ) -> _Part:
        """What is asked of one collection, once its shards are here and have reached the cut."""
        cut = None if wanted.latest else PositionVector.from_proto(wanted.at)
        keys = await self._keys(wanted.collection_id, wanted.shards)
        await self._wait_for(lambda: self._knows(wanted), self._settings.follow_wait_s)
        collection = self._collection(wanted.collection, wanted.collection_id)
        if collection is None or collection.epoch != wanted.epoch:
            raise self._not_owner(wanted.collection)
        if cut is not None:
            both = cut if unless is None else cut.merged(unless)
            await self._catch_up(keys, both, timeout_s)
        return _Part(collection, keys, cut)

    async def _run(
        self,
        request: leaf_pb2.FragmentRequest,
        parts: Sequence[_Part],
        shards: Mapping[ShardKey, Shard],
        unless: PositionVector | None,
        timeout_s: float | None,
        unfinished: bool,
        told: Callable[[FragmentResult], T],
    ) -> T:
        cancellation = Cancellation()
        own, fragment = parts[0], request.fragment
        stored = {key[1]: shards[key].stored for key in own.keys}
        views, *others = ({key[1]: shards[key].view for key in part.keys} for part in parts)
        joined = None
        if others:
            other = parts[1]
            joined = Joined(request.joined, others[0], other.cut, other.collection.keyed)
        mode = FragmentMode(
            not request.no_memoised_partials,
            not request.no_code_kernels,
            not request.no_direct_lookup,
            frozenset(request.no_index_kinds),
            unfinished,
        )

        def answer() -> T:
            wanted = Wanted.from_proto(request.groups)
            result = run_fragment(
                views,
                fragment,
                own.cut,
                own.collection.keyed,
                self._tools,
                cancellation,
                mode,
                wanted,
                stored,
                unless,
                joined,
            )
            return told(result)

        return await self._interruptible(answer, cancellation, timeout_s)

    async def _interruptible(
        self, call: Callable[[], T], cancellation: Cancellation, timeout_s: float | None
    ) -> T:
        """Runs a call on a thread for queries; its shards stay in use until it has ended.

        One that still waits for a thread when its time is over leaves the queue at once.
        """
        job = self._query_threads.submit(call)
        future = asyncio.wrap_future(job)
        try:
            await asyncio.wait({future}, timeout=timeout_s)
        finally:
            if not job.cancel():
                while not future.done():
                    cancellation.cancel()
                    await asyncio.wait({future}, timeout=INTERRUPT_INTERVAL_S)
                # A caller that went away asks for no result, which would be logged as an error.
                future.exception()
        if job.cancelled():
            cancellation.cancel()
            cancellation.check()
        return future.result()

    async def _keys(self, collection_id: int, numbers: Sequence[int]) -> list[ShardKey]:
        """The shards asked for; all that are here for none. Waits for ones about to open."""
        keys = [(collection_id, number) for number in numbers]
        await self._wait_for(
            lambda: (
                all(self._shards.get(key) for key in keys)
                and bool(keys or self._shards.of_collection(collection_id))
            ),
            self._settings.follow_wait_s,
        )
        here = self._shards.of_collection(collection_id)
        return keys or [(collection_id, number) for number in here]

    async def _catch_up(
        self, keys: Sequence[ShardKey], cut: PositionVector, timeout_s: float | None
    ) -> None:
        """A restarted leaf may be behind a cut that it named before."""
        wait_s = min(timeout_s or self._settings.catch_up_wait_s, self._settings.catch_up_wait_s)
        if not await self._wait_for(lambda: self._have_reached(keys, cut), wait_s):
            raise AlderError(
                Reason.UNAVAILABLE,
                f"a shard on {self._node_id} has not caught up with the rows asked for; try again",
            )

    async def _wait_for_room(self, keys: Sequence[ShardKey]) -> None:
        """Holds a push back while the live tail is far ahead of its sealing."""
        if not await self._wait_for(
            lambda: self._upkeep.has_room(keys), self._settings.room_wait_s
        ):
            raise AlderError(
                Reason.UNAVAILABLE,
                f"{self._node_id} seals more slowly than rows arrive; push again later",
            )

    def _check_open(self) -> None:
        if self._closing:
            raise AlderError(Reason.UNAVAILABLE, f"{self._node_id} is stopping; try again")

    def _have_reached(self, keys: Sequence[ShardKey], wanted: PositionVector) -> bool:
        shards = [self._shards.get(key) for key in keys]
        return all(shard is None or shard.view.positions.reaches(wanted) for shard in shards)

    def _collection(self, name: str, collection_id: int) -> Collection | None:
        found = self._follower.snapshot.collections.get(name)
        return found if found is not None and found.collection_id == collection_id else None

    def _knows(self, request: PushFields | leaf_pb2.FragmentRequest | leaf_pb2.JoinedRows) -> bool:
        collection = self._collection(request.collection, request.collection_id)
        return collection is not None and collection.epoch >= request.epoch

    def _not_owner(self, collection: str) -> AlderError:
        return AlderError(
            Reason.NOT_OWNER,
            f"{self._node_id} does not serve these shards of {collection} in this epoch; "
            "refresh the shard map",
        )

    async def _wait_for(self, condition: Callable[[], bool], wait_s: float) -> bool:
        if condition():
            return True
        try:
            async with asyncio.timeout(wait_s):
                while not condition():
                    await self._moved.wait()
        except TimeoutError:
            return condition()
        return True

    async def _follow(self) -> None:
        followed = None
        while True:
            snapshot = self._follower.snapshot
            if snapshot is followed:
                await self._follower.changed()
                continue
            await self._shards.follow(snapshot)
            followed = snapshot
            self._moved.notify()

    async def _in(self, threads: Executor, call: Callable[[], T]) -> T:
        """Runs a call that can't be interrupted; its shards stay in use until it has ended."""
        future = asyncio.get_running_loop().run_in_executor(threads, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            raise


def _tools(engine: Engine, settings: LeafSettings) -> FragmentTools:
    partials = Partials(settings.partials_bytes)
    kernels = Kernels(engine, partials, settings.codes_bytes, settings.dictionary_bytes)
    return FragmentTools(
        engine, kernels, partials, settings.scan_bytes_max, settings.input_bytes_max
    )
