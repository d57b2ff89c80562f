"""What leaves answered to one query: positions and schemas, and what a fragment gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from aggregator.execution.engine import Pending
from alder.fragments import FragmentAnswer
from alder.positions import PositionVector
from alder.schema import Schema
from alder.v1 import leaf_pb2


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


Answer = tuple[FragmentAnswer, LeafAnswer]
"""What a leaf sent, and what is told of it."""


def leaf_answer(
    leaf: str, shards: Sequence[int], answer: FragmentAnswer, waited_us: int
) -> LeafAnswer:
    """What is told of an answer."""
    trailer = answer.trailer
    return LeafAnswer(
        leaf,
        tuple(shards),
        trailer.elapsed_us,
        waited_us,
        answer.rows.num_rows,
        answer.size_bytes,
        trailer.groups_worst if trailer.groups_left_out else None,
        bool(answer.projection),
        trailer.sealed_name,
        trailer.sealed_rows,
        trailer.sealed_known,
    )


def gathered(answers: Sequence[Answer], sql: str) -> Gathered:
    """All answers to a fragment with this statement."""
    finished = _alike([one.rows for one, _ in answers if not one.projection])
    return Gathered(
        pa.concat_tables(finished) if finished else None,
        tuple(scan for answer, _ in answers for scan in answer.trailer.shards),
        tuple(told for _, told in answers),
        pending=tuple(
            Pending(one.rows, one.projection, sql, one.fixed)
            for one, _ in answers
            if one.projection
        ),
        joined=tuple(scan for answer, _ in answers for scan in answer.trailer.joined),
    )


def _alike(tables: Sequence[pa.Table]) -> Sequence[pa.Table]:
    """The tables without columns that only some of them have."""
    names = tables[0].column_names if tables else []
    if all(table.column_names == names for table in tables):
        return tables
    common = [name for name in names if all(name in table.column_names for table in tables)]
    return [table.select(common) for table in tables]
