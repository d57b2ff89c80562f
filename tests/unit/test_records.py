"""Records as Arrow: what the contract allows comes through whole, anything else is refused."""

import struct

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from log_records import Record, appended

from alder import records
from alder.arrow import to_bytes
from alder.errors import AlderError, Reason

VALUES = pa.array([b"a", b"", b"ccc"], pa.binary())
RECORDS = st.lists(
    st.builds(
        Record,
        value=st.binary(max_size=20),
        key=st.binary(max_size=5),
        original_size_bytes=st.integers(0, 2**62),
    ),
    max_size=30,
)
SAMPLES = [
    appended(),
    appended(Record(b"one"), Record(b"", key=b"k"), Record(b"cut", original_size_bytes=9)),
    appended(*(Record(b"x" * n) for n in range(200))),
    to_bytes(pa.table({"value": VALUES, "key": VALUES}), "lz4"),
]


def refused(data: bytes) -> str:
    with pytest.raises(AlderError) as caught:
        records.decode(data)
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    return caught.value.message


def decoded_or_none(data: bytes) -> pa.Table | None:
    try:
        return records.decode(data)
    except AlderError as error:
        if error.reason is Reason.INVALID_ARGUMENT:
            return None
        raise


@settings(deadline=None)
@given(RECORDS)
def test_round_trip(given_records: list[Record]) -> None:
    table = records.decode(appended(*given_records))
    assert table.schema == records.SCHEMA
    assert [
        Record(row["value"], row["key"] or b"", row["original_size_bytes"] or 0)
        for row in table.to_pylist()
    ] == given_records
    assert records.sizes_bytes(table).tolist() == [len(r.value) + len(r.key) for r in given_records]


def test_encoding_leaves_out_what_no_record_needs() -> None:
    values = [b"a", b"", b"\xff"]
    plain = records.decode(records.encode(values))
    assert plain.column("value").to_pylist() == values
    assert plain.column("original_size_bytes").to_pylist() == [None] * 3
    cut = records.decode(records.encode(values, [0, 7, 0]))
    assert cut.column("original_size_bytes").to_pylist() == [0, 7, 0]


def test_columns_in_another_order_and_several_batches_are_joined() -> None:
    part = pa.table({"original_size_bytes": pa.array([None, 0, 5], pa.int64()), "value": VALUES})
    table = records.decode(to_bytes(pa.concat_tables([part, part])))
    assert table.schema == records.SCHEMA
    assert [column.num_chunks for column in table.columns] == [1, 1, 1]
    assert table.column("value").to_pylist() == [b"a", b"", b"ccc"] * 2
    assert table.column("original_size_bytes").to_pylist() == [None, 0, 5] * 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"key": VALUES}, "lack the column value"),
        ({"value": VALUES, "more": VALUES}, "column 'more' of type binary"),
        ({"value": VALUES.cast(pa.large_binary())}, "column 'value' of type large_binary"),
        ({"value": pa.array(["a"])}, "column 'value' of type string"),
        ({"value": VALUES.dictionary_encode()}, "column 'value' of type dictionary"),
        ({"value": VALUES, "original_size_bytes": pa.array([1, 2, 3], pa.int32())}, "type int32"),
        ({"value": VALUES, "timestamp_us": pa.array([1, 2, 3])}, "column 'timestamp_us'"),
        ({"value": pa.array([b"a", None], pa.binary())}, "value is null"),
        ({"value": VALUES, "original_size_bytes": pa.array([1, -1, 3])}, "is negative"),
    ],
)
def test_other_columns_are_refused(columns: dict[str, pa.Array], message: str) -> None:
    assert message in refused(to_bytes(pa.table(columns)))


def test_a_column_that_is_there_twice_is_refused() -> None:
    twice = pa.Table.from_arrays([VALUES, VALUES], names=["value", "value"])
    assert "twice" in refused(to_bytes(twice))


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compression_is_refused_before_it_takes_memory(codec: str) -> None:
    table = pa.table({"value": pa.array([b"\0" * (32 << 20)], pa.binary())})
    data = to_bytes(table, codec)
    assert len(data) < 1 << 20
    before = pa.default_memory_pool().bytes_allocated()
    peak = pa.default_memory_pool().max_memory()
    assert "compressed" in refused(data)
    assert pa.default_memory_pool().max_memory() <= max(peak, before + (8 << 20))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"{}",
        b"\xff" * 100,
        struct.pack("<Ii", 2**32 - 1, 9),
        SAMPLES[2].replace(b"value", b"\xff\xfe\xffue"),
        SAMPLES[2][:300],
    ],
)
def test_what_is_no_stream_is_refused(data: bytes) -> None:
    assert "send one uncompressed Arrow IPC stream" in refused(data)


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8))),
)
@example(SAMPLES[1], [(0.0, b"")])
def test_hostile_bytes_are_refused_or_sound(
    data: bytes, changes: list[tuple[float, bytes]]
) -> None:
    """What passes is used in full, so that a crash would be a crash of this test."""
    changed = bytearray(data)
    for place, piece in changes:
        begin = int(place * (len(changed) - len(piece)))
        changed[begin : begin + len(piece)] = piece
    table = decoded_or_none(bytes(changed))
    if table is None:
        return
    assert len(records.sizes_bytes(table)) == len(table.to_pylist()) == table.num_rows
    assert records.sizes_bytes(table).sum() <= 2 * len(changed)
