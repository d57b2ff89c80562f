"""The model of the log, and leaves that keep shards by the real leaf's decision."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sim_network import Schedule

from alder.positions import PartitionKey, PositionVector
from alder.slots import slot_of_key
from alder.v1 import leaf_pb2
from leaf.core import Decision, PushHeader, ShardState, applied

COLLECTION_ID = 1
SOURCE = "log"
IDENTITY = "topic"
Decide = Callable[[ShardState, PushHeader], Decision]
Reaches = Callable[[PositionVector, PositionVector], bool]


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the log, and the only shard that may hold it."""

    partition: int
    offset: int
    value: int
    shard: int


@dataclass(frozen=True, slots=True)
class Map:
    """A shard map: shard to leaf."""

    epoch: int
    leaf_of: dict[int, str]


class Log:
    """Partitions of records; the truth that everything is compared with."""

    def __init__(self, partitions: int, shards: int) -> None:
        self.partitions: list[list[Record]] = [[] for _ in range(partitions)]
        self._shards = shards
        self._count = 0

    def append(self, partition: int) -> None:
        """Adds a record with a value that no other record has."""
        records = self.partitions[partition]
        shard = slot_of_key(b"%d" % self._count) * self._shards // 4096
        records.append(Record(partition, len(records), self._count, shard))
        self._count += 1

    def prefix(self, shard: int, partition: int, end: int) -> list[Record]:
        """What a shard must hold of a partition at a position."""
        return [r for r in self.partitions[partition][:end] if r.shard == shard]

    def at(self, vector: PositionVector) -> list[Record]:
        """All records of a cut, by partition and offset."""
        return [
            record
            for partition, records in enumerate(self.partitions)
            for record in records[: vector[SOURCE, partition]]
        ]

    def ends(self) -> PositionVector:
        """The position behind the last record."""
        return PositionVector({(SOURCE, n): len(r) for n, r in enumerate(self.partitions)})


@dataclass(frozen=True, slots=True)
class Commit:
    """Rows and position in one write, as the store has them after it."""

    state: ShardState
    rows: dict[int, tuple[Record, ...]]


@dataclass(slots=True)
class ShardStore:
    """Commits since the last sync may be lost from the end on; ``commits[0]`` is durable."""

    commits: list[Commit] = field(
        default_factory=lambda: [Commit(ShardState(COLLECTION_ID, 0), {})]
    )

    @property
    def now(self) -> Commit:
        return self.commits[-1]


@dataclass(frozen=True, slots=True)
class PushMessage:
    """A push on the wire: for each shard the slice and its rows."""

    epoch: int
    assignment: int
    partition: int
    to_offset: int
    slices: tuple[tuple[int, int, tuple[Record, ...]], ...]


class Leaf:
    """A leaf process with its disk."""

    def __init__(
        self, name: str, schedule: Schedule, log: Log, decide: Decide, reaches: Reaches
    ) -> None:
        self.name = name
        self.up = True
        self.map = Map(0, {})
        self.assignment = 0
        self._newest: dict[tuple[int, int], int] = {}
        self._schedule = schedule
        self._log = log
        self._decide = decide
        self._reaches = reaches
        self._stores: dict[int, ShardStore] = {}

    def take_assignment(self, assignment: int) -> None:
        """Hears of an assignment, maybe of an old one."""
        self.assignment = max(self.assignment, assignment)

    def take_map(self, shard_map: Map) -> None:
        """Opens the shards that it serves from now on, and drops some of the others."""
        if shard_map.epoch <= self.map.epoch:
            return
        self.map = shard_map
        for shard in list(self._stores):
            if shard_map.leaf_of[shard] != self.name and self._schedule.random.random() < 0.5:
                del self._stores[shard]
        for shard, leaf in shard_map.leaf_of.items():
            if leaf == self.name:
                self._stores.setdefault(shard, ShardStore())

    def apply(self, push: PushMessage) -> dict[int, Decision] | None:
        """The answer to a push; None while the leaf is down."""
        if not self.up:
            return None
        return {shard: self._apply(push, shard, begin, rows) for shard, begin, rows in push.slices}

    def _apply(
        self, push: PushMessage, shard: int, begin: int, rows: tuple[Record, ...]
    ) -> Decision:
        if self.map.leaf_of.get(shard) != self.name:
            return Decision(leaf_pb2.APPLY_STATUS_NOT_OWNER, 0)
        store = self._stores[shard]
        header = PushHeader(
            COLLECTION_ID,
            push.epoch,
            SOURCE,
            push.partition,
            IDENTITY,
            begin,
            push.to_offset,
            assignment=push.assignment,
        )
        state = store.now.state.informed(self.map.epoch, self.assignment, header)
        decision = self._decide(state, header)
        self._schedule.note(
            f"{self.name} shard {shard} p{push.partition} [{begin},{push.to_offset}) "
            f"-> {decision.status} {decision.next_offset}"
        )
        if decision.accepted:
            self._check_assignment(push, shard)
            known = store.now.rows.get(push.partition, ())
            changed = {**store.now.rows, push.partition: known + rows}
            store.commits.append(Commit(applied(state, header), changed))
            self.check(shard)
        return decision

    def _check_assignment(self, push: PushMessage, shard: int) -> None:
        """Once a tailer has fed a partition, none that had it before does anything to it."""
        newest = self._newest.get((shard, push.partition), 0)
        if push.assignment < max(newest, self.assignment):
            raise Violation(
                f"{self.name}: shard {shard} p{push.partition} took a push by assignment "
                f"{push.assignment} after {newest}"
            )
        self._newest[shard, push.partition] = push.assignment

    def check(self, shard: int) -> None:
        """I2: a shard holds the log's prefix up to its position: nothing twice, no hole."""
        commit = self._stores[shard].now
        for partition in range(len(self._log.partitions)):
            end = commit.state.positions[SOURCE, partition]
            expected = self._log.prefix(shard, partition, end)
            if list(commit.rows.get(partition, ())) != expected:
                raise Violation(f"{self.name}: shard {shard} p{partition} is no prefix at {end}")

    def positions(self) -> dict[int, PositionVector] | None:
        """The position of each shard served; None while the leaf is down."""
        if not self.up:
            return None
        return {
            shard: self._stores[shard].now.state.positions
            for shard, leaf in self.map.leaf_of.items()
            if leaf == self.name
        }

    def execute(self, epoch: int, vector: PositionVector) -> list[Record] | None:
        """Rows of its shards inside the cut; None where it can't answer for all of them."""
        if not self.up or epoch != self.map.epoch:
            return None
        found: list[Record] = []
        for shard, positions in (self.positions() or {}).items():
            if not self._reaches(positions, vector):
                return None
            for key in vector:
                found += _below(self._stores[shard].now, key, vector[key])
        return found

    def sync(self) -> None:
        """Makes every commit durable."""
        if self.up:
            for store in self._stores.values():
                del store.commits[:-1]

    def crash(self) -> None:
        """Goes down; each shard loses some of the commits that were not durable."""
        self.up = False
        for shard, store in self._stores.items():
            kept = self._schedule.random.randint(1, len(store.commits))
            del store.commits[kept:]
            del store.commits[:-1]
            self.check(shard)

    def copy_of(self, shard: int) -> ShardStore:
        """A checkpoint of a shard."""
        return ShardStore([self._stores[shard].now]) if shard in self._stores else ShardStore()

    def restore(self, shard: int, store: ShardStore) -> None:
        """Begins with a checkpoint."""
        self._stores[shard] = store


def _below(commit: Commit, key: PartitionKey, end: int) -> list[Record]:
    return [record for record in commit.rows.get(key[1], ()) if record.offset < end]
