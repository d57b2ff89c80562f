"""Scatter and gather: asks every leaf of a collection at once and takes all answers or none.

A leaf that fails fails the query, with its name and shards in the message; nothing is left out
silently (I5). The bytes gathered by one query are bounded over all its leaves together.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, TypeVar

import pyarrow as pa

from aggregator.execution import core
from aggregator.execution.coverage import Coverage, LeafError, leaf_of
from aggregator.execution.engine import Pending
from aggregator.protection.circuits import Circuits
from aggregator.protection.running import Progress
from alder.catalog import Collection
from alder.errors import AlderError, Reason, Unreachable
from alder.fragments import FragmentAnswer
from alder.interfaces import NodeDirectory
from alder.positions import PositionVector
from alder.schema import Schema
from alder.v1 import common_pb2, leaf_pb2

T = TypeVar("T")
_OF_THE_LEAF: Final = frozenset(
    {Reason.UNAVAILABLE, Reason.INTERNAL, Reason.CORRUPT, Reason.DEADLINE, Reason.NOT_OWNER}
)
"""Reasons that concern a leaf, not the statement."""


@dataclass(slots=True)
class Budget:
    """Bytes that one query may still gather; what it has gathered is told in ``progress``."""

    left_bytes: int
    progress: Progress

    def take(self, size_bytes: int) -> None:
        """Raises AlderError(LIMIT) once the budget is spent."""
        self.left_bytes -= size_bytes
        self.progress.size_bytes_gathered += size_bytes
        if self.left_bytes < 0:
            raise AlderError(
                Reason.LIMIT,
                "the query gathers more data than the server allows; "
                "filter more, aggregate, or read fewer columns",
            )


@dataclass(frozen=True, slots=True)
class State:
    """What the leaves told of a collection: positions per shard and the union of the schemas.

    ``missing``: shards that were not asked, because the query does without them. ``rows_stored``
    are at least as many as there are in any cut.
    """

    positions: Mapping[int, PositionVector]
    schema: Schema
    missing: frozenset[int] = frozenset()
    rows_stored: int = 0


@dataclass(frozen=True, slots=True)
class LeafAnswer:
    """One leaf's part in a fragment: its own time, and the time until its answer was here.

    ``groups_worst``: groups were left out, and what orders them is no worse than this.
    ``sealed_name`` and those beside it as in FragmentTrailer of ``leaf.proto``.
    ``unfinished``: it handed over the rows that the fragment reads, instead of its result.
    """

    leaf: str
    shards: tuple[int, ...]
    elapsed_us: int
    waited_us: int
    rows: int
    size_bytes: int
    groups_worst: int | None = None
    unfinished: bool = False
    sealed_name: bytes = b""
    sealed_rows: int = 0
    sealed_known: bool = False


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the leaves answered to one fragment: results, and rows that it is still to run over.

    Results are in the order of ``leaves``. ``told`` says what else was asked to get there, one
    sentence each; ``input_bytes`` went along.
    ``joined`` is how the shards of another collection were read, whose rows leaves joined.
    """

    finished: pa.Table | None
    scans: tuple[leaf_pb2.ShardScan, ...]
    leaves: tuple[LeafAnswer, ...]
    told: tuple[str, ...] = ()
    input_bytes: int = 0
    pending: tuple[Pending, ...] = ()
    joined: tuple[leaf_pb2.ShardScan, ...] = ()

    @property
    def rows(self) -> pa.Table:
        """The answer, where it was asked for finished."""
        if self.finished is None or self.pending:
            raise AssertionError("leaves have left the fragment to the caller")
        return self.finished


_Answer = tuple[FragmentAnswer, LeafAnswer]


class Schemas:
    """The newest schema of each collection on each leaf, so that it travels only when it grew."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], Schema] = {}
        self._unions: dict[int, tuple[list[Schema], Schema]] = {}

    def version(self, collection: Collection, leaf: str) -> int:
        """The version known of a leaf's schema; 0 if none is."""
        known = self._known.get((collection.collection_id, leaf))
        return known.version if known is not None else 0

    def take(self, collection: Collection, leaf: str, message: common_pb2.Schema) -> None:
        """Keeps what a leaf sent, unless it is no newer than what is known."""
        key = (collection.collection_id, leaf)
        if message.fields or message.version:
            known = self._known.get(key)
            if known is None or message.version != known.version or message.fields:
                self._known[key] = (
                    Schema.from_proto(message) if message.fields or known is None else known
                )

    def union(self, collection: Collection) -> Schema:
        """The schema over all leaves of the collection."""
        key = collection.collection_id
        parts = [
            self._known[key, leaf]
            for leaf in sorted(collection.shards_by_leaf())
            if (key, leaf) in self._known
        ]
        made = self._unions.get(key)
        if made is None or [id(part) for part in made[0]] != [id(part) for part in parts]:
            merged = Schema()
            for part in parts:
                merged = merged.merged(part)
            made = self._unions[key] = (parts, merged)
        return made[1]

    def keep(self, collection_ids: Iterable[int]) -> None:
        """Forgets every collection but these; an empty list makes every leaf send all again."""
        kept = set(collection_ids)
        self._known = {key: value for key, value in self._known.items() if key[0] in kept}
        self._unions = {key: value for key, value in self._unions.items() if key in kept}


class Scatter:
    """Calls the leaves of collections."""

    def __init__(self, directory: NodeDirectory) -> None:
        self._directory = directory
        self.schemas = Schemas()
        self.circuits = Circuits()

    async def state(
        self,
        whole: Collection,
        wanted: PositionVector,
        timeout_s: float,
        wait_s: float = 0.0,
        coverage: Coverage | None = None,
    ) -> State:
        """Positions and schema of all covered shards, once they have reached ``wanted``.

        The schema of a part of a leaf's shards is not remembered: its version would be taken for
        that of all of them.

        Raises AlderError: UNAVAILABLE, DEADLINE (not reached within ``wait_s``).
        """
        collection = whole if coverage is None else coverage.covered(whole)
        partial = collection is not whole

        async def ask(leaf: str, shards: list[int]) -> leaf_pb2.PositionsResponse:
            own = leaf_pb2.PositionsRequest(
                collection=collection.name,
                collection_id=collection.collection_id,
                shards=shards,
                min_positions=wanted.to_proto(),
                wait_ms=max(0, int(wait_s * 1000)),
                known_schema_version=0 if partial else self.schemas.version(collection, leaf),
            )
            async with _call(self.circuits, collection, leaf, shards):
                return await self._directory.leaf(leaf_of(leaf)).positions(own, timeout_s=timeout_s)

        by_leaf = collection.shards_by_leaf()
        answers = await gather([ask(leaf, shards) for leaf, shards in by_leaf.items()])
        told: list[tuple[int, PositionVector]] = []
        for leaf, answer in zip(by_leaf, answers, strict=True):
            if not partial:
                self.schemas.take(collection, leaf, answer.schema)
            told += [
                (entry.shard, PositionVector.from_proto(entry.positions)) for entry in answer.shards
            ]
        core.check_answers([entry.shard for entry in collection.shards], [one for one, _ in told])
        positions = dict(told)
        if not all(answer.reached for answer in answers) and wanted.offsets:
            raise core.not_reached(collection.name, core.behind(wanted, positions))
        rows_stored = sum(entry.rows_stored for answer in answers for entry in answer.shards)
        if not partial:
            return State(positions, self.schemas.union(collection), rows_stored=rows_stored)
        schema = reduce(Schema.merged, (Schema.from_proto(one.schema) for one in answers))
        missing = {one.shard for one in whole.shards} - set(positions)
        return State(positions, schema, frozenset(missing), rows_stored)

    def shares_memory(self, collection: Collection) -> bool:
        """True if every leaf of a collection hands its tables over within this process."""
        try:
            leaves = [self._directory.leaf(leaf_of(leaf)) for leaf in collection.shards_by_leaf()]
        except AlderError:
            return False
        return all(leaf.shares_memory for leaf in leaves)

    async def run(
        self,
        collection: Collection,
        request: leaf_pb2.FragmentRequest,
        timeout_s: float,
        budget: Budget,
        leaves: Container[str] | None = None,
        died: Callable[[str], None] | None = None,
        unfinished: bool = False,
        joined: Collection | None = None,
    ) -> Gathered:
        """The answers of all shards to a fragment; ``request.shards`` is set here, per leaf.

        ``leaves`` are those to be asked; None for all. ``died`` is told of each leaf whose
        connection breaks while it runs the fragment. ``unfinished``: leaves of this process may
        hand over rows and leave the fragment to us. Shards of ``joined`` are those on the leaf.
        """
        beside = {} if joined is None else joined.shards_by_leaf()
        by_leaf = {
            leaf: shards
            for leaf, shards in collection.shards_by_leaf().items()
            if leaves is None or leaf in leaves
        }

        async def ask(leaf: str, shards: list[int]) -> _Answer:
            begin_s = time.monotonic()
            own = request
            if len(by_leaf) > 1:
                own = leaf_pb2.FragmentRequest()
                own.CopyFrom(request)
            own.shards.extend(shards)
            if joined is not None:
                own.joined.shards.extend(beside[leaf])
            async with _call(self.circuits, collection, leaf, shards, True, died):
                client = self._directory.leaf(leaf_of(leaf))
                answer = await client.answer(own, budget.take, timeout_s, unfinished)
            budget.progress.rows_gathered += answer.rows.num_rows
            trailer = answer.trailer
            told = LeafAnswer(
                leaf,
                tuple(shards),
                trailer.elapsed_us,
                int((time.monotonic() - begin_s) * 1e6),
                answer.rows.num_rows,
                answer.size_bytes,
                trailer.groups_worst if trailer.groups_left_out else None,
                bool(answer.projection),
                trailer.sealed_name,
                trailer.sealed_rows,
                trailer.sealed_known,
            )
            return answer, told

        answers = await gather([ask(leaf, shards) for leaf, shards in by_leaf.items()])
        scans = tuple(scan for answer, _ in answers for scan in answer.trailer.shards)
        asked = [shard for shards in by_leaf.values() for shard in shards]
        core.check_answers(asked, [scan.shard for scan in scans])
        joined_scans = tuple(scan for answer, _ in answers for scan in answer.trailer.joined)
        core.check_answers(
            [shard for shards in beside.values() for shard in shards],
            [scan.shard for scan in joined_scans],
        )
        finished = _alike([one.rows for one, _ in answers if not one.projection])
        return Gathered(
            pa.concat_tables(finished) if finished else None,
            scans,
            tuple(told for _, told in answers),
            pending=tuple(
                Pending(one.rows, one.projection, request.fragment.sql, one.fixed)
                for one, _ in answers
                if one.projection
            ),
            joined=joined_scans,
        )

    async def check_index(
        self, collection: Collection, seed: int, timeout_s: float
    ) -> list[leaf_pb2.IndexCheck]:
        """What the leaves find when they compare indexes with scans, by shard and path."""

        async def ask(leaf: str, shards: list[int]) -> leaf_pb2.CheckIndexResponse:
            request = leaf_pb2.CheckIndexRequest(
                collection=collection.name,
                collection_id=collection.collection_id,
                shards=shards,
                seed=seed,
            )
            async with _call(self.circuits, collection, leaf, shards, runs=True):
                return await self._directory.leaf(leaf).check_index(request, timeout_s=timeout_s)

        by_leaf = collection.shards_by_leaf()
        answers = await gather([ask(leaf, shards) for leaf, shards in by_leaf.items()])
        checks = [check for answer in answers for check in answer.checks]
        core.check_answers(
            [entry.shard for entry in collection.shards], {check.shard for check in checks}
        )
        return sorted(checks, key=lambda check: (check.shard, check.path))


def _alike(tables: Sequence[pa.Table]) -> Sequence[pa.Table]:
    """The tables without columns that only some of them have."""
    names = tables[0].column_names if tables else []
    if all(table.column_names == names for table in tables):
        return tables
    common = [name for name in names if all(name in table.column_names for table in tables)]
    return [table.select(common) for table in tables]


async def gather(calls: Sequence[Awaitable[T]]) -> list[T]:
    """The results of all calls; the first failure cancels the others and is raised."""
    if len(calls) == 1:
        return [await calls[0]]
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class _call:
    """A call to a leaf: its errors get the leaf's name and shards, its circuit learns of it.

    ``runs``: it does work that may take its time. ``died`` is told of a leaf whose connection
    breaks meanwhile.
    """

    def __init__(
        self,
        circuits: Circuits,
        collection: Collection,
        leaf: str,
        shards: list[int],
        runs: bool = False,
        died: Callable[[str], None] | None = None,
    ) -> None:
        self._circuits = circuits
        self._collection = collection
        self._leaf = leaf_of(leaf)
        self._shards = shards
        self._runs = runs
        self._died = died

    async def __aenter__(self) -> None:
        try:
            self._circuits.check(self._leaf, time.monotonic())
        except Unreachable as error:
            raise LeafError(error, self._collection, self._leaf, self._shards, False) from error

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        broken = isinstance(error, Unreachable)
        late = isinstance(error, AlderError) and error.reason is Reason.DEADLINE
        if broken or (late and not self._runs):
            self._circuits.failed(self._leaf, time.monotonic())
            if broken and self._died is not None:
                self._died(self._leaf)
        elif error is None or (isinstance(error, AlderError) and not late):
            self._circuits.answered(self._leaf)
        if isinstance(error, AlderError) and error.reason in _OF_THE_LEAF:
            raise LeafError(
                error,
                self._collection,
                self._leaf,
                self._shards,
                answered=not (late or broken),
            ) from error
