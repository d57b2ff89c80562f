"""What a consumer gives, as columns.

Messages are objects of the client library, one per record; their parts are taken out column by
column with its own functions, so that nothing of ours runs per record.
"""

from collections.abc import Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Final

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from tailer.sources.model import Offsets, TimesUs

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


def binary_array(values: Sequence[bytes]) -> pa.Array:
    """Binary without nulls: one copy of all bytes, and their bounds."""
    bounds = np.fromiter(accumulate(map(len, values), initial=0), np.int32, len(values) + 1)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)
