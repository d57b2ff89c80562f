"""The event time of each row: the value at the collection's time path, else the time of the log.

A value's meaning depends on the value alone: typed times are taken as they are, strings are parsed
(without a zone they are UTC), and numbers are seconds, milliseconds, microseconds or nanoseconds
since 1970 by their magnitude. What is none of these, or out of range, counts as no value.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.fieldtypes import split_column_name
from tailer.evaluate import Evaluator
from tailer.sources.model import TimesUs

SECONDS_BELOW: Final = 1e11
MILLISECONDS_BELOW: Final = 1e14
MICROSECONDS_BELOW: Final = 1e17
_INT64_BELOW: Final = 9.2e18
_DAY_US: Final = 86_400_000_000
_Times = tuple[NDArray[np.int64], NDArray[np.bool_]]


def event_times(
    columns: pa.Table, time_path: str, log_times_us: TimesUs, evaluator: Evaluator
) -> TimesUs:
    """Microseconds since 1970 UTC (int64), one per row of the decoded ``columns``."""
    times = log_times_us
    if not time_path:
        return times
    times = times.copy()
    for name in columns.column_names:
        tag, path = split_column_name(name)
        if path == time_path:
            column = columns.column(name).combine_chunks()
            found, is_time = _times_of(tag, column, evaluator)
            times[is_time] = found[is_time]
    return times


def _times_of(tag: str, column: pa.Array, evaluator: Evaluator) -> _Times:
    if tag == "int":
        return _by_magnitude(column)
    if tag == "float" or tag.startswith("decimal("):
        return _by_magnitude(column.cast(pa.float64()))
    if tag == "string":
        parsed = evaluator.map("epoch_us(try_cast(v AS TIMESTAMPTZ))", column)
        return _filled(parsed)
    if tag == "timestamp":
        return _filled(column.cast(pa.int64()))
    if tag == "timestamp_ns":
        nanoseconds, is_time = _filled(column.cast(pa.int64()))
        return nanoseconds // 1_000, is_time
    if tag == "date":
        days, is_time = _filled(column.cast(pa.int32()).cast(pa.int64()))
        return days * _DAY_US, is_time
    return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)


def _filled(column: pa.Array) -> _Times:
    is_value = column.is_valid().to_numpy(zero_copy_only=False)
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    return values.astype(np.int64), is_value


def _by_magnitude(column: pa.Array) -> _Times:
    is_value = column.is_valid().to_numpy(zero_copy_only=False)
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    size = np.abs(values.astype(np.float64))
    is_time = is_value & (size < _INT64_BELOW)
    times = np.zeros(len(values), np.int64)
    scales = (
        (size < SECONDS_BELOW, 1_000_000, 1),
        ((size >= SECONDS_BELOW) & (size < MILLISECONDS_BELOW), 1_000, 1),
        ((size >= MILLISECONDS_BELOW) & (size < MICROSECONDS_BELOW), 1, 1),
        (size >= MICROSECONDS_BELOW, 1, 1_000),
    )
    for in_range, factor, divisor in scales:
        chosen = is_time & in_range
        scaled = values[chosen] * factor
        if scaled.dtype.kind == "f":
            times[chosen] = np.rint(scaled / divisor).astype(np.int64)
        else:
            times[chosen] = scaled // divisor
    return times, is_time
