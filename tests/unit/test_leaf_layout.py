"""The small records of a shard and the blocks of its live tail: they come back, or are refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from leaf import keymap, layout
from leaf.keymap import Version
from leaf.layout import Counters, Manifest, SegmentEntry, StreamRecord
from leaf.logtime import Mark
from leaf.tail import TailBlock
from leaf.visibility import Deaths

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
U64 = st.integers(0, (1 << 64) - 1)
COUNTS = st.integers(0, 1 << 50)
NAMES = st.text(st.characters(codec="utf-8"), max_size=12)
STREAMS = st.builds(
    StreamRecord,
    NAMES,
    st.integers(0, 1 << 31),
    NAMES,
    COUNTS,
    INT64,
    st.lists(st.builds(Mark, INT64, COUNTS), max_size=3).map(tuple),
)
COUNTERS = st.builds(Counters, U64, U64, U64, U64, st.integers(0, (1 << 128) - 1), U64)
MANIFESTS = st.builds(
    Manifest,
    COUNTS,
    COUNTS,
    st.lists(st.builds(SegmentEntry, COUNTS, COUNTS, COUNTS), max_size=3).map(tuple),
    COUNTS,
)
POSITIONS = st.dictionaries(st.tuples(NAMES, st.integers(0, 99)), COUNTS, max_size=4)
VERSIONS = st.lists(
    st.builds(Version, *[st.integers(0, 1 << 31)] * len(Version._fields)), max_size=4
)


@given(STREAMS, COUNTERS, MANIFESTS, POSITIONS)
def test_records_come_back(
    stream: StreamRecord,
    counters: Counters,
    manifest: Manifest,
    positions: dict[tuple[str, int], int],
) -> None:
    assert layout.decode_stream(layout.encode_stream(stream)) == stream
    assert layout.decode_counters(layout.encode_counters(counters)) == counters
    assert layout.decode_manifest(layout.encode_manifest(manifest)) == manifest
    vector = PositionVector(positions)
    assert layout.decode_positions(layout.encode_positions(vector)) == vector


@given(st.lists(st.tuples(INT64, INT64, INT64, INT64), max_size=9), VERSIONS)
def test_deaths_and_keys_come_back(
    deaths: list[tuple[int, int, int, int]], versions: list[Version]
) -> None:
    columns = np.asarray(sorted(deaths), dtype=np.int64).reshape(-1, 4).T
    found = layout.decode_deaths(layout.encode_deaths(Deaths(*columns)))
    assert np.array_equal([found.victims, found.killers, found.times, found.numbers], columns)
    by_stream = {version.stream: version for version in versions}
    assert keymap.decode(keymap.encode(by_stream)) == by_stream


@given(NAMES, st.binary(max_size=20), INT64, st.integers(0, (1 << 64) - 1).map(lambda n: n >> 1))
def test_quarantined_records_come_back(
    reason: str, value: bytes, size_bytes: int, offset: int
) -> None:
    data = layout.encode_quarantined(reason, value, size_bytes)
    key = layout.quarantine_key(3, offset)
    found = layout.decode_quarantined(StreamRecord("log", 1, "t"), key, data)
    assert (found.source, found.partition, found.offset) == ("log", 1, offset)
    assert (found.reason, found.value, found.size_bytes) == (reason, value, size_bytes)


DECODERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "stream": (
        layout.decode_stream,
        layout.encode_stream(StreamRecord("log", 0, "t", 5, 6, (Mark(1, 2),))),
    ),
    "counters": (layout.decode_counters, layout.encode_counters(Counters(1, 2, 3))),
    "manifest": (
        layout.decode_manifest,
        layout.encode_manifest(Manifest(1, 2, (SegmentEntry(1, 2, 3),))),
    ),
    "positions": (
        layout.decode_positions,
        layout.encode_positions(PositionVector({("log", 0): 7})),
    ),
    "deaths": (layout.decode_deaths, bytes(range(64))),
    "keys": (
        lambda data: keymap.parsed([data], 0),
        keymap.encode({1: Version(*range(len(Version._fields)))}),
    ),
    "quarantined": (
        lambda data: layout.decode_quarantined(
            StreamRecord("log", 0, "t"), layout.quarantine_key(0, 1), data
        ),
        layout.encode_quarantined("no JSON", b"{", 1),
    ),
    "tail block": (TailBlock.decode, TailBlock(1, 2, 3, pa.table({"a": [1, 2]})).encode()),
}


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_hostile_records_are_refused_or_read(name: str, data: st.DataObject) -> None:
    decode, stored = DECODERS[name]
    decode(stored)
    changed = bytearray(stored)
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    hostile = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    for one in (hostile, data.draw(st.sampled_from([b"[]", b"null", b"5", b'{"marks":[5]}']))):
        assert refusal_of(decode, one) in {None, Reason.CORRUPT, Reason.UNSUPPORTED}


def refusal_of(decode: Callable[[bytes], object], data: bytes) -> Reason | None:
    try:
        decode(data)
    except AlderError as error:
        return error.reason
    return None


@given(st.lists(st.none() | INT64, max_size=20), COUNTS, COUNTS)
def test_a_block_of_the_tail_comes_back_or_is_refused(
    values: list[int | None], begin: int, end: int
) -> None:
    block = TailBlock(7, begin, end, pa.table({"int:a": pa.array(values, pa.int64())}))
    stored = block.encode()
    found = TailBlock.decode(stored)
    assert (found.stream, found.from_offset, found.to_offset) == (7, begin, end)
    assert found.table.equals(block.table)
    changed = bytearray(stored)
    changed[len(stored) // 2] ^= 1
    assert refusal_of(TailBlock.decode, bytes(changed)) is Reason.CORRUPT
    other = replace(block, stream=8).encode()
    assert refusal_of(TailBlock.decode, stored[:20] + other[20:]) is not None
