"""Raw records to prepared ranges: decoded, timed, keyed, routed, and cut to a size that can be
sent.

Each record of a raw batch becomes exactly one row or one quarantined record, of one shard; nothing
is dropped (I7). What a row becomes depends on the record and the collection alone, never on its
neighbours in the batch (I1).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.catalog import Collection
from alder.slots import slots_of_offsets
from tailer.core import Range
from tailer.decode import Decoded, JsonDecoder, TableDecoder
from tailer.evaluate import Evaluator
from tailer.eventtime import event_times
from tailer.pathvalues import json_texts, key_texts
from tailer.route import Slots, slots_of_rows
from tailer.settings import TailerSettings
from tailer.sources.model import Offsets, Quarantined, RawBatch, TimesUs

QUARANTINE_SCHEMA: Final = pa.schema(
    [
        ("offset", pa.int64()),
        ("reason", pa.string()),
        ("value", pa.binary()),
        ("size_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class RowSpec:
    """What a collection says about its rows, and the partition that they come from.

    With a key, ``shard_by_path`` counts for nothing: all versions of a key must meet on one shard.
    """

    source: str
    partition: int
    key_path: str = ""
    time_path: str = ""
    shard_by_path: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows and quarantined records of a range, ascending by offset, with their slots (int32)."""

    range: Range
    table: pa.Table
    slots: Slots
    quarantine: pa.Table
    quarantine_slots: Slots
    overflow: bool
    source_end: int
    leader_epoch: int


class RowBuilder:
    """Builds the rows of one partition, one batch after the other."""

    def __init__(self, spec: RowSpec, settings: TailerSettings, decoder: JsonDecoder) -> None:
        self._spec = spec
        self._settings = settings
        self._decoder = decoder
        self._tables = TableDecoder()
        self._evaluator = Evaluator()

    def build(self, raw: RawBatch) -> list[Rows]:
        """The rows of a batch that is not empty, in one or more consecutive ranges."""
        deletes, refused_keys, raw = self._split_deletes(raw)
        decoded, docs = self._decode(raw)
        offsets, log_times = raw.offsets[decoded.kept], raw.log_times_us[decoded.kept]
        table, shard_by, keyless = self._table(decoded, docs, offsets, log_times)
        quarantined = [
            *raw.quarantined,
            *refused_keys,
            *self._rejected(raw, decoded),
            *keyless,
        ]
        slots = self._slots(table, shard_by)
        if deletes is not None:
            table, slots = self._with_deletes(table, slots, deletes)
        quarantined.sort(key=lambda record: record.offset)
        refused = _quarantine_table(quarantined)
        refused_slots = self._offset_slots(refused.column("offset").to_numpy())
        whole = Rows(
            Range(raw.begin, raw.end),
            table,
            slots,
            refused,
            refused_slots,
            decoded.overflow,
            raw.source_end,
            raw.leader_epoch,
        )
        return _cut(whole, self._pieces(table))

    def _split_deletes(self, raw: RawBatch) -> tuple[pa.Table | None, list[Quarantined], RawBatch]:
        """Takes the delete markers out: records with a key and an empty value."""
        if not self._spec.key_path or raw.keys is None or not len(raw.records):
            return None, [], raw
        is_empty = pc.equal(pc.binary_length(raw.records), 0).to_numpy(zero_copy_only=False)
        if not is_empty.any():
            return None, [], raw
        has_key = pc.greater(pc.binary_length(raw.keys), 0).fill_null(False)
        is_delete = has_key.to_numpy(zero_copy_only=False) & is_empty
        keys: dict[int, str] = {}
        refused: list[Quarantined] = []
        for index in np.flatnonzero(is_delete).tolist():
            key = raw.keys[index].as_py()
            try:
                keys[index] = key.decode()
            except UnicodeDecodeError:
                reason = "the key of a delete is not valid UTF-8"
                refused.append(Quarantined(int(raw.offsets[index]), reason, key, len(key)))
        where = np.fromiter(keys, np.int64, len(keys))
        times = _timestamps(raw.log_times_us[where])
        deletes = pa.table(
            {
                "_offset": raw.offsets[where],
                "_time": times,
                "_log_time": times,
                "_doc": pa.nulls(len(keys), pa.string()),
                "_key": pa.array(list(keys.values()), pa.string()),
            }
        )
        rest = replace(
            raw,
            records=raw.records.filter(pa.array(~is_delete)),
            offsets=raw.offsets[~is_delete],
            log_times_us=raw.log_times_us[~is_delete],
        )
        return deletes if keys else None, refused, rest

    def _decode(self, raw: RawBatch) -> tuple[Decoded, pa.Array]:
        if isinstance(raw.records, pa.Table):
            decoded = self._tables.decode(raw.records)
            docs = _one_array(self._tables.documents(raw.records), pa.string())
        else:
            decoded = self._decoder.decode(raw.records)
            docs = raw.records
        if len(decoded.kept) < len(docs):
            docs = docs.take(pa.array(decoded.kept))
        return decoded, docs.cast(pa.string())

    def _table(
        self, decoded: Decoded, docs: pa.Array, offsets: Offsets, log_times: TimesUs
    ) -> tuple[pa.Table, pa.Array | None, list[Quarantined]]:
        """The rows, their ``shard_by`` values, and the records that lack a key."""
        spec, columns = self._spec, decoded.batch
        times = event_times(columns, spec.time_path, log_times, self._evaluator)
        system: dict[str, pa.Array] = {
            "_offset": pa.array(offsets),
            "_time": _timestamps(times),
            "_log_time": _timestamps(log_times),
            "_doc": docs,
        }
        shard_by = (
            json_texts(spec.shard_by_path, columns, docs, self._evaluator)
            if spec.shard_by_path and not spec.key_path
            else None
        )
        if spec.key_path:
            system["_key"] = key_texts(spec.key_path, columns, docs, self._evaluator)
        table = pa.table(
            [*system.values(), *columns.columns], names=[*system, *columns.column_names]
        )
        if not spec.key_path or not system["_key"].null_count:
            return table, shard_by, []
        keyless = table.filter(pc.is_null(system["_key"]))
        has_key = pc.is_valid(system["_key"])
        reason = f"no value at key path '{spec.key_path}'"
        refused = [
            Quarantined(offset, reason, doc.encode(), len(doc.encode()))
            for offset, doc in zip(
                keyless.column("_offset").to_pylist(),
                keyless.column("_doc").to_pylist(),
                strict=True,
            )
        ]
        return table.filter(has_key), None, refused

    def _rejected(self, raw: RawBatch, decoded: Decoded) -> list[Quarantined]:
        refused: list[Quarantined] = []
        limit = self._settings.decode.document_size_bytes_max
        for row, reason in zip(
            decoded.rejected.rows.tolist(), decoded.rejected.reasons, strict=True
        ):
            value = self._record_bytes(raw.records, row)
            size = len(value)
            if size > limit:
                value = value[: self._settings.quarantine_prefix_bytes_max]
            refused.append(Quarantined(int(raw.offsets[row]), reason, value, size))
        return refused

    def _record_bytes(self, records: pa.Array | pa.Table, row: int) -> bytes:
        if isinstance(records, pa.Table):
            text: str = self._tables.documents(records.slice(row, 1))[0].as_py()
            return text.encode()
        value: bytes | None = records[row].as_py()
        return value or b""

    def _slots(self, table: pa.Table, shard_by: pa.Array | None) -> Slots:
        keys = _one_array(table.column("_key"), pa.string()) if self._spec.key_path else None
        offsets = table.column("_offset").to_numpy()
        return slots_of_rows(self._spec.source, self._spec.partition, offsets, keys, shard_by)

    def _offset_slots(self, offsets: NDArray[np.int64]) -> Slots:
        return slots_of_offsets(self._spec.source, self._spec.partition, offsets)

    def _with_deletes(
        self, table: pa.Table, slots: Slots, deletes: pa.Table
    ) -> tuple[pa.Table, Slots]:
        delete_slots = self._slots(deletes, None)
        joined = pa.concat_tables([table, deletes], promote_options="default")
        order = np.argsort(joined.column("_offset").to_numpy(), kind="stable")
        return joined.take(pa.array(order)), np.concatenate([slots, delete_slots])[order]

    def _pieces(self, table: pa.Table) -> int:
        by_size: int = -(-table.nbytes // self._settings.push_size_bytes_max)
        by_rows: int = -(-table.num_rows // self._settings.batch_rows_max)
        rows: int = table.num_rows
        return max(1, min(max(by_size, by_rows), rows))


def builder_of(
    collection: Collection,
    source: str,
    partition: int,
    settings: TailerSettings,
    paths: Iterable[str],
) -> RowBuilder:
    """A builder for a partition of a source of a collection, whose ``paths`` have columns."""
    spec = RowSpec(
        source, partition, collection.key_path, collection.time_path, collection.shard_by_path
    )
    return RowBuilder(spec, settings, JsonDecoder(settings.decode, sorted(paths)))


def _cut(whole: Rows, pieces: int) -> list[Rows]:
    """Consecutive parts with about equally many rows."""
    if pieces == 1:
        return [whole]
    offsets = whole.table.column("_offset").to_numpy()
    refused = whole.quarantine.column("offset").to_numpy()
    starts = [whole.table.num_rows * index // pieces for index in range(pieces)]
    begins = [whole.range.begin, *(int(offsets[start]) for start in starts[1:])]
    parts = []
    for begin, end in zip(begins, [*begins[1:], whole.range.end], strict=True):
        first, last = np.searchsorted(offsets, [begin, end])
        first_refused, last_refused = np.searchsorted(refused, [begin, end])
        part = replace(
            whole,
            range=Range(begin, end),
            table=whole.table.slice(first, last - first),
            slots=whole.slots[first:last],
            quarantine=whole.quarantine.slice(first_refused, last_refused - first_refused),
            quarantine_slots=whole.quarantine_slots[first_refused:last_refused],
        )
        parts.append(part)
    return parts


def _quarantine_table(records: Sequence[Quarantined]) -> pa.Table:
    columns = {
        "offset": [record.offset for record in records],
        "reason": [record.reason for record in records],
        "value": [record.value for record in records],
        "size_bytes": [record.size_bytes for record in records],
    }
    return pa.table(columns, QUARANTINE_SCHEMA)


def _timestamps(times_us: TimesUs) -> pa.Array:
    return pa.array(times_us).view(pa.timestamp("us"))


def _one_array(column: pa.Array | pa.ChunkedArray, target: pa.DataType) -> pa.Array:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return whole if whole.type == target else whole.cast(target)
