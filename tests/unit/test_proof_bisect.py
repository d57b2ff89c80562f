"""Bisection over a plain model: exactly the rows that differ are named, in few questions."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.cli.proof import bisect
from alder.cli.proof.model import Finding, Kind, Range
from alder.v1 import proof_pb2

KEY = ("log", 0)
Rows = Mapping[int, tuple[str, tuple[str, ...]]]
"""Document and killers by offset."""


def digest(rows: Rows, one: Range) -> proof_pb2.RangeDigest:
    inside = {n: row for n, row in rows.items() if one.begin <= n < one.end}
    deaths = {n: killers for n, (_, killers) in inside.items() if killers}
    return proof_pb2.RangeDigest(
        rows=len(inside),
        rows_digest=str(sorted((n, text) for n, (text, _) in inside.items())),
        deaths=len(deaths),
        deaths_digest=str(sorted(deaths.items())),
    )


def stored(rows: Rows, ranges: Sequence[Range]) -> list[proof_pb2.StoredRow]:
    return [
        proof_pb2.StoredRow(
            source="log", offset=n, digest=text, document=text, document_bytes=len(text),
            killers=killers,
        )
        for one in ranges
        for n, (text, killers) in rows.items()
        if one.begin <= n < one.end
    ]  # fmt: skip


def bisected(log: Rows, serving: Rows, whole: Range, deaths: bool) -> tuple[list[Finding], int]:
    """What is found, and in how many rounds."""
    asked: Sequence[Range] = bisect.cut_up(whole, 64, 4096)
    found: list[Finding] = []
    rounds = 0
    while asked:
        rounds += 1
        both = [[digest(rows, one) for one in asked] for rows in (log, serving)]
        step = bisect.next_step(asked, *both, deaths)
        assert sum(one.offsets for one in step.single) <= 2_048
        rows = stored(log, step.single), stored(serving, step.single)
        found += bisect.findings_of(3, *rows, [], deaths)
        asked = step.ranges
    return found, rounds


@settings(max_examples=60, deadline=None)
@given(
    begin=st.integers(0, 10_000),
    offsets=st.integers(1, 3_000_000),
    changes=st.dictionaries(
        st.integers(0, 1 << 62), st.sampled_from([*Kind][:4]), min_size=0, max_size=6
    ),
)
def test_exactly_the_rows_that_differ_are_named(
    begin: int, offsets: int, changes: dict[int, Kind]
) -> None:
    whole = Range(KEY, begin, begin + offsets)
    wanted = {begin + place % offsets: kind for place, kind in changes.items()}
    log: dict[int, tuple[str, tuple[str, ...]]] = {}
    serving: dict[int, tuple[str, tuple[str, ...]]] = {}
    for offset, kind in wanted.items():
        if kind is not Kind.EXTRA:
            log[offset] = "text", ()
        if kind is not Kind.LOST:
            text = "other" if kind is Kind.ALTERED else "text"
            serving[offset] = text, ("log/0/9",) if kind is Kind.DEATHS else ()
    found, rounds = bisected(log, serving, whole, deaths=True)
    assert {int(one.row.rpartition("/")[2]): one.kind for one in found} == wanted
    assert rounds <= 5
    assert all(one.shard == 3 for one in found)
    without, _ = bisected(log, serving, whole, deaths=False)
    assert {one.kind for one in without} == set(wanted.values()) - {Kind.DEATHS}


def test_ranges_are_cut_without_gaps() -> None:
    for offsets, parts, least in [(1, 64, 4096), (100, 7, 1), (10_000, 64, 4096), (64, 2, 32)]:
        made = bisect.cut_up(Range(KEY, 5, 5 + offsets), parts, least)
        assert made[0].begin == 5
        assert made[-1].end == 5 + offsets
        assert all(a.end == b.begin for a, b in pairwise(made))
        assert len(made) <= parts
        assert len(made) == 1 or min(one.offsets for one in made) >= least


def test_only_so_many_ranges_are_followed_and_the_others_are_counted() -> None:
    asked = [Range(KEY, n, n + 1) for n in range(100)]
    log = [proof_pb2.RangeDigest(rows=1, rows_digest="a") for _ in asked]
    serving = [proof_pb2.RangeDigest(rows=0, rows_digest="") for _ in asked]
    step = bisect.next_step(asked, log, serving, deaths=True)
    assert len(step.single) == bisect.RANGES_FOLLOWED_MAX
    assert step.left_over == 100 - bisect.RANGES_FOLLOWED_MAX


@pytest.mark.parametrize("quarantined", ["", "no JSON"])
def test_what_is_said_of_a_row(quarantined: str) -> None:
    row = proof_pb2.StoredRow(
        source="log", partition=2, offset=7, digest="a", key="k", document='{"a":1}',
        document_bytes=7, quarantined=quarantined,
    )  # fmt: skip
    (lost,) = bisect.findings_of(0, [row], [], [], deaths=True)
    assert lost.kind is (Kind.QUARANTINE if quarantined else Kind.LOST)
    assert (lost.row, lost.row_id, lost.log, lost.serving) == ("log/2/7", "k", '{"a":1}', None)
    births = [proof_pb2.OffsetRange(source="log", partition=2, begin_offset=7, end_offset=8)]
    damaged = [proof_pb2.DamagedRows(what="a page is damaged", births=births)]
    assert bisect.findings_of(0, [row], [], damaged, deaths=True) == []
    other = proof_pb2.StoredRow()
    other.CopyFrom(row)
    other.digest, other.document, other.document_bytes = "b", "{", 20_000
    (altered,) = bisect.findings_of(0, [row], [other], [], deaths=True)
    assert altered.kind is (Kind.QUARANTINE if quarantined else Kind.ALTERED)
    assert altered.serving == "{… (20000 bytes)"
