"""A plain model of rows that go with the time, and replicas that take them in their own time."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from leaf_model import merge_now, rows_bytes

from alder.catalog import CollectionSettings
from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from leaf.cache import PageCache
from leaf.core import PushHeader
from leaf.pieces import ColumnNeeds, alive_piece, holders, piece_table
from leaf.seal import seal
from leaf.settings import LeafSettings
from leaf.shard import Shard
from leaf.shardatcut import horizon_of
from leaf.view import ShardView

MINUTE = 60_000_000
HISTORY_STEPS = 16
Vector = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A row, or the deletion of a key (no document)."""

    stream: int
    offset: int
    key: str
    log_us: int
    time_us: int
    deletes: bool = False

    @property
    def document(self) -> dict[str, object] | None:
        return None if self.deletes else {"n": self.offset, "k": self.key}


@dataclass
class Model:
    """All rows of all streams, and what follows from the settings."""

    streams: list[list[Row]]
    kept: CollectionSettings
    keyed: bool

    @property
    def step_us(self) -> int:
        return self.history_us // HISTORY_STEPS

    @property
    def history_us(self) -> int:
        return self.kept.history_us or self.kept.retain_us // 8

    def running(self, stream: int) -> list[int]:
        return list(accumulate((row.log_us for row in self.streams[stream]), max))

    def refuses(self, positions: Vector, cut: Vector) -> bool:
        steps = [
            [us // self.step_us for us in self.running(s)[:p]] for s, p in enumerate(positions)
        ]
        newest = max((max(found) for found in steps if found), default=0)
        for found, end in zip(steps, cut, strict=True):
            if found:
                since = min(newest - HISTORY_STEPS, max(found))
                if end < next(n for n, step in enumerate(found) if step >= since):
                    return True
        return False

    def answer(self, cut: Vector) -> list[tuple[int, int]]:
        rows = [row for rows, end in zip(self.streams, cut, strict=True) for row in rows[:end]]
        moments = {(s, n): us for s in range(len(cut)) for n, us in enumerate(self.running(s))}
        if self.keyed:
            last: dict[str, Row] = {}
            for row in sorted(
                rows, key=lambda r: (moments[r.stream, r.offset], r.stream, r.offset)
            ):
                last[row.key] = row
            rows = [row for row in last.values() if not row.deletes]
        if self.kept.retain_us:
            now = max((us for (s, n), us in moments.items() if n < cut[s]), default=0)
            oldest = now // self.step_us * self.step_us - self.kept.retain_us
            rows = [row for row in rows if row.time_us >= oldest]
        return sorted((row.stream, row.offset) for row in rows)


def rows_of(chance: random.Random, streams: int, count: int, keyed: bool) -> list[list[Row]]:
    found: list[list[Row]] = []
    for stream in range(streams):
        now = 0
        rows = []
        for offset in range(count):
            now += chance.choice([0, 0, 1, 1, 2, *[40] * (offset % 100 == 50)]) * MINUTE // 20
            log_us = now - chance.choice([0, 0, 0, MINUTE])
            rows.append(
                Row(
                    stream,
                    offset,
                    f"k{chance.randrange(12)}",
                    log_us,
                    log_us - chance.choice([0, 0, 1, 7, 30]) * MINUTE,
                    keyed and chance.random() < 0.1,
                )
            )
        found.append(rows)
    return found


class Replica:
    """A shard that takes the rows of the model in its own time."""

    def __init__(self, path: Path, model: Model, chance: random.Random) -> None:
        self.path, self.model, self.chance = path, model, chance
        self.positions = [0] * len(model.streams)
        self.shard = self.opened()
        self.most_rows = 0

    def opened(self) -> Shard:
        return Shard(
            self.path / "1-c" / "0", 1, self.model.keyed, LeafSettings(merge_factor=3),
            PageCache(1 << 16), kept=self.model.kept,
        )  # fmt: skip

    def push(self, rows_max: int) -> None:
        stream = self.chance.randrange(len(self.positions))
        begin = self.positions[stream]
        self._push(stream, begin + self.chance.randrange(rows_max))

    def push_up_to(self, ends: Sequence[int]) -> None:
        """Some rows of a stream, none from its end on."""
        stream = self.chance.randrange(len(self.positions))
        self._push(stream, min(ends[stream], self.positions[stream] + self.chance.randrange(60)))

    def _push(self, stream: int, end: int) -> None:
        begin = self.positions[stream]
        rows = self.model.streams[stream][begin:end]
        data = rows_bytes(
            {row.offset: row.document for row in rows},
            {row.offset: row.key for row in rows} if self.model.keyed else None,
            {row.offset: row.log_us for row in rows},
            {row.offset: row.time_us for row in rows},
        )
        end = begin + len(rows)
        header = PushHeader(1, 1, "log", stream, "t", begin, end)
        assert self.shard.apply(header, 1, data, b"", False).accepted
        self.positions[stream] = end

    def step(self) -> None:
        self.push(25)
        if self.chance.random() < 0.4:
            seal_now(self.shard)
        if self.chance.random() < 0.3:
            self.shard.compaction.purge()
        while self.chance.random() < 0.5 and merge_now(self.shard):
            pass
        if self.chance.random() < 0.05:
            self.shard.collect()
            self.shard.close()
            self.shard = self.opened()

    def ask(self, cut: Vector) -> list[tuple[int, int]] | None:
        """The rows as of a vector; None where it is refused."""
        vector = PositionVector({("log", number): end for number, end in enumerate(cut)})
        try:
            return content(self.shard.view, vector)
        except AlderError as error:
            if error.reason is not Reason.OUT_OF_RANGE:
                raise
            return None


def seal_now(shard: Shard) -> None:
    plan = shard.begin_seal()
    if plan is not None:
        shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail], plan.cluster_by))
        shard.end_seal(plan)


def content(view: ShardView, cut: PositionVector | None = None) -> list[tuple[int, int]]:
    at = horizon_of(view, cut)
    needs = ColumnNeeds(("int:n", "_doc"), partition=True, offset=True)
    found: list[tuple[int, int]] = []
    for holder in holders(view):
        table = piece_table(alive_piece(holder, at), view.streams, needs)
        assert table.column("int:n").to_pylist() == table.column("_offset").to_pylist()
        columns = [table.column(name).to_pylist() for name in ("_partition", "_offset")]
        found.extend(zip(*columns, strict=True))
    return sorted(found)


SETTINGS = [
    CollectionSettings(history_us=4 * MINUTE),
    CollectionSettings(retain_us=10 * MINUTE, history_us=2 * MINUTE),
    CollectionSettings(("k", "n"), retain_us=16 * MINUTE),
]
