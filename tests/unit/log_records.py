"""Records of the log one by one, for tests: the Arrow streams of appends and reads, both ways."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from alder.arrow import from_bytes, to_bytes
from alder.v1 import log_pb2


@dataclass(frozen=True)
class Record:
    """One record; an empty key and a size of 0 stand for none."""

    value: bytes = b""
    key: bytes = b""
    original_size_bytes: int = 0
    timestamp_us: int = 0


def appended(*records: Record) -> bytes:
    """The records of an ``AppendRequest``; columns that no record needs are left out."""
    columns = {"value": pa.array([record.value for record in records], pa.binary())}
    if any(record.key for record in records):
        columns["key"] = pa.array([record.key or None for record in records], pa.binary())
    if any(record.original_size_bytes for record in records):
        sizes = [record.original_size_bytes for record in records]
        columns["original_size_bytes"] = pa.array(sizes, pa.int64())
    return to_bytes(pa.table(columns))


def answered(records: Iterable[Record]) -> bytes:
    """The records of a ``ReadResponse``."""
    found = list(records)
    if not found:
        return b""
    columns = {
        "value": pa.array([record.value for record in found], pa.binary()),
        "key": pa.array([record.key or None for record in found], pa.binary()),
        "original_size_bytes": pa.array(
            [record.original_size_bytes or None for record in found], pa.int64()
        ),
        "timestamp_us": pa.array([record.timestamp_us for record in found], pa.int64()),
    }
    return to_bytes(pa.table(columns))


def records_of(message: log_pb2.AppendRequest | log_pb2.ReadResponse) -> list[Record]:
    """The records of a message."""
    if not message.records:
        return []
    return [
        Record(
            row["value"],
            row.get("key") or b"",
            row.get("original_size_bytes") or 0,
            row.get("timestamp_us", 0),
        )
        for row in from_bytes(message.records).to_pylist()
    ]
