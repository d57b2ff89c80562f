"""What is stored comes back; what is damaged is refused; indexes find every row."""

import datetime
import random
from collections.abc import Callable, Sequence
from unittest.mock import patch

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.errors import AlderError, Reason
from leaf.format import dictionary, postings
from leaf.format.frame import VERSION, framed, unframed
from leaf.format.hashing import hash_strings
from leaf.format.meta import (
    ColumnMeta,
    Index,
    IndexMeta,
    SegmentMeta,
    decode_meta,
    encode_meta,
)
from leaf.format.pages import (
    decode_page,
    decoding,
    encode_page,
    encode_values,
    fill_codes,
    fill_page_integers,
)
from leaf.format.picks import PagePick, Value
from leaf.format.templates import Template
from leaf.format.zonemap import Zone, may_hold, zone_of

OFFSETS = np.asarray([0, 3, 3, 9], np.uint32)
"""Of three terms with nine rows in all."""
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=80)
MICROS = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 1, 1))
VALUES = {
    pa.int64(): INT64,
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): TEXT,
    pa.timestamp("us"): MICROS,
    pa.date32(): st.dates(),
    pa.time64("us"): st.times(),
    pa.binary(): st.binary(max_size=20),
    pa.decimal128(10, 2): st.decimals(-1000, 1000, places=2),
    pa.list_(pa.int64()): st.lists(INT64, max_size=4),
}
fast = settings(max_examples=60, deadline=None)


@fast
@given(st.data())
def test_a_page_gives_its_values_back(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(VALUES)))
    values = data.draw(st.lists(st.none() | VALUES[kind], min_size=1, max_size=70))
    array = pa.array(values, kind)
    assert decode_page(encode_page(array), kind, "it").equals(array)
    cut = array.slice(len(array) // 2)
    assert decode_page(encode_page(cut), kind, "it").equals(cut)
    places = data.draw(st.lists(st.integers(0, len(array) - 1), unique=True, min_size=1))
    chosen = np.sort(np.asarray(places, dtype=np.int64))
    check_picked(PagePick(encode_values(array), kind), array, chosen.tolist())


def check_picked(pick: PagePick, array: pa.Array, rows: Sequence[int]) -> None:
    """One by one or as an array, the rows are those of the whole."""
    wanted = array.take(pa.array(rows))
    assert pick.array(rows).equals(wanted)
    assert pa.array(pick.values(rows), array.type).equals(wanted)
    assert pa.array([pick.value(row) for row in rows], array.type).equals(wanted)


@fast
@given(st.lists(st.none() | st.integers(0, (1 << 31) - 2), min_size=1, max_size=70))
def test_codes_are_counted_from_one(values: list[int | None]) -> None:
    page = encode_page(pa.array(values, pa.int32()))
    codes = np.full(len(values), -1, dtype=np.int32)
    terms_count = max((value for value in values if value is not None), default=0) + 1
    fill_codes(page, "it", terms_count, codes)
    assert codes.tolist() == [0 if value is None else value + 1 for value in values]
    with pytest.raises(AlderError, match="it can't be decoded"):
        fill_codes(page, "it", terms_count, codes[1:])
    if any(value is not None for value in values):
        with pytest.raises(AlderError, match="it can't be decoded"):
            fill_codes(page, "it", terms_count - 1, codes)


@fast
@given(st.lists(st.none() | st.integers(0, 254), min_size=1, max_size=70))
def test_codes_fit_in_the_type_of_their_number(values: list[int | None]) -> None:
    codes = np.full(len(values), 77, dtype=np.uint8)
    fill_codes(encode_page(pa.array(values, pa.int32())), "it", 255, codes)
    assert codes.tolist() == [0 if value is None else value + 1 for value in values]


@fast
@given(st.lists(st.none() | INT64 | st.integers(-300, 70_000), min_size=1, max_size=70))
def test_integers_of_a_page_are_those_that_were_stored(values: list[int | None]) -> None:
    page = encode_page(pa.array(values, pa.int64()))
    found, valid = np.full(len(values), 7), np.zeros(len(values), dtype=bool)
    fill_page_integers(page, "it", found, valid)
    assert found.tolist() == [value or 0 for value in values]
    assert valid.tolist() == [value is not None for value in values]
    with pytest.raises(AlderError, match="it can't be decoded"):
        fill_page_integers(page, "it", found[1:], valid[1:])


LARGE: dict[pa.DataType, Callable[[random.Random], object]] = {
    pa.string(): lambda chance: f"at://{chance.getrandbits(64):016x}/post",
    pa.binary(): lambda chance: chance.randbytes(chance.randrange(9)),
    pa.int64(): lambda chance: chance.randrange(-5, 10**12),
    pa.timestamp("us"): lambda chance: chance.randrange(10**15),
    pa.float64(): lambda chance: chance.random(),
    pa.bool_(): lambda chance: chance.random() < 0.5,
    pa.list_(pa.int64()): lambda chance: [chance.randrange(5)] * chance.randrange(4),
}


@pytest.mark.parametrize("kind", LARGE, ids=str)
@pytest.mark.parametrize("nulls", [False, True])
def test_few_rows_of_a_large_page_are_read_alone(kind: pa.DataType, nulls: bool) -> None:
    chance = random.Random(3)
    values = [None if nulls and n % 7 == 3 else LARGE[kind](chance) for n in range(900)]
    array = pa.array(values, kind)
    pick = PagePick(encode_values(array), kind)
    for rows in ([0], [3], [899], [3, 10, 500, 899], list(range(0, 900, 2))):
        check_picked(pick, array, rows)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_hostile_blocks_are_refused_or_hold_values(data: st.DataObject) -> None:
    """The frame is right and what is in it is not."""
    kind = data.draw(st.sampled_from(list(VALUES)))
    values = data.draw(st.lists(st.none() | VALUES[kind], min_size=1, max_size=20))
    payload = bytearray(encode_values(pa.array(values, kind)))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    stored = bytes(payload[: data.draw(st.integers(0, len(payload)))])
    reads: list[Callable[[], object]] = [
        lambda: decode_page(framed(stored), kind, "the page"),
        lambda: picked(stored, kind),
        lambda: filled(stored, len(values)),
        lambda: dictionary.decode_terms(framed(b"s" + stored), "the page"),
        lambda: postings.term_offsets(framed(stored), "the page"),
        lambda: postings.term_rows(
            framed(stored), np.asarray([0, 3, 3, 9], np.uint32), 0, "the page"
        ),
        lambda: postings.hash_entries(framed(stored), "the page"),
    ]
    for read in reads:
        told, found = outcome(read)
        assert told is None or (told.reason is Reason.CORRUPT and "the page" in told.message)
        if isinstance(found, pa.Array):
            found.validate(full=True)


def filled(payload: bytes, rows: int) -> None:
    """Codes have terms, and integers fill their arrays, or the page is refused."""
    codes = np.zeros(rows, dtype=np.uint8)
    told, _ = outcome(lambda: fill_codes(framed(payload), "the page", 9, codes))
    assert told is None or told.reason is Reason.CORRUPT
    assert told is not None or codes.max() <= 9
    fill_page_integers(framed(payload), "the page", np.zeros(rows, np.int64), np.zeros(rows, bool))


def picked(payload: bytes, kind: pa.DataType) -> Sequence[Value]:
    with decoding("the page"):
        pick = PagePick(payload, kind)
        assert [pick.value(0)] == list(pick.values([0]))
        return pick.values([0, 3])


def outcome(read: Callable[[], object]) -> tuple[AlderError | None, object]:
    """What it raises or gives."""
    try:
        return None, read()
    except AlderError as error:
        return error, None


def test_what_strings_have_in_common_is_kept_once() -> None:
    chance = random.Random(1)
    ids = [f"{chance.getrandbits(32):08x}" for _ in range(1000)]
    plain = len(encode_page(pa.array(ids)))
    assert len(encode_page(pa.array([f"at://did:plc:{one}/app.post/" for one in ids]))) < plain + 40


def test_even_steps_take_no_room() -> None:
    assert len(encode_page(pa.array([10**15 + 813 * n for n in range(8192)]))) < 60


def test_integers_are_narrowed() -> None:
    wide = random.Random(1).choices(range(250), k=8192)
    page = encode_page(pa.array([10**15 + value for value in wide], pa.int64()))
    assert len(page) < 8192 * 1.1


@fast
@given(st.binary(max_size=200), st.data())
def test_a_damaged_frame_is_refused(payload: bytes, data: st.DataObject) -> None:
    stored = bytearray(framed(payload))
    assert unframed(bytes(stored), "it") == payload
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(AlderError) as raised:
        unframed(bytes(stored), "the page")
    assert raised.value.reason in {Reason.CORRUPT, Reason.UNSUPPORTED}
    assert "the page" in raised.value.message
    with pytest.raises(AlderError):
        unframed(bytes(stored[:place]), "the page")


def test_another_version_is_refused_by_name() -> None:
    stored = bytes([VERSION + 1]) + framed(b"x")[1:]
    with pytest.raises(AlderError, match=f"format {VERSION + 1}.*format {VERSION}") as raised:
        unframed(stored, "the page")
    assert raised.value.reason is Reason.UNSUPPORTED


@fast
@given(st.lists(st.none() | st.sampled_from(["", "a", "b", "ä", "z" * 50]), min_size=1))
def test_a_dictionary_is_sorted_and_exact(values: list[str | None]) -> None:
    encoded = dictionary.encode(pa.array(values, pa.string()))
    terms = dictionary.decode_terms(dictionary.encode_terms(encoded.terms), "it").to_pylist()
    assert terms == sorted({value for value in values if value is not None})
    assert [None if code is None else terms[code] for code in encoded.codes.to_pylist()] == values


@fast
@given(st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=50), st.integers(1, 60))
def test_term_postings_name_exactly_the_rows(values: list[int | None], page_rows: int) -> None:
    encoded = dictionary.encode(pa.array(values, pa.int64()))
    built = postings.term_postings(encoded.codes, len(encoded.terms))
    with patch.object(postings, "ROWS_PER_PAGE", page_rows):
        top, pages = built.encode()
        offsets = postings.term_offsets(top, "it")
        rows = [postings.term_rows(data, offsets, page, "it") for page, data in enumerate(pages)]
        assert len(pages) == -(-len(built.rows) // page_rows)
    stored = postings.TermPostings(offsets, np.concatenate([built.rows[:0], *rows]))
    for number, term in enumerate(encoded.terms.to_pylist()):
        expected = [row for row, value in enumerate(values) if value == term]
        assert stored.rows_of(number).tolist() == expected
        assert int(stored.offsets[number + 1] - stored.offsets[number]) == len(expected)


@fast
@given(st.sets(st.integers(0, 29)), st.binary(max_size=6), st.integers(1, 40))
def test_bits_of_a_dense_term_are_its_rows(rows: set[int], other: bytes, count: int) -> None:
    bits = postings.bits_of(np.asarray(sorted(rows), dtype=np.int64), 30)
    stored = postings.decode_bits(postings.encode_bits(bits), 30, "it")
    assert set(np.flatnonzero(np.unpackbits(stored, bitorder="little")).tolist()) == rows
    told, _ = outcome(lambda: postings.decode_bits(framed(other), count, "it"))
    past = [bit for bit in range(8 * len(other)) if other[bit // 8] >> bit % 8 & 1 and bit >= count]
    assert (told is None) == (len(other) == -(-count // 8) and not past)


@fast
@given(st.lists(TEXT, min_size=1, max_size=300))
def test_hash_postings_find_every_row(values: list[str]) -> None:
    hashes = hash_strings(pa.array(values, pa.string()))
    alone = [int(hash_strings(pa.array([value], pa.string()))[0]) for value in values]
    assert hashes.tolist() == alone, "a hash depends on its string alone"
    pairs = postings.hashed_rows(hashes, np.arange(len(values), dtype=np.uint32) * 1000)
    for bits in (0, 3):
        pages = dict(postings.hash_pages(pairs, bits))
        names = postings.page_of(hashes, bits)
        others = 0
        for row in range(len(values)):
            page = pages[int(names[row])]
            found = postings.rows_with_hash(page, alone[row], bits, "it").tolist()
            same = [1000 * n for n in range(len(values)) if alone[n] == alone[row]]
            assert set(same) <= set(found) <= {1000 * n for n in range(len(values))}
            assert found == sorted(found)
            if row == same[0] // 1000:
                others += len({alone[found_row // 1000] for found_row in found}) - 1
        assert others <= 2 + len(values) // 8, "few values share the bits that are kept"


def test_hash_postings_are_small() -> None:
    hashes = np.random.default_rng(1).integers(0, 1 << 32, 1 << 20, dtype=np.uint32)
    pairs = postings.hashed_rows(hashes, np.arange(1 << 20, dtype=np.uint32))
    pages = postings.hash_pages(pairs, postings.hash_bits(1 << 20))
    assert sum(len(data) for _, data in pages) <= 4 * (1 << 20)


def test_hashes_tell_strings_apart() -> None:
    values = [f"https://example.org/a/long/common/prefix/{n}/with/a/tail" for n in range(20_000)]
    values += [str(n) for n in range(20_000)]
    assert len(set(hash_strings(pa.array(values)).tolist())) > 39_900


@fast
@given(st.data())
def test_a_zone_never_excludes_a_match(data: st.DataObject) -> None:
    kind, one = data.draw(
        st.sampled_from(
            [
                (pa.int64(), st.integers(-5, 5)),
                (pa.float64(), st.floats(-5, 5) | st.just(float("nan"))),
                (pa.string(), st.text("ab", max_size=40)),
            ]
        )
    )
    values = data.draw(st.lists(st.none() | one, min_size=1, max_size=12))
    zone = zone_of(pa.array(values, kind))
    value = data.draw(one.filter(lambda drawn: drawn == drawn))
    for operator, holds in {
        "=": lambda x: x == value,
        "<": lambda x: x < value,
        "<=": lambda x: x <= value,
        ">": lambda x: x > value or x != x,
        ">=": lambda x: x >= value or x != x,
    }.items():
        if any(x is not None and holds(x) for x in values):
            assert may_hold(zone, operator, value)


def test_a_zone_excludes_what_is_outside() -> None:
    zone = zone_of(pa.array([3, 7, None], pa.int64()))
    assert not may_hold(zone, "=", 8)
    assert not may_hold(zone, "<", 3) or may_hold(zone, "<=", 3)
    assert not may_hold(zone, ">", 7.5)
    assert not may_hold(zone_of(pa.array([None], pa.int64())), "=", 3)


def test_the_description_of_a_segment_comes_back() -> None:
    zones = (Zone(10, 2, -(1 << 63), (1 << 63) - 1), Zone(5, 0, "a", "b"), Zone(5, 5))
    column = ColumnMeta(3, 1024, 8192, True, (IndexMeta(Index.HASHES, {"bits": 4}),), zones)
    meta = SegmentMeta(20, (7, 1 << 50), {"string:a:b": column}, ("a", "_time"))
    assert decode_meta(encode_meta(meta), "it") == meta


MUTATED = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "terms", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("kind"), inner, max_size=1),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_hostile_description_is_refused_or_one(data: st.DataObject) -> None:
    """The frame is right, and some field of the JSON in it holds something else."""
    zones = (Zone(10, 2, 1, 5), Zone(5, 5))
    column = ColumnMeta(3, 1024, 8192, True, (IndexMeta(Index.HASHES, {"bits": 4}),), zones)
    stored = orjson.loads(unframed(encode_meta(SegmentMeta(15, (7,), {"int:a": column})), "it"))
    places = [stored, stored["columns"], *stored["columns"].values()]
    places += [place for one in stored["columns"].values() for place in one["zones"]]
    places += [place for one in stored["columns"].values() for place in one["indexes"]]
    place = data.draw(st.sampled_from(places))
    name = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        place[name] = data.draw(MUTATED)
    else:
        del place[name]
    error, found = outcome(lambda: decode_meta(framed(orjson.dumps(stored)), "the segment"))
    if error is None:
        assert isinstance(found, SegmentMeta)
        assert decode_meta(encode_meta(found), "it") == found
        assert all(column.pages >= 0 for column in found.columns.values() if column.zones)
    else:
        assert error.reason is Reason.CORRUPT
        assert "the segment" in error.message


@fast
@given(st.lists(st.text(max_size=3) | st.lists(st.sampled_from(["int:a", "plain", "x"]))) | MUTATED)
def test_a_hostile_template_is_refused_or_one(parts: object) -> None:
    error, found = outcome(lambda: Template.decode(orjson.dumps(parts).decode(), "the template"))
    if error is None:
        assert isinstance(found, Template)
        assert Template.decode(found.encode(), "it") == found
    else:
        assert error.reason is Reason.CORRUPT
        assert "the template" in error.message
