"""Functions of the engine that no text of a user may call, in a query or in a transformation."""

import re
from typing import Final

REFUSED: Final = frozenset(
    {
        "ago",
        "cast_to_type",
        "combine",
        "combine_aggr",
        "create_sort_key",
        "current_catalog",
        "current_connection_id",
        "current_database",
        "current_query",
        "current_query_id",
        "current_role",
        "current_schema",
        "current_schemas",
        "current_setting",
        "current_transaction_id",
        "current_user",
        "currval",
        "finalize",
        "format_pg_type",
        "get_block_size",
        "getvariable",
        "glob",
        "in_search_path",
        "index_key",
        "invoke",
        "map_to_pg_oid",
        "nextval",
        "parse_duckdb_log_message",
        "session_user",
        "setseed",
        "setval",
        "sleep_ms",
        "stats",
        "to_aggregate_state",
        "txid_current",
        "user",
        "vector_type",
        "which_secret",
        "write_log",
    }
)
"""Functions that tell about the server, change something or handle raw states."""
_REFUSED_KINDS: Final = re.compile(
    r"(__|pg_|has_|duckdb_|pragma_|icu_|collate_|inet_|read_|parquet_|query|sniff_|"
    r"json_(execute_serialized_sql|serialize|deserialize)|(col|obj|shobj)_description)"
)


def is_refused(name: str) -> bool:
    """True for a function, by its name in lower case, that is never available to users."""
    return name in REFUSED or _REFUSED_KINDS.match(name) is not None
