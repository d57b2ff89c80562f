"""A push that is handed over says what its message says."""

import pyarrow as pa

from alder.arrow import SMALL_BYTES, from_bytes, to_bytes, to_memory
from alder.push import Push, PushFields, ShardRows, serialized
from alder.v1 import leaf_pb2


def fields_of(push: PushFields) -> tuple[object, ...]:
    parts = [
        (part.shard, part.from_offset, part.to_offset, bytes(part.rows), bytes(part.quarantine))
        for part in push.shards
    ]
    origin = (push.source, push.partition, push.source_identity)
    told = (push.overflow, push.leader_epoch, push.assignment)
    return (push.collection, push.collection_id, push.epoch, *origin, *told, parts)


def test_what_travels_is_the_message_with_all_fields_of_a_push() -> None:
    for size in (0, 1, 127, 128, 300, 70_000):
        rows = (
            ShardRows(3, 5, 9, memoryview(b"r" * size), b""),
            ShardRows(4, 6, 9, b"", memoryview(b"refused")),
        )
        for shards in (rows, rows[:1], ()):
            push = Push("c", 7, 2, "s", 1, "identity", True, shards, 5, 8)
            message = leaf_pb2.ApplyRequest.FromString(serialized(push))
            assert fields_of(message) == fields_of(push)
            assert leaf_pb2.ApplyRequest.FromString(serialized(message)) == message
    names = [field.name for field in leaf_pb2.ApplyRequest.DESCRIPTOR.fields]
    assert set(names) == set(Push.__dataclass_fields__)
    names = [field.name for field in leaf_pb2.ShardRows.DESCRIPTOR.fields]
    assert set(names) == set(ShardRows.__dataclass_fields__)


def test_large_and_small_tables_are_written_alike() -> None:
    for rows in (0, 1, SMALL_BYTES // 4):
        table = pa.table({"n": list(range(rows)), "s": ["x" * (n % 7) for n in range(rows)]})
        assert bytes(to_memory(table)) == to_bytes(table)
        assert from_bytes(to_memory(table)).equals(table)
