"""The limits of the embedded log. Each bounds memory, or keeps a message within what gRPC takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Sizes in bytes, of a record its value and key, of a message its Arrow stream; times in s."""

    record_bytes_max: int = 16 << 20
    message_bytes_max: int = 40 << 20
    block_bytes_max: int = 4 << 20
    """A longer message is kept as several blocks, so that a read never decodes much in vain."""
    group_bytes_max: int = 8 << 20
    """How much one fsync may cover: what comes after it waits this long at most."""
    call_bytes_max: int = 8 << 20
    """How much of one append call may wait for the disk before its next message is read."""
    pending_bytes_max: int = 64 << 20
    """How much of all append calls together may wait for the disk."""
    read_bytes_max: int = 32 << 20
    wait_s_max: float = 60.0
    topics_max: int = 10_000
    partitions_max: int = 1024
    retention_check_s: float = 60.0
