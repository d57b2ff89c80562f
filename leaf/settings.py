"""Limits and sizes of a leaf."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeafSettings:
    """Defaults suit one leaf of a few gigabytes of memory."""

    seal_rows: int = 65_536
    """Rows of live tail from which on they are sealed into a segment."""
    seal_bytes: int = 64 << 20
    """Bytes of live tail from which on they are sealed, whatever their number."""
    seal_age_s: float = 60.0
    """Age of the live tail from which on it is sealed, if it has ``seal_rows_min`` rows."""
    seal_rows_min: int = 1024
    """Rows below which the live tail is never sealed for its age."""
    merge_factor: int = 8
    """Segments of about the same size that are merged into one; 0: none are."""
    segment_rows_max: int = 1 << 20
    """Rows that a segment may get by merging."""
    segment_bytes_max: int = 256 << 20
    """Bytes on disk that a segment may get by merging."""
    merge_rest_s: float = 10.0
    """Time without new rows after which segments of different sizes are merged, too."""
    merge_retry_s: float = 60.0
    """Time after which a merge that failed is tried again."""
    tail_bytes_max: int = 256 << 20
    """Bytes of live tail of all shards together from which on pushes wait for the sealing."""
    room_wait_s: float = 20.0
    """How long a push waits for the sealing before it is refused."""
    seal_workers: int = 1
    """Processes that seal; the first is started with the leaf."""
    cache_bytes: int = 256 << 20
    """Decoded pages that are kept for queries."""
    codes_bytes: int = 256 << 20
    """Codes and numbers of columns that are kept for the kernels."""
    dictionary_bytes: int = 256 << 20
    """Distinct values that the kernels' codes stand for."""
    partials_bytes: int = 128 << 20
    """Partial aggregates of sealed segments that are kept for queries that come again."""
    stored_partials_bytes: int = 4 << 30
    """Bytes on disk of partials of accelerated views; what goes beyond is computed when asked."""
    accelerate_every_s: float = 10.0
    """Time between two looks for partials of accelerated views that no longer fit their rows."""
    block_cache_bytes: int = 32 << 20
    """Blocks of RocksDB that all shards of a process keep."""
    write_buffers_bytes: int = 128 << 20
    """What all shards of a process may hold in RocksDB's write buffers; beyond it they flush."""
    query_threads: int = 4
    """Fragments that run at the same time; others wait their turn."""
    query_memory_bytes: int = 2 << 30
    """Memory of one fragment's engine."""
    scan_bytes_max: int = 4 << 30
    """Columns that one fragment may gather."""
    input_bytes_max: int = 32 << 20
    """Tables that may come along with one fragment."""
    apply_threads: int = 2
    """Pushes that are applied at the same time."""
    sync_interval_s: float = 1.0
    """Time between two syncs of a shard's WAL; a crash loses at most this, of a bulk load what is
    not sealed, and it is sent again."""
    disk_free_bytes_min: int = 256 << 20
    """Free bytes on the disk below which no rows are taken; queries go on."""
    retry_s: float = 5.0
    """Time between two attempts to open a shard, or to go on after a write that failed."""
    repair_retry_s: float = 300.0
    """Time before a shard that was searched for damage is searched again."""
    follow_wait_s: float = 2.0
    """How long a call waits for a collection that the catalog has announced elsewhere already."""
    catch_up_wait_s: float = 5.0
    """How long a fragment waits for a shard that is behind the cut it is asked for."""
    rows_per_push_max: int = 1_000_000
    """Rows that a push may hold for one shard."""
    quarantine_list_max: int = 1_000
    """Quarantined records of a shard that are in one page of their list."""
    quarantine_listed_bytes_max: int = 4 << 10
    """Beginning of a quarantined record that is in a list; one record alone is shown whole."""
    check_time_s_max: float = 60.0
    """How long a check of indexes may run; it then says what it has not compared."""
    check_values_max: int = 16
    """Values per field and segment of which a check of indexes makes predicates."""
