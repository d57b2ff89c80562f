"""Raw records to prepared ranges: decoded, timed, keyed, routed, and cut to a size that can be
sent.

Each document of a raw batch becomes exactly one row or one quarantined record, of one shard;
nothing is dropped (I7). What a row becomes depends on the record and the collection alone, never on
its neighbours in the batch (I1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.fieldtypes import column_name
from alder.slots import slots_of_offsets
from tailer.core import Range
from tailer.debezium import no_version, unwrapped
from tailer.decode import Decoded, JsonDecoder, TableDecoder
from tailer.deletes import Split, split_deletes
from tailer.evaluate import Evaluator
from tailer.eventtime import event_times
from tailer.pathvalues import json_texts, key_texts
from tailer.route import Slots, slots_of_rows
from tailer.settings import TailerSettings
from tailer.sources.model import Quarantined, RawBatch, TimesUs
from tailer.versions import version_numbers

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
    The settings after it are those of ``CollectionSettings``.
    """

    source: str
    partition: int
    key_path: str = ""
    time_path: str = ""
    shard_by_path: str = ""
    version_path: str = ""
    deleted_path: str = ""
    merge: bool = False
    envelope: str = ""


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


class Builder(Protocol):
    """Builds the rows of one partition, one batch after the other."""

    def build(self, raw: RawBatch) -> list[Rows]:
        """The rows of a batch that is not empty, in one or more consecutive ranges."""
        ...


class RowBuilder:
    """Implements :class:`Builder`: decodes records as they are."""

    def __init__(self, spec: RowSpec, settings: TailerSettings, decoder: JsonDecoder) -> None:
        self._spec = spec
        self._settings = settings
        self._decoder = decoder
        self._tables = TableDecoder()
        self._evaluator = Evaluator()

    def build(self, raw: RawBatch) -> list[Rows]:
        """See ``Builder``."""
        split = self._split(raw)
        quarantined = [*raw.quarantined, *split.refused]
        raw = split.raw
        decoded, docs = self._decode(raw)
        quarantined.extend(self._rejected(raw, decoded, split.originals))
        table, shard_by = self._table(raw, decoded, docs)
        if self._spec.key_path:
            table, refused_rows = self._with_keys(table, decoded, docs, split)
            quarantined.extend(refused_rows)
        slots = self._slots(table, shard_by)
        if split.deletes is not None:
            table, slots = self._with_deletes(table, slots, split.deletes)
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

    def _split(self, raw: RawBatch) -> Split:
        """What of a batch is no document, taken out."""
        spec = self._spec
        if not spec.key_path:
            return Split(raw)
        if not spec.envelope:
            return split_deletes(raw, spec.key_path, self._evaluator)
        if isinstance(raw.records, pa.Table):
            texts = _one_array(self._tables.documents(raw.records), pa.string())
            raw = replace(raw, records=texts.cast(pa.binary()))
        return unwrapped(raw, spec.key_path, spec.version_path, self._evaluator)

    def _decode(self, raw: RawBatch) -> tuple[Decoded, pa.Array]:
        if isinstance(raw.records, pa.Table):
            decoded = self._tables.decode(raw.records)
            docs = _one_array(self._tables.documents(raw.records), pa.string())
        else:
            decoded = self._decoder.decode(raw.records)
            docs = raw.records
        if len(decoded.kept) < len(docs):
            docs = docs.take(pa.array(decoded.kept))
        if raw.columns is not None:
            decoded = replace(decoded, batch=_beside(decoded, raw.columns))
        return decoded, docs.cast(pa.string())

    def _table(
        self, raw: RawBatch, decoded: Decoded, docs: pa.Array
    ) -> tuple[pa.Table, pa.Array | None]:
        """The rows but for their keys, and their ``shard_by`` values."""
        spec, columns = self._spec, decoded.batch
        offsets, log_times = raw.offsets[decoded.kept], raw.log_times_us[decoded.kept]
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
        # A patch has not the columns of the document that it makes, but those of its record.
        own = [] if raw.columns is None else raw.columns.column_names
        fields = columns.select(own) if spec.merge else columns
        table = pa.table([*system.values(), *fields.columns], names=[*system, *fields.column_names])
        return table, shard_by

    def _with_keys(
        self, table: pa.Table, decoded: Decoded, docs: pa.Array, split: Split
    ) -> tuple[pa.Table, list[Quarantined]]:
        """The rows with keys, versions and deletions, and the records that lack one of them."""
        spec, columns = self._spec, decoded.batch
        kept = pa.array(decoded.kept)
        keys = key_texts(spec.key_path, columns, docs, self._evaluator)
        if split.keys is not None:
            keys = pc.coalesce(keys, split.keys.take(kept))
        required = [(keys, f"no value at key path '{spec.key_path}'")]
        added = {"_key": keys}
        if spec.version_path:
            numbers = (
                version_numbers(spec.version_path, columns, docs, self._evaluator)
                if split.numbers is None
                else split.numbers.take(kept)
            )
            required.append((numbers, no_version(spec.version_path, "document")))
            added["_version"] = numbers
        for name, values in added.items():
            table = table.append_column(name, values)
        if spec.deleted_path:
            table = _without_deleted(table, self._is_deleted(decoded, docs))
        refused: list[Quarantined] = []
        is_whole = np.ones(len(docs), dtype=bool)
        for values, reason in required:
            if not values.null_count:
                continue
            lacks = is_whole & values.is_null().to_numpy(zero_copy_only=False)
            is_whole &= ~lacks
            originals = docs if split.originals is None else split.originals.take(kept)
            refused.extend(_refused_documents(table.column("_offset"), originals, lacks, reason))
        return (table.filter(pa.array(is_whole)) if refused else table), refused

    def _is_deleted(self, decoded: Decoded, docs: pa.Array) -> pa.Array:
        """True for the documents that say that they delete their key."""
        path, columns = self._spec.deleted_path, decoded.batch
        name = column_name("bool", path)
        if decoded.overflow:
            texts = json_texts(path, columns, docs, self._evaluator)
            return pc.fill_null(pc.equal(texts, "true"), False)
        if name not in columns.column_names:
            return pa.array(np.zeros(len(docs), dtype=bool))
        return pc.fill_null(columns.column(name).combine_chunks(), False)

    def _rejected(
        self, raw: RawBatch, decoded: Decoded, originals: pa.Array | None
    ) -> list[Quarantined]:
        refused: list[Quarantined] = []
        limit = self._settings.decode.document_size_bytes_max
        for row, reason in zip(
            decoded.rejected.rows.tolist(), decoded.rejected.reasons, strict=True
        ):
            value = self._record_bytes(raw.records if originals is None else originals, row)
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


def _beside(decoded: Decoded, columns: pa.Table) -> pa.Table:
    """The decoded columns and those of the records themselves, whose paths documents can't have."""
    own = columns.take(pa.array(decoded.kept))
    names = [*decoded.batch.column_names, *own.column_names]
    return pa.table([*decoded.batch.columns, *own.columns], names=names)


def _cut(whole: Rows, pieces: int) -> list[Rows]:
    """Consecutive parts with about equally many rows, none of which begins within a record."""
    if pieces == 1:
        return [whole]
    offsets = whole.table.column("_offset").to_numpy()
    refused = whole.quarantine.column("offset").to_numpy()
    starts = [whole.table.num_rows * index // pieces for index in range(1, pieces)]
    begins = sorted({whole.range.begin, *offsets[starts].tolist()})
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


def _without_deleted(table: pa.Table, is_deleted: pa.Array) -> pa.Table:
    """Rows of documents that delete have none."""
    place = table.column_names.index("_doc")
    documents = pc.if_else(is_deleted, None, table.column(place))
    return table.set_column(place, "_doc", documents)


def _refused_documents(
    offsets: pa.ChunkedArray, records: pa.Array, mask: NDArray[np.bool_], reason: str
) -> list[Quarantined]:
    flags = pa.array(mask)
    values = records.filter(flags).cast(pa.binary()).to_pylist()
    return [
        Quarantined(offset, reason, value, len(value))
        for offset, value in zip(offsets.filter(flags).to_pylist(), values, strict=True)
    ]


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
