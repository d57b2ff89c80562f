"""One partition's tailer as a pure state machine: events in, effects out, no I/O and no clock.

The invariant is exactly once (I2), and it is the leaf that decides it: a shard takes a slice only
if the slice begins where the shard stands. What is known here about positions is therefore a guess
that may be wrong in any way (lost replies, a leaf that restarted, another tailer on the same
partition) without harm; every answer of a leaf corrects it. Ranges read are contiguous, and a slice
never begins before the range it is cut from, so that no slice can skip a row.

A round sends the first range to every leaf that has a shard behind its end, waits for all the
answers, and then looks at the lowest position: past the range, the next one follows; inside it, the
same range is sent again to the shards behind; before it, reading starts again there.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from alder.v1 import leaf_pb2

RANGES_MAX = 2
"""Ranges held: the one that is pushed, and the one read ahead meanwhile."""


@dataclass(frozen=True, slots=True)
class ShardMap:
    """Which leaf serves each shard, and the version of that map."""

    epoch: int
    leaf_of: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets ``[begin, end)`` of a partition."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A shard's part of a range: the rows from ``begin`` up to the range's end."""

    shard: int
    begin: int


class Phase(enum.Enum):
    """What the machine waits for."""

    ASKING = "positions from the leaves"
    WAITING = "a delay, a newer assignment, or a new map"
    RUNNING = "records and answers to pushes"
    STOPPED = "nothing any more"


@dataclass(frozen=True, slots=True)
class PartitionState:
    """All that is known. ``sequence`` numbers the effects, so that late answers are recognised."""

    shard_map: ShardMap
    phase: Phase = Phase.WAITING
    sequence: int = 0
    waiting_for: int = 0
    positions: Mapping[int, int] = field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    reading: tuple[int, int] | None = None
    pushes: Mapping[int, tuple[Slice, ...]] = field(default_factory=dict)
    trouble: bool = False
    fenced: bool = False
    failures: int = 0
    error: str = ""

    @property
    def next_offset(self) -> int:
        """The lowest position over the shards, as far as is known."""
        return min(self.positions.values(), default=0)

    @property
    def idle(self) -> bool:
        """True if every known record has been applied by every shard."""
        return self.phase is Phase.RUNNING and not self.pushes and not self.ranges


@dataclass(frozen=True, slots=True)
class MapChanged:
    """There is a (new) shard map; also the first event of all."""

    shard_map: ShardMap


@dataclass(frozen=True, slots=True)
class Positions:
    """The answer to ``Ask``: the position of every shard that a leaf told."""

    number: int
    positions: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class AskFailed:
    """A leaf did not tell its positions."""

    number: int
    error: str


@dataclass(frozen=True, slots=True)
class RangeRead:
    """The answer to ``Read``: records are at hand; ``range.begin`` is what was asked for."""

    number: int
    range: Range


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What a leaf said about one slice."""

    status: leaf_pb2.ApplyStatus
    next_offset: int


@dataclass(frozen=True, slots=True)
class Pushed:
    """The answer to ``Push``."""

    number: int
    results: Mapping[int, ShardResult]


@dataclass(frozen=True, slots=True)
class PushFailed:
    """No answer came to ``Push``: it may have been applied or not."""

    number: int
    error: str


@dataclass(frozen=True, slots=True)
class WaitOver:
    """What ``Wait`` or ``AwaitAssignment`` waits for has come."""

    number: int


@dataclass(frozen=True, slots=True)
class Observed:
    """Positions asked for while the machine was idle and had come to ``sequence``."""

    sequence: int
    positions: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Refused:
    """The source can't be read any more, ever."""

    error: str


Event = (
    MapChanged
    | Positions
    | AskFailed
    | RangeRead
    | Pushed
    | PushFailed
    | WaitOver
    | Observed
    | Refused
)


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask every leaf for the positions of its shards."""

    number: int


@dataclass(frozen=True, slots=True)
class Read:
    """Read from an offset on; replaces the read before, whose answer is not wanted any more."""

    number: int
    offset: int


@dataclass(frozen=True, slots=True)
class Push:
    """Send slices of a range to a leaf."""

    number: int
    leaf: str
    range: Range
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait, longer with every failure in a row."""

    number: int
    failures: int


@dataclass(frozen=True, slots=True)
class AwaitAssignment:
    """Wait until the catalog has a newer assignment than the one that a leaf refused."""

    number: int


Effect = Ask | Read | Push | Wait | AwaitAssignment


def start(shard_map: ShardMap) -> tuple[PartitionState, list[Effect]]:
    """The machine of a partition that was just taken over."""
    return step(PartitionState(shard_map), MapChanged(shard_map))


def step(state: PartitionState, event: Event) -> tuple[PartitionState, list[Effect]]:
    """The state after an event, and what to do now. Events that come too late change nothing."""
    if state.phase is Phase.STOPPED:
        return state, []
    match event:
        case MapChanged(shard_map):
            return _ask(PartitionState(shard_map, sequence=state.sequence, error=state.error))
        case WaitOver(number) if state.phase is Phase.WAITING and number == state.waiting_for:
            return _ask(state)
        case Positions(number, positions) if _is_asked(state, number):
            return _start_running(state, positions)
        case AskFailed(number, error) if _is_asked(state, number):
            return _wait(replace(state, error=error))
        case RangeRead(number, read) if state.reading == (number, read.begin):
            extended = replace(state, reading=None, ranges=(*state.ranges, read))
            return _advance(extended)
        case Pushed(number, results) if number in state.pushes:
            return _advance(_with_results(state, number, results))
        case PushFailed(number, error) if number in state.pushes:
            failed = replace(state, pushes=_without(state.pushes, number))
            return _advance(replace(failed, trouble=True, error=error))
        case Observed(sequence, positions) if state.idle and sequence == state.sequence:
            return _start_running(state, positions)
        case Refused(error):
            return replace(state, phase=Phase.STOPPED, error=error), []
    return state, []


def _is_asked(state: PartitionState, number: int) -> bool:
    return state.phase is Phase.ASKING and number == state.waiting_for


def _ask(state: PartitionState) -> tuple[PartitionState, list[Effect]]:
    number = state.sequence + 1
    asking = replace(state, phase=Phase.ASKING, sequence=number, waiting_for=number)
    return asking, [Ask(number)]


def _wait(state: PartitionState) -> tuple[PartitionState, list[Effect]]:
    number, failures = state.sequence + 1, state.failures + 1
    effect = AwaitAssignment(number) if state.fenced else Wait(number, failures)
    waiting = replace(
        state,
        phase=Phase.WAITING,
        sequence=number,
        waiting_for=number,
        failures=failures,
        trouble=False,
        fenced=False,
    )
    return waiting, [effect]


def _start_running(
    state: PartitionState, positions: Mapping[int, int]
) -> tuple[PartitionState, list[Effect]]:
    known = {shard: positions[shard] for shard in state.shard_map.leaf_of if shard in positions}
    missing = state.shard_map.leaf_of.keys() - known.keys()
    if missing or not known:
        error = f"no leaf serves shard {min(missing, default=0)} (yet); is its leaf running?"
        return _wait(replace(state, error=error))
    return _advance(replace(state, phase=Phase.RUNNING, positions=known))


def _with_results(
    state: PartitionState, number: int, results: Mapping[int, ShardResult]
) -> PartitionState:
    positions = dict(state.positions)
    trouble, error, phase, failures = state.trouble, state.error, state.phase, state.failures
    fenced = state.fenced
    for piece in state.pushes[number]:
        result = results.get(piece.shard)
        if result is None:
            trouble, error = True, f"the leaf left shard {piece.shard} out of its answer"
        elif result.status == leaf_pb2.APPLY_STATUS_APPLIED:
            positions[piece.shard] = result.next_offset
            failures = 0
        elif (
            result.status == leaf_pb2.APPLY_STATUS_POSITION_MISMATCH
            and result.next_offset != piece.begin
        ):
            positions[piece.shard] = result.next_offset
        elif result.status == leaf_pb2.APPLY_STATUS_IDENTITY_CHANGED:
            phase = Phase.STOPPED
            error = (
                f"shard {piece.shard} has read another topic or file under this name; "
                "drop the collection and create it again to read the new one"
            )
        elif result.status == leaf_pb2.APPLY_STATUS_STALE_ASSIGNMENT:
            fenced = trouble = True
            error = (
                "a leaf knows a newer assignment of partitions than this tailer, which asks the "
                "catalog what is its own; is the controller within reach?"
            )
        else:
            name = leaf_pb2.ApplyStatus.Name(result.status)
            trouble, error = True, f"the leaf of shard {piece.shard} refused a push: {name}"
    return replace(
        state,
        positions=positions,
        pushes=_without(state.pushes, number),
        trouble=trouble,
        fenced=fenced,
        failures=failures,
        phase=phase,
        error=error,
    )


def _without(
    pushes: Mapping[int, tuple[Slice, ...]], number: int
) -> Mapping[int, tuple[Slice, ...]]:
    return {key: slices for key, slices in pushes.items() if key != number}


def _advance(state: PartitionState) -> tuple[PartitionState, list[Effect]]:
    """The next round if the last one is over, and the next read if there is room for one."""
    if state.phase is not Phase.RUNNING:
        return state, []
    effects: list[Effect] = []
    if not state.pushes:
        if state.trouble:
            return _wait(state)
        state = replace(_without_done_ranges(state), error="")
        state, effects = _push(state)
    state, reads = _read_ahead(state)
    return state, effects + reads


def _without_done_ranges(state: PartitionState) -> PartitionState:
    low = state.next_offset
    ranges = tuple(held for held in state.ranges if held.end > low)
    if ranges and ranges[0].begin > low:
        ranges = ()
    return replace(state, ranges=ranges)


def _push(state: PartitionState) -> tuple[PartitionState, list[Effect]]:
    if not state.ranges:
        return state, []
    first = state.ranges[0]
    by_leaf: dict[str, list[Slice]] = {}
    for shard, leaf in state.shard_map.leaf_of.items():
        if state.positions[shard] < first.end:
            by_leaf.setdefault(leaf, []).append(Slice(shard, state.positions[shard]))
    effects: list[Effect] = []
    pushes: dict[int, tuple[Slice, ...]] = {}
    for number, (leaf, slices) in enumerate(by_leaf.items(), state.sequence + 1):
        pushes[number] = tuple(slices)
        effects.append(Push(number, leaf, first, tuple(slices)))
    return replace(state, sequence=state.sequence + len(pushes), pushes=pushes), effects


def _read_ahead(state: PartitionState) -> tuple[PartitionState, list[Effect]]:
    offset = state.ranges[-1].end if state.ranges else state.next_offset
    wanted = len(state.ranges) < RANGES_MAX
    if not wanted or (state.reading is not None and state.reading[1] == offset):
        return state, []
    number = state.sequence + 1
    return replace(state, sequence=number, reading=(number, offset)), [Read(number, offset)]
