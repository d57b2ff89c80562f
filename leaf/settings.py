"""Limits and sizes of a leaf."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeafSettings:
    """Defaults suit one leaf of a few gigabytes of memory."""

    seal_rows: int = 65_536
    """Rows of live tail from which on they are sealed into a segment."""
    seal_bytes: int = 64 << 20
    """Bytes of live tail from which on they are sealed, whatever their number."""
    tail_bytes_max: int = 512 << 20
    """Bytes of live tail from which on pushes wait for the sealing."""
    room_wait_s: float = 20.0
    """How long a push waits for the sealing before it is refused."""
    seal_workers: int = 1
    """Processes that seal; started with the first seal."""
    cache_bytes: int = 256 << 20
    """Decoded pages that are kept for queries."""
    query_threads: int = 4
    """Fragments that run at the same time; others wait their turn."""
    query_memory_bytes: int = 2 << 30
    """Memory of one fragment's engine."""
    scan_bytes_max: int = 4 << 30
    """Columns that one fragment may gather."""
    apply_threads: int = 2
    """Pushes that are applied at the same time."""
    sync_interval_s: float = 1.0
    """Time between two syncs of a shard's WAL; a crash loses at most this, and it is sent again."""
    follow_wait_s: float = 2.0
    """How long a call waits for a collection that the catalog has announced elsewhere already."""
    catch_up_wait_s: float = 5.0
    """How long a fragment waits for a shard that is behind the cut it is asked for."""
    rows_per_push_max: int = 1_000_000
    """Rows that a push may hold for one shard."""
    quarantine_list_max: int = 10_000
    """Quarantined records that are listed per shard where the caller states no limit."""
