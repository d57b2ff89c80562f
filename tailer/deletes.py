"""What of a batch of a keyed collection is no document: deletions of keys.

A deletion is a record with a key and an empty value (a Kafka tombstone is one). It becomes a row
without a document. The key of a record of a log is the document's; that of a topic's record is what
its producer writes, of which an object may have the document's key as one of its fields.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.paths import RECORD_FIELDS
from tailer.evaluate import Evaluator
from tailer.recordkeys import document_keys
from tailer.sources.model import Offsets, Quarantined, RawBatch, TimesUs

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Split:
    """A batch taken apart: ``raw`` has the documents that are left.

    ``deletes`` are rows without a document, in any order; None for none. ``keys`` (string) and
    ``numbers`` (int64) are what is known besides the documents of their keys and versions, and
    ``originals`` (binary) the records that they were taken out of, one entry per document; None
    where there are only the documents.
    """

    raw: RawBatch
    deletes: pa.Table | None = None
    refused: tuple[Quarantined, ...] = ()
    keys: pa.Array | None = None
    numbers: pa.Array | None = None
    originals: pa.Array | None = None


def split_deletes(raw: RawBatch, key_path: str, evaluator: Evaluator) -> Split:
    """Takes the records with a key and an empty value out."""
    deletes = is_delete(raw)
    if not deletes.any():
        return Split(raw)
    assert raw.keys is not None
    places = np.flatnonzero(deletes)
    own = raw.keys.take(pa.array(places))
    keys = evaluator.map("TRY(decode(v))", own).cast(pa.string())
    is_text = keys.is_valid().to_numpy(zero_copy_only=False)
    refused = tuple(
        Quarantined(offset, "the key of a delete is not valid UTF-8", key, len(key))
        for offset, key in zip(
            raw.offsets[places[~is_text]].tolist(),
            own.filter(pa.array(~is_text)).to_pylist(),
            strict=True,
        )
    )
    if raw.columns is not None and key_path not in RECORD_FIELDS:
        keys = pc.coalesce(document_keys(key_path, own, evaluator), keys)
    where = places[is_text]
    rows = delete_rows(raw.offsets[where], raw.log_times_us[where], keys.filter(pa.array(is_text)))
    return Split(raw.where(~deletes), rows if len(where) else None, refused)


def is_delete(raw: RawBatch) -> Mask:
    """True for the records with a key and an empty value."""
    if raw.keys is None or isinstance(raw.records, pa.Table) or not len(raw.records):
        return np.zeros(len(raw.offsets), dtype=bool)
    is_empty = pc.equal(pc.binary_length(raw.records), 0)
    has_key = pc.greater(pc.binary_length(raw.keys), 0)
    mask: Mask = pc.fill_null(pc.and_(is_empty, has_key), False).to_numpy(zero_copy_only=False)
    return mask


def delete_rows(
    offsets: Offsets, log_times_us: TimesUs, keys: pa.Array, numbers: pa.Array | None = None
) -> pa.Table:
    """Rows that delete keys, with their versions where these are known."""
    times = pa.array(log_times_us).view(pa.timestamp("us"))
    columns = {
        "_offset": pa.array(offsets),
        "_time": times,
        "_log_time": times,
        "_doc": pa.nulls(len(offsets), pa.string()),
        "_key": keys,
    }
    if numbers is not None:
        columns["_version"] = numbers
    return pa.table(columns)
