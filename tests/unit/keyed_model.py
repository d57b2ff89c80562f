"""Keyed collections by a plain model over the raw log, and replicas that the real code makes of it.

The model goes record by record: what a partition makes of a key, then the last one at a cut.
"""

import json
import random
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from leaf_model import merge_now

from alder.catalog import Collection, CollectionSettings, Shard
from alder.positions import PartitionKey, PositionVector
from alder.v1 import leaf_pb2
from leaf.cache import PageCache
from leaf.core import PushHeader
from leaf.pieces import ColumnNeeds, alive_piece, holders, piece_table
from leaf.seal import seal
from leaf.settings import LeafSettings
from leaf.shard import Shard as Replica
from leaf.shardatcut import horizon_of
from tailer.batch import RowBuilder, RowSpec
from tailer.decode import DecodeLimits, JsonDecoder
from tailer.merged import merged_documents
from tailer.settings import TailerSettings
from tailer.shardrows import prepare
from tailer.sources.model import RawBatch

Document = dict[str, Any]
LIMITS = DecodeLimits(document_size_bytes_max=240)
WHOLE = (Shard(0, 0, 4096, "leaf"),)
EPOCH_US = 1_700_000_000_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the log; no value: a tombstone, else a document."""

    time_us: int
    key: str
    document: Document | None

    @property
    def value(self) -> bytes:
        return b"" if self.document is None else json.dumps(self.document).encode()


Log = dict[PartitionKey, list[Record]]


def random_log(chance: random.Random, records: int, settings: CollectionSettings) -> Log:
    """Documents, deletions of either kind, duplicates and late versions of few keys."""
    log: Log = {("log", 0): [], ("log", 1): [], ("file1", 0): []}
    for number in range(records):
        stream = chance.choice(list(log))
        if log[stream] and chance.random() < 0.05:
            log[stream].append(log[stream][-1])
            continue
        key = f"k{chance.randrange(12)}"
        document: Document | None = {"id": key, **_fields(chance, settings.merge)}
        if settings.version_path:
            document["v"] = max(0, number + chance.randrange(-20, 20))
        if settings.deleted_path and chance.random() < 0.1:
            document["gone"] = True
        if chance.random() < 0.08:
            document = None
        log[stream].append(
            Record(EPOCH_US + number * 1_000 - chance.randrange(3_000), key, document)
        )
    return log


def _fields(chance: random.Random, merge: bool) -> Document:
    values = [1, "x", 2.5, True, [1, 2], {"p": 1, "q": {"r": "s"}}, 1 << 70, 'é"\\', {}]
    found: Document = {"n": chance.randrange(5)}
    for name in chance.sample(["a", "b", "c", "d"], chance.randrange(4)):
        found[name] = chance.choice([*values, *([None, {"p": None}, {"q": {"r": None}}] * merge)])
    if chance.random() < 0.1:
        found["long" + chance.choice("123")] = "y" * 60
    return found


@dataclass(slots=True)
class _Made:
    number: int | None = None
    document: Document | None = None


@dataclass(slots=True)
class Model:
    """What the definition says of a log."""

    settings: CollectionSettings
    log: Log
    rows: list[tuple[str, tuple[object, ...], PartitionKey, int, Document | None]] = field(
        default_factory=list
    )
    refused: int = 0

    def __post_init__(self) -> None:
        for stream, records in self.log.items():
            made: dict[str, _Made] = {}
            time_us = 0
            for offset, record in enumerate(records):
                time_us = max(time_us, record.time_us)
                self._take(made.setdefault(record.key, _Made()), stream, offset, record, time_us)

    def _take(
        self, made: _Made, stream: PartitionKey, offset: int, record: Record, time_us: int
    ) -> None:
        document = record.document
        number = 0 if not self.settings.version_path else None
        if document is not None and number is None:
            number = document["v"]
        if number is None:
            number = made.number if made.number is not None else -1
        if document is not None and document.get("gone") is True:
            document = None
        if document is not None and self.settings.merge:
            is_late = made.number is not None and number < made.number
            document = patched({} if is_late else made.document, document)
            text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
            if len(text.encode()) > LIMITS.document_size_bytes_max:
                self.refused += 1
                return
        if made.number is None or number >= made.number:
            made.number, made.document = number, document
        self.rows.append((record.key, (number, time_us, stream, offset), stream, offset, document))

    def at(self, cut: PositionVector) -> dict[str, tuple[PartitionKey, int, Document]]:
        """Where the document of each key was born, and what it is."""
        last: dict[str, tuple[tuple[Any, ...], PartitionKey, int, Document | None]] = {}
        for key, order, stream, offset, document in self.rows:
            if offset < cut[stream] and (key not in last or last[key][0] < order):
                last[key] = (order, stream, offset, document)
        return {k: (s, o, d) for k, (_, s, o, d) in last.items() if d is not None}


def patched(target: object, patch: object) -> Any:
    """RFC 7396, as it is written there, on copies."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result


class Fed:
    """A replica that is fed a log through the tailer's code, in any pieces."""

    def __init__(self, path: Path, settings: CollectionSettings, log: Log) -> None:
        self._path = path
        self._settings = settings
        self._log = log
        self._builders = {stream: self._builder(stream) for stream in log}
        self.shard = self._opened()

    def positions(self) -> dict[PartitionKey, int]:
        return {stream: self.shard.view.positions[stream] for stream in self._log}

    def push(self, stream: PartitionKey, count: int) -> bool:
        """The next records of a partition; False if there are none."""
        begin = self.shard.view.positions[stream]
        records = self._log[stream][begin : begin + count]
        if not records:
            return False
        offsets = begin + np.arange(len(records), dtype=np.int64)
        raw = RawBatch(
            begin,
            begin + len(records),
            pa.array([record.value for record in records], pa.binary()),
            offsets,
            np.asarray([record.time_us for record in records]),
            pa.array([record.key.encode() for record in records], pa.binary()),
        )
        for rows in self._builders[stream].build(raw):
            part = prepare(rows, WHOLE, frozenset({0})).parts[0]
            span = rows.range
            header = PushHeader(1, 1, *stream, "t", span.begin, span.end)
            answer = self.shard.apply(header, 1, part.rows, part.quarantined, rows.overflow)
            assert answer.status == leaf_pb2.APPLY_STATUS_APPLIED
        return True

    def shake(self, chance: random.Random) -> None:
        """Seals, merges or opens anew, or does nothing."""
        what = chance.randrange(12)
        if what == 0 and (plan := self.shard.begin_seal()) is not None:
            self.shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
            self.shard.end_seal(plan)
        elif what == 1:
            merge_now(self.shard)
        elif what == 2:
            self.shard.close()
            self.shard = self._opened()

    def rows(self, cut: PositionVector) -> dict[str, tuple[PartitionKey, int, Document]]:
        """As :meth:`Model.at`; the column of ``n`` agrees with the documents."""
        view = self.shard.view
        needs = ColumnNeeds(("_key", "_doc", "int:n"), source=True, partition=True, offset=True)
        found = {}
        for holder in holders(view):
            table = piece_table(alive_piece(holder, horizon_of(view, cut)), view.streams, needs)
            for row in table.to_pylist():
                document = json.loads(row["_doc"])
                assert row["_key"] not in found
                assert row["int:n"] == document.get("n")
                birth = (row["_source"], row["_partition"])
                found[row["_key"]] = (birth, row["_offset"], document)
        return found

    def _builder(self, stream: PartitionKey) -> RowBuilder:
        kept = self._settings
        spec = RowSpec(
            *stream, "id", "", "", kept.version_path, kept.deleted_path, kept.merge, kept.envelope
        )
        return RowBuilder(spec, TailerSettings(decode=LIMITS), JsonDecoder(LIMITS))

    def _opened(self) -> Replica:
        documents = partial(merged_documents(LIMITS), "") if self._settings.merge else None
        collection = Collection("c", 1, "id", settings=self._settings)
        return Replica(
            self._path, 1, collection.keyed, LeafSettings(merge_factor=2), PageCache(1 << 20),
            kept=collection.settings, documents=documents,
        )  # fmt: skip
