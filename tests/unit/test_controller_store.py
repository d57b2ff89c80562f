"""The catalog's file: what was committed is there, and only from the state it was made for."""

import sqlite3
from pathlib import Path

import pytest

from alder.catalog import Collection, CollectionSettings, Node, Shard, Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.indexing import IndexSetting
from alder.v1 import catalog_pb2
from controller.catalog_store import FIRST_REVISION, CatalogStore
from controller.changes import PutCollection, PutNode, RemoveCollection

FULL = Collection(
    "x",
    1,
    key_path="k",
    time_path="t",
    shard_by_path="s",
    settings=CollectionSettings(("a", "_time"), 7, 9, (IndexSetting("tags", "none"),)),
    sources=(Source("log", "log", "id", (SourcePartition(0), SourcePartition(1, "n", "i"))),),
    shards=(Shard(0, 0, 4096, "leaf1"),),
    epoch=3,
)
NODE = Node("leaf1", catalog_pb2.NODE_ROLE_LEAF, "h:1", live=True)


def test_a_new_catalog_is_empty_and_newer_than_nothing(tmp_path: Path) -> None:
    store = CatalogStore(tmp_path / "new" / "catalog.db")
    state = store.load()
    assert state.snapshot.revision == FIRST_REVISION > 0
    assert (state.snapshot.collections, state.snapshot.nodes) == ({}, {})


def test_commits_survive_a_restart(tmp_path: Path) -> None:
    store = CatalogStore(tmp_path / "c.db")
    state = store.commit(store.load(), [PutCollection(FULL), PutNode(NODE)])
    state = store.commit(state, [PutCollection(Collection("y", 2))])
    state = store.commit(state, [RemoveCollection("y")])
    store.close()
    again = CatalogStore(tmp_path / "c.db").load()
    assert again.snapshot.collections == {"x": FULL}
    assert again.snapshot.revision == state.snapshot.revision == FIRST_REVISION + 3
    assert again.next_collection_id == 3, "a number of a dropped collection is not used again"
    assert again.snapshot.nodes == {"leaf1": Node("leaf1", NODE.role, NODE.address, live=False)}


def test_of_two_writers_that_saw_the_same_one_has_to_look_again(tmp_path: Path) -> None:
    first, second = CatalogStore(tmp_path / "c.db"), CatalogStore(tmp_path / "c.db")
    seen = first.load()
    assert second.load() == seen
    first.commit(seen, [PutCollection(FULL)])
    with pytest.raises(AlderError) as caught:
        second.commit(seen, [PutCollection(Collection("y", 1))])
    assert caught.value.reason is Reason.CONFLICT
    newer = second.load()
    assert list(newer.snapshot.collections) == ["x"], "nothing of the refused change is there"
    second.commit(newer, [RemoveCollection("x")])
    assert first.load().snapshot.collections == {}


def test_a_file_that_is_no_catalog_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(AlderError) as caught:
        CatalogStore(path)
    assert caught.value.reason is Reason.CORRUPT


def test_a_damaged_row_is_reported(tmp_path: Path) -> None:
    store = CatalogStore(tmp_path / "c.db")
    store.commit(store.load(), [PutCollection(FULL)])
    store.close()
    connection = sqlite3.connect(tmp_path / "c.db")
    connection.execute("UPDATE collections SET message = X'FFFFFF'")
    connection.commit()
    connection.close()
    with pytest.raises(AlderError) as caught:
        CatalogStore(tmp_path / "c.db").load()
    assert caught.value.reason is Reason.CORRUPT


def test_a_path_that_can_not_be_opened_is_reported(tmp_path: Path) -> None:
    (tmp_path / "c.db").mkdir()
    with pytest.raises(AlderError) as caught:
        CatalogStore(tmp_path / "c.db")
    assert caught.value.reason is Reason.UNAVAILABLE
