"""Builds the rows of a collection with a transformation: records are transformed, then decoded.

A record that would be refused without the transformation is refused with it, for the same reason,
and is never given to it. One that can't be transformed, or of which something is made that is
refused, waits in quarantine as it came. Deletions are no documents and pass as they are.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.transformation import COLUMNS, Transformation
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
    ) -> None:
        self._origin = source, partition
        self._transformation = transformation
        self._settings = settings
        self._then = then
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
            return self._then.build(raw)
        made = self._transformed(replace(raw, records=records), good)
        offsets, originals = raw.offsets[good], records.take(pa.array(good))
        return [self._with_originals(rows, offsets, originals) for rows in self._then.build(made)]

    def _transformed(self, raw: RawBatch, good: NDArray[np.int64]) -> RawBatch:
        """The batch with documents in the place of its good records."""
        source, partition = self._origin
        records = pa.table(
            [
                raw.records.take(pa.array(good)).cast(pa.string()),
                pa.repeat(source, len(good)),
                pa.repeat(pa.scalar(partition, pa.int32()), len(good)),
                pa.array(raw.offsets[good]),
                pa.array(raw.log_times_us[good]).view(pa.timestamp("us")),
            ],
            schema=COLUMNS,
        )
        result = self._transformation.apply(records)
        others = np.setdiff1d(np.arange(len(raw.offsets)), good)
        rows = np.concatenate([others, good[np.asarray(result.rows, dtype=np.int64)]])
        order = np.argsort(rows)
        documents = [raw.records.take(pa.array(others)), result.documents.cast(pa.binary())]
        rows = rows[order]
        failed = (
            self._refused(
                int(raw.offsets[good[row]]),
                f"it can't be transformed: {reason}",
                raw.records[int(good[row])].as_py(),
            )
            for row, reason in result.failed.items()
        )
        return replace(
            raw,
            records=pa.concat_arrays(documents).take(pa.array(order)),
            offsets=raw.offsets[rows],
            log_times_us=raw.log_times_us[rows],
            keys=None if raw.keys is None else raw.keys.take(pa.array(rows)),
            columns=None if raw.columns is None else raw.columns.take(pa.array(rows)),
            quarantined=(*raw.quarantined, *failed),
        )

    def _refused(self, offset: int, reason: str, record: bytes) -> Quarantined:
        size = len(record)
        if size > self._settings.decode.document_size_bytes_max:
            record = record[: self._settings.quarantine_prefix_bytes_max]
        return Quarantined(offset, reason, record, size)

    def _with_originals(self, rows: Rows, offsets: NDArray[np.int64], records: pa.Array) -> Rows:
        """The rows with records in quarantine as they came, not as they were transformed."""
        table = rows.quarantine
        if not table.num_rows:
            return rows
        places = dict(zip(offsets.tolist(), range(len(offsets)), strict=True))
        entries: list[Mapping[str, object]] = table.to_pylist()
        for place, entry in enumerate(entries):
            offset = int(str(entry["offset"]))
            if offset in places:
                record: bytes = records[places[offset]].as_py()
                original = self._refused(offset, str(entry["reason"]), record)
                entries[place] = asdict(original)
        return replace(rows, quarantine=pa.Table.from_pylist(entries, table.schema))
