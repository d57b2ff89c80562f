"""The catalog on disk: SQLite, one row per collection, definition and node, one revision for all.

Every change is one transaction that succeeds only at the revision it was made for, so that of two
writers that saw the same catalog one has to look again. The revision never goes back, over restarts
too. Whether a node lives is not stored: a controller that starts has to hear from it.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from alder.catalog import Collection, Node, Snapshot
from alder.definitions import Definition
from alder.errors import AlderError, Reason
from alder.v1 import catalog_pb2
from controller.changes import (
    CatalogState,
    Change,
    PutCollection,
    PutDefinition,
    PutNode,
    RemoveCollection,
    RemoveDefinition,
)

FIRST_REVISION: Final = 1
"""Not 0: a watcher that knows nothing asks for what is newer than 0."""
_BUSY_TIMEOUT_S: Final = 5.0
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS catalog (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    next_collection_id INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS collections (name TEXT PRIMARY KEY, message BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS nodes (node_id TEXT PRIMARY KEY, message BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS definitions (name TEXT PRIMARY KEY, message BLOB NOT NULL) STRICT;
INSERT OR IGNORE INTO catalog VALUES (1, {FIRST_REVISION}, 1);
"""


class CatalogStore:
    """One SQLite file. Calls block; they belong on one worker thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates it. Raises AlderError(UNAVAILABLE, CORRUPT) where it can't."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with _translated():
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)

    def load(self) -> CatalogState:
        """The newest state; every node counts as not live."""
        with _translated(), self._transaction("DEFERRED"):
            revision, next_collection_id = self._numbers()
            collections = {
                name: Collection.from_proto(catalog_pb2.Collection.FromString(message))
                for name, message in self._connection.execute(
                    "SELECT name, message FROM collections ORDER BY name"
                )
            }
            nodes = {
                node_id: Node.from_proto(catalog_pb2.Node.FromString(message))
                for node_id, message in self._connection.execute(
                    "SELECT node_id, message FROM nodes ORDER BY node_id"
                )
            }
            definitions = {
                name: Definition.from_proto(catalog_pb2.Definition.FromString(message))
                for name, message in self._connection.execute(
                    "SELECT name, message FROM definitions ORDER BY name"
                )
            }
        snapshot = Snapshot(revision, collections, nodes, definitions)
        return CatalogState(snapshot, next_collection_id)

    def commit(self, expected: CatalogState, changes: Sequence[Change]) -> CatalogState:
        """Makes the changes to ``expected`` and returns the state after them, which is on disk.

        Raises AlderError(CONFLICT) where the catalog is not at the revision of ``expected``.
        """
        following = expected.applied(changes)
        with _translated(), self._transaction("IMMEDIATE"):
            if self._numbers()[0] != expected.snapshot.revision:
                raise AlderError(Reason.CONFLICT, "the catalog changed meanwhile; try again")
            for change in changes:
                self._write(change)
            self._connection.execute(
                "UPDATE catalog SET revision = ?, next_collection_id = ?",
                (following.snapshot.revision, following.next_collection_id),
            )
        return following

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _numbers(self) -> tuple[int, int]:
        revision, next_collection_id = self._connection.execute(
            "SELECT revision, next_collection_id FROM catalog"
        ).fetchone()
        return int(revision), int(next_collection_id)

    def _write(self, change: Change) -> None:
        match change:
            case PutCollection(collection):
                self._connection.execute(
                    "INSERT OR REPLACE INTO collections VALUES (?, ?)",
                    (collection.name, collection.to_proto().SerializeToString()),
                )
            case RemoveCollection(name):
                self._connection.execute("DELETE FROM collections WHERE name = ?", (name,))
            case PutNode(node):
                known = catalog_pb2.Node(
                    node_id=node.node_id, role=node.role, address=node.address, live=False
                )
                self._connection.execute(
                    "INSERT OR REPLACE INTO nodes VALUES (?, ?)",
                    (node.node_id, known.SerializeToString()),
                )
            case PutDefinition(definition):
                self._connection.execute(
                    "INSERT OR REPLACE INTO definitions VALUES (?, ?)",
                    (definition.name, definition.to_proto().SerializeToString()),
                )
            case RemoveDefinition(name):
                self._connection.execute("DELETE FROM definitions WHERE name = ?", (name,))

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self._connection.execute(f"BEGIN {kind}")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise AlderError(
            Reason.UNAVAILABLE,
            f"the catalog's file can't be used ({error}); check its directory and the disk's space",
        ) from error
    except (sqlite3.Error, DecodeError) as error:
        raise AlderError(
            Reason.CORRUPT, f"the catalog's file is damaged ({error}); restore it from a copy"
        ) from error
