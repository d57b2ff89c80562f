"""Documents on their way into the log: JSON text, cut into messages of bounded size.

Text and bytes are sent as they are, for the server to judge; a Python document is either encoded
with every value intact or refused, so that nothing is altered on the way.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from alder import records
from alder.client.errors import DataError, ProgrammingError
from alder.errors import Reason
from alder.v1 import log_pb2

DOCUMENT_BYTES_MAX: Final = 16 << 20
"""Longer documents go to quarantine, with their beginning only."""
PREFIX_BYTES: Final = 4 << 10
"""How much of a too long document is sent."""
MESSAGE_BYTES_MAX: Final = 1 << 20
MESSAGE_RECORDS_MAX: Final = 10_000
_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY
_ANY_PARTITION: Final = -1
_HARMLESS: Final = frozenset({str, int, bool, type(None)})


@dataclass(frozen=True, slots=True)
class TruncatedDocument:
    """The beginning of a document that its reader didn't keep whole, and its real size."""

    prefix: bytes
    size_bytes: int


Document = Mapping[str, object] | str | bytes | TruncatedDocument


def messages(
    topic: str, documents: Iterable[Document], partition: int | None
) -> Iterator[log_pb2.AppendRequest]:
    """The documents as messages of at most :data:`MESSAGE_BYTES_MAX`, or of one larger record.

    Raises ProgrammingError or DataError naming the place of a document that can't be encoded.
    """
    if isinstance(documents, Mapping | str | bytes | TruncatedDocument):
        raise ProgrammingError(
            Reason.INVALID_ARGUMENT,
            "append takes an iterable of documents; put a single one into a list",
        )
    if partition is not None and not 0 <= partition < 1 << 31:
        raise ProgrammingError(
            Reason.INVALID_ARGUMENT, f"there is no partition {partition}; they count from 0"
        )
    target = _ANY_PARTITION if partition is None else partition
    values: list[bytes] = []
    original_sizes: list[int] = []
    size_bytes = 0
    for index, document in enumerate(documents):
        value, original_size = _record(document, index)
        full = len(values) == MESSAGE_RECORDS_MAX
        if values and (full or size_bytes + len(value) > MESSAGE_BYTES_MAX):
            yield _message(topic, target, values, original_sizes)
            values, original_sizes, size_bytes = [], [], 0
        values.append(value)
        original_sizes.append(original_size)
        size_bytes += len(value)
    if values:
        yield _message(topic, target, values, original_sizes)


def encode(document: Mapping[str, object]) -> bytes:
    """The JSON text of a Python document; dates and times become ISO 8601 text.

    Raises DataError for NaN and infinities, keys that aren't text, values that JSON doesn't have,
    and circular references.
    """
    try:
        text = orjson.dumps(document, option=_OPTIONS)
    except TypeError:
        return _encode_exactly(document)
    # orjson writes null for what is not finite.
    if b"null" in text:
        _check_values(document)
    return text


def _message(
    topic: str, partition: int, values: list[bytes], original_sizes: list[int]
) -> log_pb2.AppendRequest:
    data = records.encode(values, original_sizes if any(original_sizes) else ())
    return log_pb2.AppendRequest(topic=topic, partition=partition, records=data)


def _record(document: Document, index: int) -> tuple[bytes, int]:
    """The value, and the original size of one that is cut, else 0."""
    if isinstance(document, TruncatedDocument):
        return document.prefix, document.size_bytes
    if isinstance(document, bytes):
        value = document
    elif isinstance(document, str):
        # A lone surrogate becomes invalid UTF-8, which the server quarantines with this reason.
        value = document.encode(errors="surrogatepass")
    elif isinstance(document, Mapping):
        try:
            value = encode(document)
        except DataError as error:
            raise DataError(error.reason, f"document {index}: {error.message}") from error
    else:
        raise ProgrammingError(
            Reason.INVALID_ARGUMENT,
            f"document {index} is a {type(document).__name__}; a document is a dict, or JSON as "
            "str or bytes",
        )
    if len(value) > DOCUMENT_BYTES_MAX:
        return value[:PREFIX_BYTES], len(value)
    return value, 0


def _encode_exactly(document: Mapping[str, object]) -> bytes:
    """For what orjson refuses but JSON has: long integers, lone surrogates, other mappings."""
    try:
        text = json.dumps(document, allow_nan=False, separators=(",", ":"), default=_as_plain)
        _check_values(document)
    except RecursionError as error:
        raise DataError(Reason.LIMIT, "it is nested too deep for JSON; flatten it") from error
    except (TypeError, ValueError) as error:
        raise DataError(Reason.WRONG_TYPE, f"it can't be written as JSON: {error}") from error
    return text.encode("ascii")


def _as_plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    try:
        return orjson.loads(orjson.dumps(value, option=_OPTIONS))
    except TypeError as error:
        raise TypeError(
            f"a {type(value).__name__} has no JSON form; convert it to text or a number"
        ) from error


def _check_values(document: Mapping[str, object]) -> None:
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if type(value) in _HARMLESS:
            continue
        if isinstance(value, dict | Mapping):
            if not all(isinstance(key, str) for key in value):
                raise DataError(Reason.WRONG_TYPE, "a key is not text; JSON keys are strings")
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
        elif not _is_finite(value):
            raise DataError(
                Reason.WRONG_TYPE, "it holds NaN or an infinity, which JSON doesn't have; use None"
            )


def _is_finite(value: object) -> bool:
    if isinstance(value, float | np.floating):
        return math.isfinite(value)
    if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
        return bool(np.isfinite(value).all())
    return True
