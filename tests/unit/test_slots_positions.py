"""Slots, placement and positions: small rules that every tier relies on."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.placement import owner
from alder.positions import PartitionKey, PositionVector, cut
from alder.slots import (
    OFFSETS_PER_SLOT_RUN,
    SLOTS,
    shard_indexes,
    slot_of_key,
    slots_of_keys,
    slots_of_offsets,
    split_evenly,
)

PARTITIONS: st.SearchStrategy[PartitionKey] = st.tuples(
    st.sampled_from(["log", "file1"]), st.integers(0, 3)
)
VECTORS = st.dictionaries(PARTITIONS, st.integers(0, 9)).map(PositionVector)


def test_slots_are_as_written_down() -> None:
    """They decide where rows live on disk, so no version may change them."""
    assert slot_of_key(b"") == 0
    assert slot_of_key(b"123456789") == 0xCBF43926 % 4096
    offsets = np.array([0, 4095, 4096, 10**12], dtype=np.int64)
    slots = slots_of_offsets("log", 7, offsets)
    runs = [f"log/7/{offset // 4096}".encode() for offset in offsets.tolist()]
    assert slots.tolist() == [zlib.crc32(run) % 4096 for run in runs]
    assert slots.dtype == np.int32
    assert (SLOTS, OFFSETS_PER_SLOT_RUN) == (4096, 4096)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=50))
def test_many_keys_have_the_slots_of_each(keys: list[bytes]) -> None:
    slots = slots_of_keys(keys)
    assert slots.tolist() == [slot_of_key(key) for key in keys]
    assert slots.dtype == np.int32
    assert all(0 <= slot < SLOTS for slot in slots.tolist())


def test_no_offsets_have_no_slots() -> None:
    assert slots_of_offsets("log", 0, np.array([], dtype=np.int64)).tolist() == []


@settings(deadline=None)
@given(st.integers(1, SLOTS), st.lists(st.integers(0, SLOTS - 1), min_size=1, max_size=50))
def test_every_slot_has_one_shard(shards: int, slots: list[int]) -> None:
    ranges = split_evenly(shards)
    assert len(ranges) == shards
    assert [begin for begin, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == SLOTS
    sizes = {end - begin for begin, end in ranges}
    assert max(sizes) - min(sizes) <= 1
    found = shard_indexes(np.array(slots, dtype=np.int32), [end for _, end in ranges])
    for slot, index in zip(slots, found.tolist(), strict=True):
        begin, end = ranges[index]
        assert begin <= slot < end


@pytest.mark.parametrize("shards", [0, -1, SLOTS + 1])
def test_a_number_of_shards_has_bounds(shards: int) -> None:
    with pytest.raises(ValueError, match="1 to 4096 shards"):
        split_evenly(shards)


@settings(deadline=None)
@given(st.lists(VECTORS, min_size=1, max_size=5))
def test_a_cut_is_the_latest_that_all_have_reached(vectors: list[PositionVector]) -> None:
    found = cut(vectors)
    assert all(vector.reaches(found) for vector in vectors)
    for vector in vectors:
        for key in vector:
            later = found.advanced(key, found[key] + 1)
            assert not all(each.reaches(later) for each in vectors), "a later one would do"


@settings(deadline=None)
@given(VECTORS, VECTORS)
def test_vectors_merge_to_the_earliest_that_reaches_both(
    one: PositionVector, other: PositionVector
) -> None:
    merged = one.merged(other)
    assert merged.reaches(one)
    assert merged.reaches(other)
    for key in merged:
        assert merged[key] in (one[key], other[key])
    assert one.reaches(other) == (all(merged[key] == one[key] for key in merged))


@settings(deadline=None)
@given(VECTORS)
def test_vectors_travel(vector: PositionVector) -> None:
    message = vector.to_proto()
    assert PositionVector.from_proto(message) == vector
    backwards = PositionVector(dict(reversed(list(vector.offsets.items()))))
    assert backwards.to_proto().SerializeToString() == message.SerializeToString()


def test_what_a_vector_does_not_name_stands_at_the_beginning() -> None:
    empty = PositionVector()
    assert empty[("log", 3)] == 0
    assert empty.reaches(PositionVector({("log", 3): 0}))
    assert not empty.reaches(PositionVector({("log", 3): 1}))
    assert cut([]) == empty
    assert cut([PositionVector({("log", 0): 5}), empty])[("log", 0)] == 0
    moved = PositionVector({("log", 0): 5}).advanced(("log", 1), 2)
    assert dict(moved.offsets) == {("log", 0): 5, ("log", 1): 2}


NODES = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=6, unique=True)


@settings(deadline=None)
@given(st.text(), NODES, st.data())
def test_an_owner_is_agreed_on_and_moves_only_when_it_goes(
    thing: str, nodes: list[str], data: st.DataObject
) -> None:
    chosen = owner(thing, nodes)
    assert chosen in nodes
    assert owner(thing, data.draw(st.permutations(nodes))) == chosen
    gone = data.draw(st.sampled_from(nodes))
    rest = [node for node in nodes if node != gone]
    if gone != chosen:
        assert owner(thing, rest) == chosen
    elif not rest:
        assert owner(thing, rest) is None


def test_things_spread_over_nodes() -> None:
    nodes = ["a", "b", "c", "d"]
    owners = [owner(f"x/log/{number}", nodes) for number in range(400)]
    assert all(60 < owners.count(node) < 140 for node in nodes)
