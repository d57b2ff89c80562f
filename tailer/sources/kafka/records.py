"""What a consumer gives, as columns.

Messages are objects of the client library, one per record; their parts are taken out column by
column with its own functions, so that nothing of ours runs per record.
"""

import base64
from collections.abc import Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Message

from tailer.sources.model import Offsets, TimesUs

Headers = list[tuple[str, str | bytes | None]] | dict[str, str | bytes | None]
_TIME_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999; what a producer sends as a time may be anything."""


def offsets_of(messages: Sequence[Message]) -> Offsets:
    """int64, ascending."""
    return np.fromiter(map(Message.offset, messages), np.int64, len(messages))


def times_of(messages: Sequence[Message]) -> TimesUs:
    """Microseconds since 1970 UTC; 0 where a record has no time, and never beyond the year 9999."""
    times_ms = map(itemgetter(1), map(Message.timestamp, messages))
    found = np.fromiter(times_ms, np.int64, len(messages))
    return np.clip(found, 0, _TIME_MS_MAX) * 1_000


def values_of(messages: Sequence[Message]) -> list[bytes]:
    """That of a tombstone is empty."""
    return [value or b"" for value in map(Message.value, messages)]


def keys_of(messages: Sequence[Message]) -> pa.Array | None:
    """Binary, null where a record has none; None if none has one."""
    keys = pa.array(list(map(Message.key, messages)), pa.binary())
    return keys if keys.null_count < len(keys) else None


def columns_of(messages: Sequence[Message], keys: pa.Array | None) -> pa.Table | None:
    """Keys and headers as columns of the rows; None where no record has any.

    A key is a string where it is valid UTF-8, else binary. Headers are a JSON object; values that
    are no UTF-8 are in base64, and a name that comes more than once has a list.
    """
    columns: dict[str, pa.Array] = {}
    if keys is not None:
        texts = _texts(keys)
        columns["string:_key"] = texts
        if texts.null_count > keys.null_count:
            columns["binary:_key"] = pc.if_else(pc.is_null(texts), keys, None)
    headers = list(map(Message.headers, messages))
    if any(headers):
        texts = [None if not one else _header_text(one) for one in headers]
        columns["json:_headers"] = pa.array(texts, pa.string())
    return pa.table(columns) if columns else None


def _texts(keys: pa.Array) -> pa.Array:
    """Those that are valid UTF-8, null in place of the others."""
    try:
        return keys.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([_text(key) for key in keys.to_pylist()], pa.string())


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _header_text(headers: Headers) -> str:
    found: dict[str, list[str | None]] = {}
    for name, value in headers.items() if isinstance(headers, dict) else headers:
        data = value.encode() if isinstance(value, str) else value
        text = _text(data)
        if text is None and data is not None:
            text = base64.b64encode(data).decode()
        found.setdefault(name, []).append(text)
    plain = {name: one[0] if len(one) == 1 else one for name, one in found.items()}
    return orjson.dumps(plain).decode()


def binary_array(values: Sequence[bytes]) -> pa.Array:
    """Binary without nulls: one copy of all bytes, and their bounds."""
    bounds = np.fromiter(accumulate(map(len, values), initial=0), np.int32, len(values) + 1)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)
