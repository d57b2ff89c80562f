"""Blocks of the log: what was written comes back, and nothing else does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.errors import AlderError, Reason
from controller.log.block import Block, block_key, decode, encode, partition_prefix

TOPIC = bytes(range(16))
BLOCKS = st.builds(
    Block,
    first_offset=st.integers(0, 2**62),
    records=st.integers(1, 2**31),
    first_timestamp_us=st.integers(0, 2**62),
    payload=st.binary(max_size=300),
)


@settings(deadline=None)
@given(BLOCKS, st.integers(0, 1023))
def test_round_trip(block: Block, partition: int) -> None:
    key = block_key(TOPIC, partition, block.first_offset)
    assert decode("t", key, encode(key, block)) == block


@settings(deadline=None)
@given(BLOCKS, st.data())
def test_any_changed_byte_is_found(block: Block, data: st.DataObject) -> None:
    key = block_key(TOPIC, 3, block.first_offset)
    value = bytearray(encode(key, block))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(AlderError) as caught:
        decode("clicks", key, bytes(value))
    assert caught.value.reason is Reason.CORRUPT
    assert caught.value.metadata == {
        "topic": "clicks",
        "partition": "3",
        "offset": str(block.first_offset),
    }
    assert "topic clicks, partition 3" in caught.value.message


@settings(deadline=None)
@given(BLOCKS, st.data())
def test_a_cut_value_is_found(block: Block, data: st.DataObject) -> None:
    key = block_key(TOPIC, 0, block.first_offset)
    value = encode(key, block)
    with pytest.raises(AlderError, match="damaged"):
        decode("t", key, value[: data.draw(st.integers(0, len(value) - 1))])


def test_a_block_under_another_key_is_found() -> None:
    block = Block(7, 2, 1, b"abc")
    value = encode(block_key(TOPIC, 0, 7), block)
    for wrong in (block_key(TOPIC, 0, 8), block_key(TOPIC, 1, 7), block_key(b"x" * 16, 0, 7)):
        with pytest.raises(AlderError, match="checksum"):
            decode("t", wrong, value)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 2**62)), min_size=2, max_size=20))
def test_keys_sort_by_partition_and_offset(places: list[tuple[int, int]]) -> None:
    keys = [block_key(TOPIC, partition, offset) for partition, offset in places]
    assert sorted(keys) == [block_key(TOPIC, *place) for place in sorted(places)]
    assert all(
        key.startswith(partition_prefix(TOPIC, place[0]))
        for key, place in zip(keys, places, strict=True)
    )
