"""Partial updates: in a merging collection each document is a JSON merge patch (RFC 7396).

A patch changes what its own partition has made of the key, so what comes of it depends on that
partition's log alone (I1); a key that has nothing, or was deleted, begins as an empty object. A
patch with a lower version than its partition has of the key changes nothing; it is kept as a patch
of an empty object, and is in no answer.

What partitions have made of keys is stored beside the key map, with its version, in the batch of
the push. It is there also where no row is any more, so what is purged, and when, changes nothing.
Patches of a key are applied one after the other in Python, because each needs what the one before
made: the engine's function would need a statement for every time that a key repeats. Numbers are
carried over as they are spelt, so that no digit is lost.
"""

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.interfaces import DocumentColumns
from leaf.keymap import UNNUMBERED
from leaf.rows import QUARANTINE_SCHEMA, PushedRows

_NUMBER: Final = struct.Struct(">q")
_STREAM: Final = struct.Struct(">I")
_FIELD: Final = b'":'
Json: TypeAlias = "bool | orjson.Fragment | str | list[Json] | dict[str, Json] | None"
_DECODER: Final = json.JSONDecoder(parse_int=orjson.Fragment, parse_float=orjson.Fragment)


@dataclass(frozen=True, slots=True)
class Patched:
    """The rows of a push with the documents that its patches make, None where no row is left.

    ``living`` are new values of what is stored beside the key map.
    """

    rows: PushedRows | None
    refused: pa.Table
    living: Mapping[bytes, bytes]
    overflow: bool


class Patches:
    """Applies the patches of a shard. One call at a time."""

    def __init__(
        self,
        documents: DocumentColumns,
        read: Callable[[Sequence[bytes]], list[bytes | None]],
    ) -> None:
        """``read`` gives stored values of keys."""
        self._documents = documents
        self._read = read

    def apply(self, stream: int, rows: PushedRows) -> Patched:
        """What a push of this stream makes. Raises AlderError(CORRUPT) for what is stored."""
        table = rows.table
        distinct = table.column("_key").combine_chunks().dictionary_encode()
        prefix = _STREAM.pack(stream)
        names = [prefix + name for name in distinct.dictionary.cast(pa.binary()).to_pylist()]
        states = list(map(_State.stored, self._read(names)))
        texts: list[bytes | None] = []
        reasons: dict[int, str] = {}
        patches = table.column("_doc").to_pylist()
        for place, (key, patch, number) in enumerate(
            zip(distinct.indices.to_pylist(), patches, rows.numbers.tolist(), strict=True)
        ):
            try:
                texts.append(states[key].applied(patch, number, self._documents))
            except _RefusedError as error:
                reasons[place] = str(error)
                texts.append(None)
        living = {name: state.value() for name, state in zip(names, states, strict=True)}
        refused = _quarantined(rows, reasons)
        kept = np.ones(len(texts), dtype=bool)
        kept[list(reasons)] = False
        if not kept.any():
            return Patched(None, refused, living, False)
        made, overflow = self._made(rows, pa.array(texts, pa.binary()).cast(pa.string()), kept)
        return Patched(made, refused, living, overflow)

    def _made(
        self, rows: PushedRows, documents: pa.Array, kept: NDArray[np.bool_]
    ) -> tuple[PushedRows, bool]:
        """The rows that are kept, with the columns of these documents."""
        flags = pa.array(kept)
        table, documents = rows.table.filter(flags), documents.filter(flags)
        is_document = documents.is_valid()
        log_times = table.column("_log_time").cast(pa.int64()).to_numpy()
        alive = np.flatnonzero(is_document.to_numpy(zero_copy_only=False))
        columns, overflow = self._documents.columns(documents.filter(is_document), log_times[alive])
        places = np.full(len(documents), -1)
        places[alive] = np.arange(len(alive))
        columns = columns.take(pa.array(places, mask=places < 0))
        times = pc.coalesce(columns.column("_time").combine_chunks(), table.column("_log_time"))
        found = {"_time": times, "_log_time": table.column("_log_time"), "_doc": documents}
        found["_key"] = table.column("_key")
        # What a patch came with beside its text is the record's own.
        found.update({n: table.column(n) for n in table.column_names if n not in found})
        found.update({n: columns.column(n) for n in columns.column_names if n != "_time"})
        made = replace(
            rows, places=rows.places[kept], table=pa.table(found), numbers=rows.numbers[kept]
        )
        return made, overflow


class _RefusedError(Exception):
    """The document that a patch makes goes to quarantine; the message is the reason."""


class _State:
    """What a partition has made of a key: the number of its version and its document."""

    def __init__(self, number: int, text: bytes | None) -> None:
        self._number = number
        self._text = text
        self._document: Json = None

    @classmethod
    def stored(cls, value: bytes | None) -> "_State":
        """As :meth:`value` says. Raises AlderError(CORRUPT)."""
        if value is None:
            return cls(UNNUMBERED, None)
        if len(value) < _NUMBER.size:
            raise AlderError(Reason.CORRUPT, "the stored document of a key is cut off")
        return cls(_NUMBER.unpack_from(value)[0], value[_NUMBER.size :] or None)

    def value(self) -> bytes:
        """The number and the text of the document, which a deleted key has not."""
        return _NUMBER.pack(self._number) + (self._text or b"")

    def applied(self, patch: str | None, number: int, limits: DocumentColumns) -> bytes | None:
        """The document that a patch makes, or a deletion (None), which become the key's.

        Raises _RefusedError; it is as it was then.
        """
        if number == UNNUMBERED:
            number = self._number
        if number < self._number:
            # Of no consequence: a later version has been here already.
            return _State(number, None).applied(patch, number, limits)
        if patch is None:
            self._number, self._text, self._document = number, None, None
            return None
        if self._document is None and self._text is not None:
            self._document = _parsed(self._text.decode())
        document, self._document = merged(self._document, _parsed(patch)), None
        text = _text(document, limits)
        self._number, self._text, self._document = number, text, document
        return text


def merged(target: Json, patch: Json) -> Json:
    """RFC 7396, section 2, MergePatch. The target may be changed, and parts of it be shared."""
    if not isinstance(patch, dict):
        return patch
    result = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _parsed(text: str) -> Json:
    document: Json = _DECODER.decode(text)
    return document


def _text(document: Json, limits: DocumentColumns) -> bytes:
    try:
        text = orjson.dumps(document)
    except orjson.JSONEncodeError as error:
        raise _RefusedError(
            f"the document that the patch makes can't be written: {error}"
        ) from error
    if len(text) > limits.size_bytes_max:
        raise _RefusedError(
            f"with the patch its document has {len(text)} bytes, which exceeds the limit of "
            f"{limits.size_bytes_max} bytes; remove fields from it first"
        )
    # Colons within texts make this too large at most.
    if text.count(_FIELD) > limits.fields_max and (found := _fields(document)) > limits.fields_max:
        raise _RefusedError(
            f"with the patch its document has {found} fields, which exceeds the limit of "
            f"{limits.fields_max}; remove some first"
        )
    return text


def _fields(document: Json) -> int:
    """Keys at every depth."""
    if isinstance(document, dict):
        return len(document) + sum(map(_fields, document.values()))
    return sum(map(_fields, document)) if isinstance(document, list) else 0


def _quarantined(rows: PushedRows, reasons: Mapping[int, str]) -> pa.Table:
    places = list(reasons)
    patches: Iterable[str] = (
        rows.table.column("_doc").take(pa.array(places, pa.int64())).to_pylist()
    )
    values = [patch.encode() for patch in patches]
    columns = {
        "offset": rows.offsets[places],
        "reason": list(reasons.values()),
        "value": values,
        "size_bytes": list(map(len, values)),
    }
    return pa.table(columns, QUARANTINE_SCHEMA) if places else QUARANTINE_SCHEMA.empty_table()
