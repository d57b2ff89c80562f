"""The decision about a push."""

from dataclasses import replace

from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf.core import Decision, PushHeader, ShardState, applied, decide

STATE = ShardState(7, 3, PositionVector({("log", 0): 10}), {("log", 0): "topic"})
PUSH = PushHeader(7, 3, "log", 0, "topic", 10, 20)


def test_the_next_range_is_applied_once() -> None:
    assert decide(STATE, PUSH) == Decision(leaf_pb2.APPLY_STATUS_APPLIED, 20)
    after = applied(STATE, PUSH)
    assert after.positions["log", 0] == 20
    assert decide(after, PUSH) == Decision(leaf_pb2.APPLY_STATUS_POSITION_MISMATCH, 20)


def test_other_pushes_change_nothing() -> None:
    refused = {
        replace(PUSH, from_offset=9): leaf_pb2.APPLY_STATUS_POSITION_MISMATCH,
        replace(PUSH, from_offset=11): leaf_pb2.APPLY_STATUS_POSITION_MISMATCH,
        replace(PUSH, to_offset=9): leaf_pb2.APPLY_STATUS_POSITION_MISMATCH,
        replace(PUSH, epoch=2): leaf_pb2.APPLY_STATUS_STALE_EPOCH,
        replace(PUSH, epoch=4): leaf_pb2.APPLY_STATUS_STALE_EPOCH,
        replace(PUSH, source_identity="new"): leaf_pb2.APPLY_STATUS_IDENTITY_CHANGED,
    }
    for push, status in refused.items():
        assert decide(STATE, push) == Decision(status, 10)
    assert decide(STATE, replace(PUSH, collection_id=8)).status == leaf_pb2.APPLY_STATUS_NOT_OWNER


def test_an_identity_is_remembered_per_partition() -> None:
    other = replace(PUSH, partition=1, source_identity="other", from_offset=0, to_offset=0)
    after = applied(STATE, other)
    assert after.identities == {("log", 0): "topic", ("log", 1): "other"}
    changed = replace(other, source_identity="topic")
    assert decide(after, changed).status == leaf_pb2.APPLY_STATUS_IDENTITY_CHANGED


def test_a_push_by_an_older_assignment_is_refused_wherever_it_begins() -> None:
    by_catalog = STATE.informed(3, 5, replace(PUSH, assignment=4))
    by_push = STATE.informed(3, 4, replace(PUSH, assignment=5))
    for state in (by_catalog, by_push, by_push.informed(3, 0, PUSH)):
        for late in (replace(PUSH, assignment=4), replace(PUSH, assignment=4, from_offset=3)):
            assert decide(state, late) == Decision(leaf_pb2.APPLY_STATUS_STALE_ASSIGNMENT, 10)
        for push in (replace(PUSH, assignment=5), replace(PUSH, assignment=6)):
            assert decide(state, push).accepted
            assert applied(state, push).assignment == 5


def test_a_leader_epoch_belongs_to_its_position() -> None:
    first = applied(ShardState(7, 3), replace(PUSH, from_offset=0, leader_epoch=4))
    assert first.leader_epochs == {PUSH.key: 4}
    still = applied(first, replace(PUSH, from_offset=20, to_offset=20))
    assert still.leader_epochs == first.leader_epochs
    unknown = applied(first, replace(PUSH, from_offset=20, to_offset=21))
    assert unknown.leader_epochs == {PUSH.key: -1}, "an older one would look like a log cut back"
