"""Limits and delays of a tailer."""

from dataclasses import dataclass, field
from typing import Final

from alder.errors import AlderError, Reason
from tailer.core import RANGES_MAX
from tailer.decode import DecodeLimits

LOG_READ_BYTES_MIN: Final = 64 << 10
"""Less at once would cost more in statements than it saves in memory."""


CHANGED_FILES: Final = ("refuse", "reread")
LOST_RECORDS: Final = ("stop", "quarantine")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How Kafka topics are read."""

    config_file: str | None = None
    """TOML file with the TLS and SASL properties of brokers and schema registries."""
    lost_records: str = "stop"
    """What to do about records that retention removed unread: stop, or quarantine and go on."""
    timeout_s: float = 10.0
    """How long brokers may take to describe a topic."""

    def __post_init__(self) -> None:
        if self.lost_records not in LOST_RECORDS:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"kafka.lost_records is {' or '.join(LOST_RECORDS)}, not {self.lost_records!r}",
            )


@dataclass(frozen=True, slots=True)
class TailerSettings:
    """Defaults suit events of some hundred bytes and leaves on the same network."""

    decode: DecodeLimits = field(default_factory=DecodeLimits)
    """Limits of a document and of a collection's fields."""
    batch_size_bytes_max: int = 8 << 20
    """Raw records that are read at once; one larger record is read alone."""
    read_ahead_bytes_max: int = 64 << 20
    """Raw records that busy partitions of logs hold; the more there are, the less each reads."""
    batch_rows_max: int = 50_000
    """Records that are pushed at once."""
    push_size_bytes_max: int = 32 << 20
    """Rows of one push as Arrow, before it is split; a message may be twice as large."""
    quarantine_prefix_bytes_max: int = 64 << 10
    """Beginning that is kept of a record that exceeds the limit on a document."""
    redrive_records_max: int = 1_000
    """Records in quarantine that are read again at once."""
    read_wait_ms: int = 1_000
    """How long one read waits for a record to come."""
    read_timeout_s: float = 10.0
    """How long a read may take beyond its wait before it counts as failed."""
    push_timeout_s: float = 30.0
    """How long a push may take before it counts as failed."""
    slow_leaf_s: float = 5.0
    """For how long a leaf may answer nothing before the others of a partition go on without it.

    A lane of its own decodes what it reads once more, so a push that waits a little for sealing is
    no reason for one.
    """
    ask_timeout_s: float = 5.0
    """How long a leaf may take to tell its positions."""
    retry_delay_s: float = 0.02
    """Delay after the first failure; it doubles with each further one in a row."""
    retry_delay_s_max: float = 1.0
    """Longest delay between two tries."""
    audit_interval_s: float = 1.0
    """How often idle partitions are compared with the leaves, which may have lost a suffix."""
    look_interval_s: float = 1.0
    """How often it is asked where partitions end, to tell how far behind they are."""
    discovery_interval_s: float = 2.0
    """How often a glob is listed for new files."""
    discovery_settle_s: float = 0.2
    """How long a new file must keep its size and time before it is read."""
    discovery_interval_s_max: float = 60.0
    """Longest delay after listings that failed; it doubles with each further one in a row."""
    changed_files: str = "refuse"
    """What to do about a file that changed: refuse to read it, or reread it as a new generation."""
    files_listed_max: int = 100_000
    """Names that one listing looks at, whether they fit the glob or not."""
    files_per_source_max: int = 10_000
    """Files of one source; further ones are refused with an error."""
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    """How Kafka topics are read."""
    worker_threads: int = 2
    """Threads that decode and read files."""

    def __post_init__(self) -> None:
        if self.changed_files not in CHANGED_FILES:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"changed_files is {' or '.join(CHANGED_FILES)}, not {self.changed_files!r}",
            )

    def log_read_bytes(self, partitions: int) -> int:
        """How much one partition of so many busy ones reads at once, to keep to their limit."""
        share = self.read_ahead_bytes_max // (RANGES_MAX * max(1, partitions))
        return min(self.batch_size_bytes_max, max(share, LOG_READ_BYTES_MIN))

    def listing_delay_s(self, failures: int) -> float:
        """The delay after that many listings that failed in a row, at least 1."""
        delay_s = self.discovery_interval_s * 2.0 ** min(failures - 1, 30)
        return min(delay_s, self.discovery_interval_s_max)

    def delay_s(self, failures: int) -> float:
        """The delay after that many failures in a row, at least 1."""
        return min(self.retry_delay_s * 2.0 ** min(failures - 1, 30), self.retry_delay_s_max)
