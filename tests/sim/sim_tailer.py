"""A tailer process that drives the real state machine over the simulated network."""

from collections.abc import Callable

from sim_network import Network, Schedule
from sim_store import SOURCE, Leaf, Log, Map, PushMessage, Record

from alder.v1 import leaf_pb2
from leaf.core import Decision
from tailer import core

TIMEOUT = 80
AUDIT_EVERY = 60


class Tailer:
    """One incarnation of one partition's tailer; after :meth:`stop` it does nothing any more."""

    def __init__(
        self,
        name: str,
        partition: int,
        shard_map: Map,
        schedule: Schedule,
        network: Network,
        log: Log,
        leaves: dict[str, Leaf],
        assignment: int,
    ) -> None:
        self.name = f"{name}/p{partition}"
        self._partition = partition
        self._map = shard_map
        self._schedule = schedule
        self._network = network
        self._log = log
        self._leaves = leaves
        self._alive = True
        self._assignment = assignment
        self._refused_assignment = 0
        self._waiting: Callable[[], None] | None = None
        self._held: dict[core.Range, list[Record]] = {}
        self._state, effects = core.start(_core_map(shard_map))
        self._perform(effects)
        schedule.after(AUDIT_EVERY, self._audit)

    def stop(self) -> None:
        """Crashes; what it sent is still on its way."""
        self._alive = False

    def take_assignment(self, assignment: int) -> None:
        """The partition is its own by this assignment, too."""
        self._assignment = max(self._assignment, assignment)
        if self._waiting is not None and self._assignment > self._refused_assignment:
            waiting, self._waiting = self._waiting, None
            waiting()

    def take_map(self, shard_map: Map) -> None:
        """Hears of a shard map, maybe of an old one."""
        if shard_map.epoch > self._map.epoch:
            self._map = shard_map
            self._handle(core.MapChanged(_core_map(shard_map)))

    def _handle(self, event: core.Event) -> None:
        if not self._alive:
            return
        self._state, effects = core.step(self._state, event)
        self._held = {r: rows for r, rows in self._held.items() if r in self._state.ranges}
        self._perform(effects)

    def _perform(self, effects: list[core.Effect]) -> None:
        for effect in effects:
            match effect:
                case core.Ask(number):
                    self._ask(lambda found, n=number: self._handle(core.Positions(n, found)))
                    failed = core.AskFailed(number, "timeout")
                    self._schedule.after(TIMEOUT, lambda e=failed: self._handle(e))
                case core.Read():
                    self._read(effect)
                case core.Push():
                    self._push(effect)
                case core.Wait(number, failures):
                    over = core.WaitOver(number)
                    self._schedule.after(min(2**failures, 32), lambda e=over: self._handle(e))
                case core.AwaitAssignment(number):
                    over = core.WaitOver(number)
                    self._waiting = lambda e=over: self._handle(e)
                    self.take_assignment(self._assignment)

    def _ask(self, answer: Callable[[dict[int, int]], None]) -> None:
        found: dict[int, int] = {}
        waiting = dict.fromkeys(self._map.leaf_of.values())

        def arrive(leaf: str, positions: dict[int, int]) -> None:
            found.update(positions)
            if waiting.pop(leaf, leaf) is None and not waiting:
                answer(dict(found))

        def ask(leaf: Leaf) -> None:
            vectors = leaf.positions()
            if vectors is not None:
                known = {s: v[SOURCE, self._partition] for s, v in vectors.items()}
                self._network.send(lambda: arrive(leaf.name, known))

        for name in list(waiting):
            self._network.send(lambda leaf=self._leaves[name]: ask(leaf))

    def _read(self, effect: core.Read) -> None:
        random = self._schedule.random

        def look() -> None:
            end = effect.offset + random.randint(1, 12)
            records = self._log.partitions[self._partition][effect.offset : end]
            if records:
                read = core.Range(effect.offset, records[-1].offset + 1)
                self._schedule.after(random.randint(1, 6), lambda: self._take(effect, read))
            elif self._alive and self._state.reading == (effect.number, effect.offset):
                self._schedule.after(5, look)

        self._schedule.after(random.randint(1, 6), look)

    def _take(self, effect: core.Read, read: core.Range) -> None:
        """Records arrive, maybe of a read that was replaced meanwhile."""
        self._held[read] = self._log.partitions[self._partition][read.begin : read.end]
        self._handle(core.RangeRead(effect.number, read))

    def _push(self, effect: core.Push) -> None:
        rows = self._held[effect.range]
        message = PushMessage(
            self._map.epoch,
            self._assignment,
            self._partition,
            effect.range.end,
            tuple(
                (
                    piece.shard,
                    piece.begin,
                    tuple(r for r in rows if r.shard == piece.shard and r.offset >= piece.begin),
                )
                for piece in effect.slices
            ),
        )
        leaf = self._leaves[effect.leaf]
        self._schedule.note(f"{self.name} #{effect.number} -> {leaf.name} {effect.range}")

        def deliver() -> None:
            decisions = leaf.apply(message)
            if decisions is not None:
                self._network.send(lambda: self._answered(effect.number, message, decisions))

        self._network.send(deliver)
        failed = core.PushFailed(effect.number, "timeout")
        self._schedule.after(TIMEOUT, lambda: self._handle(failed))

    def _answered(self, number: int, message: PushMessage, decisions: dict[int, Decision]) -> None:
        statuses = {decision.status for decision in decisions.values()}
        if leaf_pb2.APPLY_STATUS_STALE_ASSIGNMENT in statuses:
            self._refused_assignment = max(self._refused_assignment, message.assignment)
        self._handle(_pushed(number, decisions))

    def _audit(self) -> None:
        if not self._alive:
            return
        if self._state.idle:
            sequence = self._state.sequence
            self._ask(lambda found: self._handle(core.Observed(sequence, found)))
        self._schedule.after(AUDIT_EVERY, self._audit)


def _pushed(number: int, decisions: dict[int, Decision]) -> core.Pushed:
    return core.Pushed(
        number,
        {s: core.ShardResult(d.status, d.next_offset) for s, d in decisions.items()},
    )


def _core_map(shard_map: Map) -> core.ShardMap:
    return core.ShardMap(shard_map.epoch, shard_map.leaf_of)
