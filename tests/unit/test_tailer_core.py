"""The state machine of one partition, event by event."""

from dataclasses import replace

from alder.v1 import leaf_pb2
from tailer import core
from tailer.core import (
    Ask,
    AskFailed,
    AwaitAssignment,
    MapChanged,
    Observed,
    PartitionState,
    Phase,
    Positions,
    Push,
    Pushed,
    PushFailed,
    Range,
    RangeRead,
    Read,
    Refused,
    ShardMap,
    ShardResult,
    Slice,
    Wait,
    WaitOver,
    step,
)

TWO_LEAVES = ShardMap(1, {0: "a", 1: "a", 2: "b"})
APPLIED = leaf_pb2.APPLY_STATUS_APPLIED
MISMATCH = leaf_pb2.APPLY_STATUS_POSITION_MISMATCH
STALE = leaf_pb2.APPLY_STATUS_STALE_ASSIGNMENT


def running(positions: dict[int, int]) -> tuple[PartitionState, list[core.Effect]]:
    state, (ask,) = core.start(TWO_LEAVES)
    assert isinstance(ask, Ask)
    return step(state, Positions(ask.number, positions))


def read(state: PartitionState, end: int) -> tuple[PartitionState, list[core.Effect]]:
    assert state.reading is not None
    number, offset = state.reading
    return step(state, RangeRead(number, Range(offset, end)))


def pushes(effects: list[core.Effect]) -> list[Push]:
    return [effect for effect in effects if isinstance(effect, Push)]


def reads(effects: list[core.Effect]) -> list[int]:
    return [effect.offset for effect in effects if isinstance(effect, Read)]


def all_applied(push: Push) -> Pushed:
    results = {piece.shard: ShardResult(APPLIED, push.range.end) for piece in push.slices}
    return Pushed(push.number, results)


def test_it_asks_then_reads_from_the_lowest_position() -> None:
    state, effects = running({0: 7, 1: 5, 2: 9})
    assert reads(effects) == [5]
    assert state.next_offset == 5
    assert state.idle


def test_a_range_goes_to_each_leaf_with_the_shards_behind_it_and_the_next_is_read_ahead() -> None:
    state, _ = running({0: 7, 1: 5, 2: 10})
    state, effects = read(state, 10)
    (push,) = pushes(effects)
    assert push.leaf == "a"
    assert push.slices == (Slice(0, 7), Slice(1, 5))
    assert reads(effects) == [10]
    state, effects = read(state, 20)
    assert effects == []
    assert state.ranges == (Range(5, 10), Range(10, 20))


def test_the_next_range_follows_once_every_leaf_has_answered() -> None:
    state, _ = running({0: 0, 1: 0, 2: 0})
    state, effects = read(state, 10)
    first, second = pushes(effects)
    assert [first.leaf, second.leaf] == ["a", "b"]
    state, _ = read(state, 20)
    state, effects = step(state, all_applied(second))
    assert effects == []
    state, effects = step(state, all_applied(first))
    assert [push.range for push in pushes(effects)] == [Range(10, 20)] * 2
    assert reads(effects) == [20]


def test_a_shard_behind_the_range_makes_it_read_again_from_there() -> None:
    state, _ = running({0: 10, 1: 10, 2: 10})
    state, effects = read(state, 20)
    first, second = pushes(effects)
    state, _ = step(state, all_applied(first))
    state, effects = step(state, Pushed(second.number, {2: ShardResult(MISMATCH, 4)}))
    assert state.ranges == ()
    assert reads(effects) == [4]
    state, effects = read(state, 12)
    assert pushes(effects)[0].slices == (Slice(2, 4),)


def test_a_shard_inside_the_range_gets_the_rest_of_it() -> None:
    state, _ = running({0: 10, 1: 10, 2: 10})
    state, effects = read(state, 20)
    first, second = pushes(effects)
    state, _ = step(state, all_applied(first))
    state, effects = step(state, Pushed(second.number, {2: ShardResult(MISMATCH, 15)}))
    (push,) = pushes(effects)
    assert push.range == Range(10, 20)
    assert push.slices == (Slice(2, 15),)


def test_shards_past_the_range_are_left_out_and_past_all_ranges_are_read_on_from() -> None:
    state, _ = running({0: 10, 1: 10, 2: 10})
    state, effects = read(state, 20)
    first, second = pushes(effects)
    far = {0: ShardResult(MISMATCH, 30), 1: ShardResult(MISMATCH, 40)}
    state, _ = step(state, Pushed(first.number, far))
    state, effects = step(state, Pushed(second.number, {2: ShardResult(MISMATCH, 35)}))
    assert pushes(effects) == []
    assert reads(effects) == [30]


def test_a_failed_push_waits_longer_each_time_then_asks_and_keeps_what_was_read() -> None:
    state, _ = running({0: 0, 1: 0, 2: 0})
    state, effects = read(state, 10)
    for failures in (1, 2, 3):
        first, second = pushes(effects)
        state, _ = step(state, all_applied(first))
        state = replace(state, failures=failures - 1)
        state, (wait,) = step(state, PushFailed(second.number, "down"))
        assert isinstance(wait, Wait)
        assert wait.failures == failures
        assert state.error == "down"
        state, (ask,) = step(state, WaitOver(wait.number))
        assert isinstance(ask, Ask)
        state, effects = step(state, Positions(ask.number, {0: 0, 1: 0, 2: 0}))
        assert len(pushes(effects)) == 2
    for push in pushes(effects):
        state, _ = step(state, all_applied(push))
    assert (state.error, state.failures, state.next_offset) == ("", 0, 10)


def test_refusals_of_the_map_wait_for_a_new_one() -> None:
    for status in (leaf_pb2.APPLY_STATUS_STALE_EPOCH, leaf_pb2.APPLY_STATUS_NOT_OWNER):
        state, _ = running({0: 0, 1: 0, 2: 10})
        state, effects = read(state, 10)
        (push,) = pushes(effects)
        refused = dict.fromkeys((0, 1), ShardResult(status, 0))
        state, (wait,) = step(state, Pushed(push.number, refused))
        assert isinstance(wait, Wait)
        assert "refused" in state.error
        state, (ask,) = step(state, MapChanged(ShardMap(2, {0: "b", 1: "b", 2: "b"})))
        assert state.ranges == ()
        assert step(state, WaitOver(wait.number)) == (state, [])
        state, effects = step(state, Positions(ask.number, {0: 0, 1: 0, 2: 10}))
        state, effects = read(state, 10)
        assert [push.leaf for push in pushes(effects)] == ["b"]


def test_a_mismatch_that_names_the_offset_sent_does_not_spin() -> None:
    state, _ = running({0: 0, 1: 0, 2: 10})
    state, effects = read(state, 10)
    (push,) = pushes(effects)
    same = dict.fromkeys((0, 1), ShardResult(MISMATCH, 0))
    _, effects = step(state, Pushed(push.number, same))
    assert [type(effect) for effect in effects] == [Wait]


def test_an_answer_without_a_shard_is_trouble() -> None:
    state, _ = running({0: 0, 1: 0, 2: 10})
    state, effects = read(state, 10)
    (push,) = pushes(effects)
    state, effects = step(state, Pushed(push.number, {0: ShardResult(APPLIED, 10)}))
    assert [type(effect) for effect in effects] == [Wait]
    assert "shard 1" in state.error


def test_another_identity_stops_it_for_ever() -> None:
    state, _ = running({0: 0, 1: 0, 2: 10})
    state, effects = read(state, 10)
    (push,) = pushes(effects)
    changed = ShardResult(leaf_pb2.APPLY_STATUS_IDENTITY_CHANGED, 0)
    state, effects = step(state, Pushed(push.number, {0: changed, 1: changed}))
    assert effects == []
    assert state.phase is Phase.STOPPED
    assert "drop the collection" in state.error
    assert step(state, MapChanged(TWO_LEAVES)) == (state, [])


def test_a_source_that_refuses_stops_it() -> None:
    state, _ = running({0: 0, 1: 0, 2: 0})
    state, effects = step(state, Refused("gone"))
    assert (state.phase, state.error, effects) == (Phase.STOPPED, "gone", [])


def test_late_and_repeated_answers_change_nothing() -> None:
    state, _ = running({0: 0, 1: 0, 2: 0})
    asked = state.sequence
    state, effects = read(state, 10)
    first, second = pushes(effects)
    late = [
        Positions(1, {0: 90, 1: 90, 2: 90}),
        AskFailed(1, "late"),
        Observed(asked, {0: 90, 1: 90, 2: 90}),
        WaitOver(1),
        RangeRead(state.sequence - 1, Range(10, 20)),
        RangeRead(state.sequence, Range(90, 95)),
        Pushed(99, {0: ShardResult(APPLIED, 99)}),
        PushFailed(99, "late"),
    ]
    for event in late:
        assert step(state, event) == (state, [])
    state, _ = step(state, all_applied(first))
    assert step(state, all_applied(first)) == (state, [])
    assert step(state, PushFailed(first.number, "late")) == (state, [])
    state, _ = step(state, all_applied(second))
    assert state.next_offset == 10


def test_an_idle_partition_sends_again_what_a_leaf_lost() -> None:
    state, _ = running({0: 10, 1: 10, 2: 10})
    state, effects = step(state, Observed(state.sequence, {0: 10, 1: 10, 2: 10}))
    assert effects == []
    state, effects = step(state, Observed(state.sequence, {0: 10, 1: 10, 2: 3}))
    assert reads(effects) == [3]
    state, effects = read(state, 10)
    (push,) = pushes(effects)
    assert push.slices == (Slice(2, 3),)


def test_it_waits_for_a_leaf_that_has_not_opened_a_shard() -> None:
    state, effects = running({0: 0, 1: 0})
    assert [type(effect) for effect in effects] == [Wait]
    assert "shard 2" in state.error


def test_a_leaf_that_does_not_tell_positions_is_asked_again() -> None:
    state, (ask,) = core.start(TWO_LEAVES)
    assert isinstance(ask, Ask)
    state, (wait,) = step(state, AskFailed(ask.number, "down"))
    assert isinstance(wait, Wait)
    _, (again,) = step(state, WaitOver(wait.number))
    assert isinstance(again, Ask)
    assert again.number > ask.number


def test_a_refused_assignment_is_waited_out_with_nothing_sent_meanwhile() -> None:
    state, _ = running({0: 0, 1: 0, 2: 0})
    state, effects = read(state, 10)
    first, second = pushes(effects)
    state, _ = step(state, PushFailed(first.number, "down"))
    state, effects = step(state, Pushed(second.number, {2: ShardResult(STALE, 0)}))
    (wait,) = effects
    assert isinstance(wait, AwaitAssignment), "a delay would end by itself"
    assert "newer assignment" in state.error
    state, effects = read(state, 20) if state.reading else (state, [])
    assert effects == []
    state, (ask,) = step(state, WaitOver(wait.number))
    assert isinstance(ask, Ask)
    state, effects = step(state, Positions(ask.number, {0: 0, 1: 0, 2: 0}))
    assert len(pushes(effects)) == 2
    assert state.error == ""
