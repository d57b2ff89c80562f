"""One run: tailers, leaves, a log and an aggregator under faults that all come from one seed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sim_network import Network, Schedule
from sim_store import Decide, Leaf, Log, Map, Reaches, Record, Violation
from sim_tailer import Tailer

from aggregator.execution.core import choose_cut
from alder.positions import PositionVector
from leaf.core import decide

FAULTS_END = 500
RECORDS_END = 400
GIVE_UP = 4_000
FINAL_QUERIES = 40
ChooseCut = Callable[[Iterable[int], Mapping[int, PositionVector]], PositionVector]
Answered = Callable[[PositionVector], None]


def _ignore(vector: PositionVector) -> None:
    """Nobody waits for this answer."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is simulated; a test puts a broken rule in its place to see runs fail."""

    decide: Decide = decide
    choose_cut: ChooseCut = choose_cut
    reaches: Reaches = PositionVector.reaches


class World:
    """Everything, in one thread and in virtual time."""

    def __init__(self, seed: int, rules: Rules | None = None) -> None:
        rules = rules or Rules()
        self.schedule = Schedule(seed)
        random = self.schedule.random
        self.network = Network(self.schedule)
        self._choose_cut = rules.choose_cut
        self._shards = random.randint(1, 4)
        self.log = Log(random.randint(1, 3), self._shards)
        names = [f"leaf{n}" for n in range(random.randint(1, 3))]
        self.leaves = {
            n: Leaf(n, self.schedule, self.log, rules.decide, rules.reaches) for n in names
        }
        self._map = Map(1, {s: random.choice(names) for s in range(self._shards)})
        for leaf in self.leaves.values():
            leaf.take_map(self._map)
        self._tailers: dict[tuple[str, int], Tailer] = {}
        self._assignment = 1
        self._answers: list[tuple[PositionVector, list[Record]]] = []
        self.queries_answered = 0
        self._schedule_faults()

    def run(self) -> None:
        """Runs to the end. Raises Violation with what went wrong."""
        self.schedule.run(FAULTS_END)
        self._heal()
        self.schedule.run(GIVE_UP, done=self._is_complete)
        if not self._is_complete():
            raise Violation("no progress: shards do not reach the end of the log without faults")
        answered: list[PositionVector] = []
        asked = [vector for vector, _ in self._answers]
        self._query(self._map, answered.append)
        for vector in asked:
            self._execute(self._map, vector, answered.append)
        self.schedule.run(self.schedule.now + FINAL_QUERIES)
        wanted = [*asked, self.log.ends()]
        missing = [v for v in wanted if not any(v.reaches(a) and a.reaches(v) for a in answered)]
        if missing:
            raise Violation(f"without faults there was no answer at {missing[0].offsets}")

    def _schedule_faults(self) -> None:
        random, after = self.schedule.random, self.schedule.after
        for partition in range(len(self.log.partitions)):
            for _ in range(random.randint(0, 60)):
                after(random.randint(0, RECORDS_END), lambda p=partition: self.log.append(p))
            after(0, lambda p=partition: self._start_tailer("t0", p))
        for action, most in (
            (self._restart_some_tailer, 12),
            (self._crash_some_leaf, 6),
            (self._move_some_shards, 3),
            (self._share_anew, 6),
            (self._sync_some_leaf, 20),
            (lambda: self._query(self._map), 25),
            (self._query_again, 10),
        ):
            for _ in range(random.randint(0, most)):
                after(random.randint(1, FAULTS_END), action)

    def _start_tailer(self, name: str, partition: int) -> None:
        self._stop_tailer(name, partition)
        self.schedule.note(f"{name} starts p{partition}")
        self._tailers[name, partition] = Tailer(
            name,
            partition,
            self._map,
            self.schedule,
            self.network,
            self.log,
            self.leaves,
            self._assignment,
        )

    def _stop_tailer(self, name: str, partition: int) -> None:
        running = self._tailers.pop((name, partition), None)
        if running is not None:
            self.schedule.note(f"{name} stops p{partition}")
            running.stop()

    def _restart_some_tailer(self) -> None:
        random = self.schedule.random
        name = random.choice(("t0", "t1", "t2"))
        partition = random.randrange(len(self.log.partitions))
        if random.random() < 0.3:
            self._stop_tailer(name, partition)
        else:
            self._start_tailer(name, partition)

    def _share_anew(self) -> None:
        """Each partition is one tailer's, a running one's where there is one; others hear later."""
        random = self.schedule.random
        self._assignment += 1
        told = self._assignment
        self.schedule.note(f"assignment {told}")
        for leaf in self.leaves.values():
            self.schedule.after(random.randint(1, 60), lambda f=leaf: f.take_assignment(told))
        for partition in range(len(self.log.partitions)):
            running = [key for key in self._tailers if key[1] == partition]
            for key in running:
                self.schedule.after(
                    random.randint(1, 120),
                    lambda k=key, t=self._tailers[key]: self._hear(k, t, told),
                )
            if not running:
                self._start_tailer("t0", partition)

    def _hear(self, key: tuple[str, int], tailer: Tailer, assignment: int) -> None:
        """A tailer goes on with its partition, or finds that it has lost it."""
        if self._tailers.get(key) is not tailer:
            return
        if not self.network.faulty or self.schedule.random.random() < 0.5:
            tailer.take_assignment(assignment)
        else:
            self._stop_tailer(*key)

    def _crash_some_leaf(self) -> None:
        leaf = self.leaves[self.schedule.random.choice(list(self.leaves))]
        if leaf.up:
            self.schedule.note(f"{leaf.name} crashes")
            leaf.crash()
            self.schedule.after(self.schedule.random.randint(1, 100), lambda: self._recover(leaf))

    def _recover(self, leaf: Leaf) -> None:
        self.schedule.note(f"{leaf.name} is up")
        leaf.up = True
        leaf.take_assignment(self._assignment)

    def _sync_some_leaf(self) -> None:
        self.leaves[self.schedule.random.choice(list(self.leaves))].sync()

    def _move_some_shards(self) -> None:
        """A new epoch; a shard that moves begins empty or with a copy. All hear of it later."""
        random = self.schedule.random
        leaf_of = dict(self._map.leaf_of)
        for shard, old in self._map.leaf_of.items():
            if random.random() < 0.5:
                leaf_of[shard] = random.choice(list(self.leaves))
            if leaf_of[shard] != old and random.random() < 0.7:
                copy = self.leaves[old].copy_of(shard)
                self.leaves[leaf_of[shard]].restore(shard, copy)
        self._map = Map(self._map.epoch + 1, leaf_of)
        self.schedule.note(f"epoch {self._map.epoch}: {leaf_of}")
        told = self._map
        for follower in [*self.leaves.values(), *self._tailers.values()]:
            self.schedule.after(random.randint(1, 60), lambda f=follower: f.take_map(told))

    def _heal(self) -> None:
        self.schedule.note("faults end")
        self.network.faulty = False
        for leaf in self.leaves.values():
            leaf.up = True
            leaf.take_map(self._map)
        for tailer in self._tailers.values():
            tailer.take_map(self._map)
            tailer.take_assignment(self._assignment)
        for partition in range(len(self.log.partitions)):
            if not any(key[1] == partition for key in self._tailers):
                self._start_tailer("t0", partition)

    def _is_complete(self) -> bool:
        ends = self.log.ends()
        vectors = [v for leaf in self.leaves.values() for v in (leaf.positions() or {}).values()]
        return all(vector.reaches(ends) for vector in vectors)

    def _query(self, shard_map: Map, answered: Answered = _ignore) -> None:
        """Asks positions, chooses the cut, and reads it."""
        waiting = dict.fromkeys(shard_map.leaf_of.values())
        vectors: dict[int, PositionVector] = {}

        def arrive(leaf: str, found: dict[int, PositionVector]) -> None:
            if waiting.pop(leaf, leaf) is None:
                vectors.update(found)
                if not waiting:
                    vector = self._choose_cut(shard_map.leaf_of, vectors)
                    self._execute(shard_map, vector, answered)

        def ask(leaf: Leaf) -> None:
            positions = leaf.positions()
            if positions is not None and leaf.map.epoch == shard_map.epoch:
                self.network.send(lambda: arrive(leaf.name, positions))

        for name in list(waiting):
            self.network.send(lambda leaf=self.leaves[name]: ask(leaf))

    def _query_again(self) -> None:
        if self._answers:
            vector, _ = self.schedule.random.choice(self._answers)
            self._execute(self._map, vector)

    def _execute(
        self, shard_map: Map, vector: PositionVector, answered: Answered = _ignore
    ) -> None:
        waiting = dict.fromkeys(shard_map.leaf_of.values())
        rows: list[Record] = []

        def arrive(leaf: str, found: list[Record]) -> None:
            if waiting.pop(leaf, leaf) is None:
                rows.extend(found)
                if not waiting:
                    self._check_answer(vector, rows)
                    answered(vector)

        def ask(leaf: Leaf) -> None:
            found = leaf.execute(shard_map.epoch, vector)
            if found is not None:
                self.network.send(lambda: arrive(leaf.name, found))

        for name in list(waiting):
            self.network.send(lambda leaf=self.leaves[name]: ask(leaf))

    def _check_answer(self, vector: PositionVector, rows: list[Record]) -> None:
        """I4: the answer is the log's prefix at the cut, now and whenever it is asked again."""
        answer = sorted(rows, key=lambda record: (record.partition, record.offset))
        self.schedule.note(f"query at {sorted(vector.offsets.items())}: {len(answer)} rows")
        if answer != self.log.at(vector):
            raise Violation(f"a query at {dict(vector.offsets)} is not the log's prefix")
        for known, earlier in self._answers:
            if known.offsets == vector.offsets and earlier != answer:
                raise Violation(f"two queries at {dict(vector.offsets)} differ")
        self.queries_answered += 1
        self._answers.append((vector, answer))
