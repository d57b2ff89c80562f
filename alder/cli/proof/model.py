"""What a proof is about and what it found: plain values."""

import enum
from dataclasses import dataclass, field

from alder.positions import PartitionKey, PositionVector

EXIT_EQUAL = 0
EXIT_DIFFERS = 3
EXIT_NOT_PROVEN = 4


class Kind(enum.StrEnum):
    """What is wrong."""

    LOST = "lost"
    EXTRA = "extra"
    ALTERED = "altered"
    DEATHS = "deaths"
    QUARANTINE = "quarantine"
    UNREADABLE = "unreadable"
    DAMAGED = "damaged"
    ANSWER = "answer"
    INDEX = "index"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets ``[begin, end)`` of a partition."""

    key: PartitionKey
    begin: int
    end: int

    @property
    def offsets(self) -> int:
        """How many there are."""
        return self.end - self.begin

    def __str__(self) -> str:
        return f"{self.key[0]}/{self.key[1]} offsets {self.begin} to {self.end - 1}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference or a damage, of one row where it has one.

    ``row`` is source/partition/offset; ``log`` and ``serving`` are the two documents, None where
    there is none.
    """

    kind: Kind
    shard: int
    detail: str
    row: str = ""
    row_id: str = ""
    log: str | None = None
    serving: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A part of the collection of which nothing can be said, and why."""

    part: str
    why: str


@dataclass(frozen=True, slots=True)
class ShardProof:
    """What was compared of one shard."""

    shard: int
    rows: int
    rows_serving: int
    deaths: int
    quarantined: int
    conditions: int
    blocks: int
    taken_in: bool
    """True if also the digests of all that came in, what was removed included, were compared."""
    findings: tuple[Finding, ...] = ()

    @property
    def damaged(self) -> bool:
        """True if something of what serves can't be read."""
        return any(one.kind in {Kind.UNREADABLE, Kind.DAMAGED} for one in self.findings)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of a collection is compared at which cut.

    ``ranges`` are what is read of the log and of files; ``whole`` is true if they are everything
    before the cut. ``deaths``: which rows are alive can be compared, too.
    """

    at: PositionVector
    shards: tuple[int, ...]
    ranges: tuple[Range, ...]
    whole: bool
    deaths: bool = True
    refusals: tuple[Refusal, ...] = ()
    sampled: str = ""

    @property
    def offsets(self) -> int:
        """Offsets in all ranges."""
        return sum(one.offsets for one in self.ranges)

    def ranges_of(self, key: PartitionKey) -> list[Range]:
        """Those of one partition, ascending."""
        return sorted((one for one in self.ranges if one.key == key), key=lambda one: one.begin)


@dataclass(frozen=True, slots=True)
class Report:
    """The whole proof; ``seed`` chose what was sampled and asked."""

    collection: str
    seed: int
    coverage: Coverage
    shards_total: int
    shards: tuple[ShardProof, ...]
    index_checks: int
    elapsed_s: float
    findings: tuple[Finding, ...] = field(default=())

    @property
    def all_findings(self) -> list[Finding]:
        """Those of shards, then the others."""
        return [*(one for shard in self.shards for one in shard.findings), *self.findings]

    @property
    def exit_code(self) -> int:
        """0: all that was compared is equal; 3: something differs; 4: a part can't be proven."""
        if self.all_findings:
            return EXIT_DIFFERS
        return EXIT_NOT_PROVEN if self.coverage.refusals else EXIT_EQUAL
