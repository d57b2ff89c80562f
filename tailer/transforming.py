"""Builds the rows of a collection with a transformation: records are transformed, then decoded.

A record that would be refused without the transformation is refused with it, for the same reason,
and is never given to it. One that can't be transformed, or of which something is made that is
refused, waits in quarantine as it came, whole: of several documents none becomes a row then.
Deletions are no documents and pass as they are. Documents of a record are numbered before rows are
routed, since each may go to another shard.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.transformation import COLUMNS, Transformation, Transformed
from tailer.batch import Builder, Rows
from tailer.decode import JsonDecoder, TableDecoder
from tailer.settings import TailerSettings
from tailer.sources.model import Quarantined, RawBatch


class TransformingBuilder:
    """Implements :class:`tailer.batch.Builder` before another one."""

    def __init__(
        self,
        source: str,
        partition: int,
        transformation: Transformation,
        settings: TailerSettings,
        then: Builder,
        numbered: bool = False,
    ) -> None:
        """``numbered``: records may become several documents."""
        self._origin = source, partition
        self._transformation = transformation
        self._settings = settings
        self._then = then
        self._numbered = numbered
        self._checker = JsonDecoder(settings.decode, [])
        self._tables = TableDecoder()

    def build(self, raw: RawBatch) -> list[Rows]:
        """See ``Builder``."""
        records = raw.records
        if isinstance(records, pa.Table):
            texts = self._tables.documents(records).combine_chunks()
            records, good = texts.cast(pa.binary()), np.arange(len(texts))
        else:
            good = self._checker.decode(records).kept.astype(np.int64)
        if not len(good):
            return [self._finished(rows, raw, good) for rows in self._then.build(raw)]
        raw = replace(raw, records=records)
        found: list[Rows] = []
        begin = raw.begin
        for made in self._transformation.apply(self._input(raw, good)):
            is_last = made.end == len(good)
            end = raw.end if is_last else int(raw.offsets[good[made.end]])
            for rows in self._then.build(self._transformed(raw, good, made, begin, end)):
                found.append(self._finished(rows, raw, good))
            begin = end
        return found

    def _input(self, raw: RawBatch, good: NDArray[np.int64]) -> pa.Table:
        source, partition = self._origin
        return pa.table(
            [
                raw.records.take(pa.array(good)).cast(pa.string()),
                pa.repeat(source, len(good)),
                pa.repeat(pa.scalar(partition, pa.int32()), len(good)),
                pa.array(raw.offsets[good]),
                pa.array(raw.log_times_us[good]).view(pa.timestamp("us")),
            ],
            schema=COLUMNS,
        )

    def _transformed(
        self, raw: RawBatch, good: NDArray[np.int64], made: Transformed, begin: int, end: int
    ) -> RawBatch:
        """The part of the batch between two offsets with documents in the place of good records."""
        first, last = np.searchsorted(raw.offsets, [begin, end])
        others = np.setdiff1d(np.arange(first, last), good)
        rows = np.concatenate([others, good[made.rows]])
        order = np.argsort(rows, kind="stable")
        documents = [raw.records.take(pa.array(others)), made.documents.cast(pa.binary())]
        rows = rows[order]
        failed = (
            self._refused(
                int(raw.offsets[good[row]]),
                f"it can't be transformed: {reason}",
                raw.records[int(good[row])].as_py(),
            )
            for row, reason in made.failed.items()
        )
        waiting = (one for one in raw.quarantined if begin <= one.offset < end)
        return replace(
            raw,
            begin=begin,
            end=end,
            records=pa.concat_arrays(documents).take(pa.array(order)),
            offsets=raw.offsets[rows],
            log_times_us=raw.log_times_us[rows],
            keys=None if raw.keys is None else raw.keys.take(pa.array(rows)),
            columns=None if raw.columns is None else raw.columns.take(pa.array(rows)),
            quarantined=(*waiting, *failed),
        )

    def _finished(self, rows: Rows, raw: RawBatch, good: NDArray[np.int64]) -> Rows:
        """The rows without records that are refused, which wait as they came, and numbered."""
        rows = self._with_whole_records(rows, raw, good)
        if not self._numbered:
            return rows
        offsets = rows.table.column("_offset").to_numpy()
        firsts = np.searchsorted(offsets, offsets)
        ordinals = pa.array(np.arange(len(offsets)) - firsts, pa.int64())
        return replace(rows, table=rows.table.append_column("_ordinal", ordinals))

    def _with_whole_records(self, rows: Rows, raw: RawBatch, good: NDArray[np.int64]) -> Rows:
        refused = rows.quarantine
        if not refused.num_rows:
            return rows
        offsets = refused.column("offset").to_numpy()
        _, firsts = np.unique(offsets, return_index=True)
        places = dict(zip(raw.offsets[good].tolist(), good.tolist(), strict=True))
        entries: list[Mapping[str, object]] = refused.take(pa.array(firsts)).to_pylist()
        for place, entry in enumerate(entries):
            row = places.get(int(str(entry["offset"])))
            if row is not None:
                record: bytes = raw.records[row].as_py()
                original = self._refused(int(raw.offsets[row]), str(entry["reason"]), record)
                entries[place] = asdict(original)
        kept = ~np.isin(rows.table.column("_offset").to_numpy(), offsets)
        return replace(
            rows,
            table=rows.table.filter(pa.array(kept)),
            slots=rows.slots[kept],
            quarantine=pa.Table.from_pylist(entries, refused.schema),
            quarantine_slots=rows.quarantine_slots[firsts],
        )

    def _refused(self, offset: int, reason: str, record: bytes) -> Quarantined:
        size = len(record)
        if size > self._settings.decode.document_size_bytes_max:
            record = record[: self._settings.quarantine_prefix_bytes_max]
        return Quarantined(offset, reason, record, size)
