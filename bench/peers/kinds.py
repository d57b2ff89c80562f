"""All peers, by name, in the order of the tables."""

from typing import Final

from bench.peers.base import Peer
from bench.peers.chdb import ChDb
from bench.peers.duckdb import DuckDbJson, DuckDbTyped
from bench.peers.opensearch import OpenSearch
from bench.peers.postgres import Postgres
from bench.peers.sqlite import Sqlite
from bench.peers.tantivy import Tantivy

KINDS: Final[dict[str, type[Peer]]] = {
    kind.name: kind
    for kind in (ChDb, DuckDbTyped, DuckDbJson, Sqlite, Tantivy, Postgres, OpenSearch)
}
