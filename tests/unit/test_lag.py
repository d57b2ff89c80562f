"""The lag in time is never less than the truth, and hardly more."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from alder.lag import LOOKS_MAX, EndsSeen, lag_us


@dataclass(frozen=True, slots=True)
class Look:
    end_offset: int
    age_us: int


def looks(ends: EndsSeen, now_s: float) -> list[Look]:
    return [Look(end, age) for end, age in ends.ages_us(now_s)]


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=400),
    st.lists(st.integers(0, 3), min_size=1, max_size=400),
    st.integers(0, 3),
)
def test_no_record_older_than_the_lag_is_missing(
    appends: list[int], looked: list[int], pause_s: int
) -> None:
    """Each second some records are appended, and every few seconds someone looks."""
    appended_s = [second for second, count in enumerate(appends) for _ in range(count)]
    ends, at = EndsSeen(), 0
    for step in looked:
        at += step
        ends.saw(sum(second < at for second in appended_s), float(at))
    now = at + pause_s
    for position in range(len(appended_s) + 1):
        oldest = appended_s[position] if position < len(appended_s) else now
        told = lag_us(position, looks(ends, float(now)), 0, 0)
        assert told is None or told >= (now - oldest) * 1_000_000
    assert lag_us(10**9, looks(ends, float(now)), 0, 0) == pause_s * 1_000_000


def test_a_reader_at_a_distance_has_that_distance_and_memory_is_bounded() -> None:
    ends = EndsSeen()
    for second in range(10_000):
        ends.saw(10 * second, float(second))
        assert len(looks(ends, 0.0)) <= LOOKS_MAX
    seen = looks(ends, 9_999.0)
    assert seen[-1] == Look(99_990, 0)
    for behind_s in (0, 1, 5):
        assert lag_us(99_990 - 10 * behind_s, seen, 0, 0) == behind_s * 1_000_000
    for behind_s in (30, 100, 1_000, 5_000):
        told = lag_us(99_990 - 10 * behind_s, seen, 0, 0)
        assert told is not None
        assert behind_s * 1_000_000 <= told <= 1.5 * behind_s * 1_000_000


def test_an_end_that_moves_back_is_believed() -> None:
    ends = EndsSeen()
    ends.saw(100, 1.0)
    ends.saw(80, 2.0)
    assert looks(ends, 2.0) == [Look(80, 0)]


def test_what_can_not_grow_is_never_behind_once_it_is_read() -> None:
    ends = EndsSeen()
    assert lag_us(0, looks(ends, 5.0), 0, 10) is None
    ends.ended(7)
    assert lag_us(7, looks(ends, 1e9), 0, 10) == 0
    assert lag_us(6, looks(ends, 1e9), 0, 10) is None


def test_before_a_look_is_reached_the_time_of_the_record_that_waits_tells() -> None:
    seen = [Look(50, 30_000_000), Look(60, 0)]
    assert lag_us(10, seen, 100_000_000, 500_000_000) == 400_000_000
    assert lag_us(10, seen, 499_000_000, 500_000_000) == 30_000_000
    future = lag_us(10, seen, 9_000_000_000, 500_000_000)
    assert future == 30_000_000, "it was there at the first look, whatever its time says"
    assert lag_us(10, seen, 0, 500_000_000) is None
