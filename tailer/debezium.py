"""Changes of a database as Debezium writes them: envelopes in, documents and deletions out.

An envelope is an object with ``op``, ``before`` and ``after``, bare or as the ``payload`` beside a
``schema`` (https://debezium.io/documentation/reference/stable/connectors/postgresql.html, "Data
change events"). Creations, updates and reads of a snapshot (c, u, r) give the row in ``after``,
deletions (d) delete the key in ``before`` or else in the record's key. The tombstone that follows a
deletion deletes once more, which changes nothing, unless compaction has removed the deletion. The
record's key is taken out of its envelope as well: it is the columns of the table's key, and, with
``_key`` as the key path, the document's key, of however many columns it is made.

Each envelope is judged by itself, and becomes a document, a deletion or a quarantined record.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alder.paths import json_pointer, split
from tailer.deletes import Mask, Split, delete_rows, is_delete
from tailer.evaluate import Evaluator, sql_text
from tailer.pathvalues import texts_in
from tailer.recordkeys import document_keys, with_bare_keys
from tailer.sources.model import Quarantined, RawBatch
from tailer.versions import numbers_in

NO_ENVELOPE: Final = (
    "no Debezium envelope: it is an object with op, before and after, or one with schema and a "
    "payload that is such an object; plain documents belong in a collection without --envelope"
)
NO_DOCUMENT: Final = (
    "the envelope's op says that there is a row, but after is no object; have the connector send "
    "whole rows as JSON objects"
)
TRUNCATED: Final = (
    "the table was truncated, which names no key; create the collection again to be rid of all "
    "documents, or delete them by their keys"
)
_JSON: Final = "try_cast(TRY(decode(v)) AS JSON)"
_FIELDS: Final = ("/op", "/after", "/before")


def unwrapped(raw: RawBatch, key_path: str, version_path: str, evaluator: Evaluator) -> Split:
    """The documents and deletions in a batch of JSON records.

    ``version_path`` is a path of envelopes; empty: versions are not asked for.
    """
    if not len(raw.records):
        return Split(raw)
    if raw.columns is not None and raw.keys is not None:
        raw = replace(raw, columns=with_bare_keys(raw.columns, raw.keys, evaluator))
    fields = [*_FIELDS, *([json_pointer(split(version_path))] if version_path else [])]
    op, after, before, *version = _envelope_fields(raw.records, fields, evaluator)
    is_tombstone = is_delete(raw)
    has_row = _is_in(op, "c", "u", "r") & ~is_tombstone
    is_deletion = _is_in(op, "d")
    has_object = _flags(pc.starts_with(after, "{"))
    keys = _keys(raw, before, is_deletion, key_path, evaluator)
    numbers = numbers_in("$", version[0], evaluator) if version else None
    has_number = np.ones(len(op), dtype=bool)
    if numbers is not None:
        has_number = _flags(numbers.is_valid()) | is_tombstone
    has_key = _flags(keys.is_valid())
    is_document = has_row & has_object & has_number
    deletes = (is_deletion | is_tombstone) & has_key & has_number
    reasons = np.full(len(op), NO_ENVELOPE, dtype=object)
    others = _flags(pc.is_valid(op)) & ~has_row & ~is_deletion
    reasons[others] = "the envelope's op is none of c, r, u, d; keep such records out of the topic"
    reasons[_is_in(op, "t")] = TRUNCATED
    reasons[has_row & ~has_object] = NO_DOCUMENT
    reasons[(is_deletion | is_tombstone) & ~has_key] = (
        f"the deletion has no value at key path '{key_path}' in before, nor in the record's key; "
        "have the connector put the columns of the key there"
    )
    reasons[(has_row | is_deletion) & ~has_number] = no_version(version_path, "envelope")
    flags = pa.array(deletes)
    rows = delete_rows(
        raw.offsets[deletes],
        raw.log_times_us[deletes],
        keys.filter(flags),
        None if numbers is None else numbers.filter(flags),
    )
    mask = pa.array(is_document)
    records = after.filter(mask).cast(pa.binary())
    return Split(
        replace(raw.where(is_document), records=records),
        rows if rows.num_rows else None,
        _refused(raw, ~is_document & ~deletes, reasons),
        keys.filter(mask),
        None if numbers is None else numbers.filter(mask),
        raw.records.filter(mask),
    )


def no_version(path: str, what: str) -> str:
    """Why a record without a version is in quarantine."""
    return (
        f"no version at path '{path}' of the {what}; an integer of 64 bits or a time in text is "
        "one: send it again with one, or create the collection without --version"
    )


def _envelope_fields(
    records: pa.Array, pointers: list[str], evaluator: Evaluator
) -> list[pa.Array]:
    """The JSON texts at these pointers of the envelopes, null where there is nothing."""
    wrapped = [f"/payload{pointer}" for pointer in pointers]
    wanted = ", ".join(sql_text(pointer) for pointer in (*pointers, *wrapped))
    count = 2 * len(pointers)
    # One parse of each record gives all of them.
    nothing = f"[{', '.join(['NULL::JSON'] * count)}]"
    expression = f"coalesce(json_extract({_JSON}, [{wanted}]), {nothing})"
    flat = evaluator.map(expression, records).flatten().cast(pa.string())
    texts = [flat.take(pa.array(np.arange(place, len(flat), count))) for place in range(count)]
    is_bare = pc.is_valid(texts[0])
    half = len(pointers)
    return [pc.if_else(is_bare, texts[i], texts[half + i]) for i in range(half)]


def _keys(
    raw: RawBatch, before: pa.Array, is_deletion: Mask, key_path: str, evaluator: Evaluator
) -> pa.Array:
    """The key as ``before`` of a deletion has it, else as the record's key does; or null."""
    own = pc.if_else(pa.array(is_deletion), before, None)
    keys = texts_in(key_path, own, evaluator)
    if raw.keys is None:
        return keys
    return pc.coalesce(keys, document_keys(key_path, raw.keys, evaluator))


def _refused(raw: RawBatch, mask: Mask, reasons: np.ndarray) -> tuple[Quarantined, ...]:
    return tuple(
        Quarantined(int(raw.offsets[place]), reasons[place], value, len(value))
        for place in np.flatnonzero(mask).tolist()
        for value in [raw.records[place].as_py() or b""]
    )


def _is_in(op: pa.Array, *ops: str) -> Mask:
    return _flags(pc.is_in(op, pa.array([f'"{one}"' for one in ops])))


def _flags(values: pa.Array) -> Mask:
    mask: Mask = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return mask
