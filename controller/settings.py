"""The controller's defaults and limits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Times in seconds. The limits keep a snapshot well within one gRPC message."""

    lease_s: float = 3.0
    shards_default: int = 1
    log_partitions_default: int = 4
    leaf_wait_s_default: float = 10.0
    collections_max: int = 1_000
    sources_max: int = 64
    cluster_by_max: int = 8
    index_settings_max: int = 1_000
    definitions_max: int = 1_000
    versions_max: int = 256
    definition_bytes_max: int = 65_536
    view_depth_max: int = 16
    files_max: int = 100_000
    skipped_ranges_max: int = 1_000
    nodes_max: int = 10_000
    snapshot_bytes_max: int = 48 << 20
    text_characters_max: int = 4_096
