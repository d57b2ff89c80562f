"""The controller's pure parts: placement, numbering, leases, changes, names."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.catalog import Collection, Node, Shard, Snapshot, Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.slots import SLOTS
from alder.v1 import catalog_pb2
from controller.changes import CatalogState, PutCollection, PutNode, RemoveCollection
from controller.leases import Leases
from controller.partitions import registered_files, registered_topic
from controller.placement import place_shards, shards_per_leaf
from controller.requests import check_create, sources, unknown_collection
from controller.settings import ControllerSettings

LEAVES = st.lists(st.sampled_from([f"leaf{n}" for n in range(9)]), min_size=1, unique=True)


@settings(deadline=None)
@given(
    st.integers(1, 300), LEAVES, st.dictionaries(st.sampled_from(["leaf0", "leaf3"]), st.just(7))
)
def test_placement_covers_all_slots_and_evens_out(
    shards: int, leaves: list[str], loads: dict[str, int]
) -> None:
    placed = place_shards(shards, leaves, loads)
    assert [shard.shard for shard in placed] == list(range(shards))
    assert [shard.slot_begin for shard in placed] == [0, *(s.slot_end for s in placed[:-1])]
    assert placed[-1].slot_end == SLOTS
    after = Counter(shard.leaf for shard in placed)
    totals = {leaf: loads.get(leaf, 0) + after[leaf] for leaf in leaves}
    for leaf in after:
        assert totals[leaf] <= min(totals.values()) + 1, "it was not the least loaded"
    assert place_shards(shards, reversed(leaves), loads) == placed


def test_placement_needs_a_leaf() -> None:
    with pytest.raises(ValueError, match="leaf"):
        place_shards(1, [], {})


def test_load_is_counted_over_collections() -> None:
    shards = (Shard(0, 0, 1, "a"), Shard(1, 1, 2, "b"), Shard(2, 2, 3, "a"))
    collections = [Collection("x", 1, shards=shards), Collection("y", 2, shards=shards[:1])]
    assert shards_per_leaf(collections) == {"a": 3, "b": 1}


FILES = st.lists(
    st.builds(SourcePartition, st.just(0), st.text("abcdef", min_size=1, max_size=2), st.just("i")),
    max_size=12,
)


@settings(deadline=None)
@given(st.lists(FILES, max_size=5))
def test_numbers_ascend_and_stay(rounds: list[list[SourcePartition]]) -> None:
    source = Source("file1", "file:///x")
    numbers: dict[str, int] = {}
    for found in rounds:
        source = registered_files(source, found)
        assert [entry.partition for entry in source.partitions] == list(
            range(len(source.partitions))
        )
        now = {entry.name: entry.partition for entry in source.partitions}
        assert numbers.items() <= now.items(), "a known file got another number"
        assert now.keys() == numbers.keys() | {entry.name for entry in found}
        numbers = now
        assert registered_files(source, found) is source


def test_a_changed_file_is_refused() -> None:
    source = registered_files(Source("file1", "u"), [SourcePartition(0, "a", "1")])
    with pytest.raises(AlderError, match="the file a changed") as caught:
        registered_files(source, [SourcePartition(0, "b", "1"), SourcePartition(0, "a", "2")])
    assert caught.value.reason is Reason.IDENTITY_CHANGED
    with pytest.raises(AlderError):
        registered_files(source, [SourcePartition(0, "b", "1"), SourcePartition(0, "b", "2")])


TOPIC = Source("kafka1", "kafka://a:9092/t")


def test_a_changed_file_that_is_read_again_is_a_partition_of_its_own() -> None:
    source = Source("file1", "u")
    for identity in ("1", "2", "2", "1"):
        found = [SourcePartition(0, "a", identity), SourcePartition(0, "b", "1")]
        source = registered_files(source, found, reread=True)
    assert source.partitions == (
        SourcePartition(0, "a", "1"),
        SourcePartition(1, "b", "1"),
        SourcePartition(2, "a", "2"),
    )
    assert [entry.partition for entry in source.current_partitions] == [1, 2]


def partitions(*begins: int) -> list[SourcePartition]:
    return [SourcePartition(number, begin_offset=begin) for number, begin in enumerate(begins)]


def test_a_topic_is_registered_whole_and_only_grows() -> None:
    first = registered_topic(TOPIC, "id", partitions(7, 0), 10)
    assert (first.topic_id, list(first.partitions)) == ("id", partitions(7, 0))
    assert registered_topic(first, "id", partitions(9, 9), 10) is first
    assert registered_topic(first, "id", partitions(9), 10) is first, "topics do not shrink"
    grown = registered_topic(first, "id", partitions(9, 9, 9), 10)
    assert list(grown.partitions) == partitions(7, 0, 0), "a later one is read from its beginning"


def test_another_topic_of_the_name_is_refused() -> None:
    known = registered_topic(TOPIC, "id", partitions(0), 10)
    with pytest.raises(AlderError, match="deleted and created again") as caught:
        registered_topic(known, "other", partitions(0), 10)
    assert caught.value.reason is Reason.IDENTITY_CHANGED


@pytest.mark.parametrize("numbers", [[], [1], [0, 2]])
def test_partitions_of_a_topic_have_no_gap(numbers: list[int]) -> None:
    with pytest.raises(AlderError, match="not those from 0 on"):
        registered_topic(TOPIC, "id", map(SourcePartition, numbers), 10)
    with pytest.raises(AlderError, match="at most 2 partitions"):
        registered_topic(TOPIC, "id", partitions(0, 0, 0), 2)


def test_leases_run_out_unless_renewed() -> None:
    leases = Leases(3.0).renewed(["a", "b"], 10.0).renewed(["b"], 11.0)
    assert leases.swept(12.9).ends_s.keys() == {"a", "b"}
    assert leases.swept(13.0).ends_s.keys() == {"b"}
    assert leases.swept(14.0).ends_s.keys() == set()
    assert leases.ended("b").ends_s.keys() == {"a"}
    assert leases.postponed(5.0).swept(17.9).ends_s.keys() == {"a", "b"}
    assert leases.holds("a")
    assert not leases.ended("a").holds("a")


def test_a_change_is_the_next_revision_and_leaves_the_old_state_alone() -> None:
    node = Node("n", catalog_pb2.NODE_ROLE_LEAF, "h:1")
    before = CatalogState(Snapshot(4, {"x": Collection("x", 1)}, {}), 2)
    after = before.applied(
        [RemoveCollection("x"), PutCollection(Collection("y", 2)), PutNode(node)]
    )
    assert after.snapshot.revision == 5
    assert after.next_collection_id == 3
    assert list(after.snapshot.collections) == ["y"]
    assert after.snapshot.nodes == {"n": node}
    assert list(before.snapshot.collections) == ["x"]
    assert after.applied([RemoveCollection("y")]).next_collection_id == 3
    dead = after.with_liveness(lambda node_id: False)
    assert not dead.snapshot.nodes["n"].live
    assert after.snapshot.nodes["n"].live


def test_sources_are_the_log_and_numbered_files() -> None:
    made = sources(["file:///a", "file:///b"], "id", 2)
    assert made == (
        Source("log", "log", "id", (SourcePartition(0), SourcePartition(1))),
        Source("file1", "file:///a"),
        Source("file2", "file:///b"),
    )


def test_an_unknown_name_brings_the_nearest() -> None:
    assert "did you mean flights?" in unknown_collection("fligths", ["planes", "flights"]).message
    assert "did you mean" not in unknown_collection("zzz", ["planes"]).message


def clustered(*cluster_by: str) -> catalog_pb2.CollectionSettings:
    return catalog_pb2.CollectionSettings(cluster_by_paths=cluster_by)


def indexed(*settings: tuple[str, str]) -> catalog_pb2.CollectionSettings:
    return catalog_pb2.CollectionSettings(
        indexes=[catalog_pb2.IndexSetting(path=path, kind=kind) for path, kind in settings]
    )


def of_keys(
    version_path: str = "", deleted_path: str = "", merge: bool = False, envelope: str = ""
) -> catalog_pb2.CollectionSettings:
    return catalog_pb2.CollectionSettings(
        version_path=version_path, deleted_path=deleted_path, merge=merge, envelope=envelope
    )


def kept(retain_us: int = 0, history_us: int = 0) -> catalog_pb2.CollectionSettings:
    return catalog_pb2.CollectionSettings(retain_us=retain_us, history_us=history_us)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ""}, Reason.INVALID_ARGUMENT),
        ({"name": "1a"}, Reason.INVALID_ARGUMENT),
        ({"name": "a-b"}, Reason.INVALID_ARGUMENT),
        ({"name": "a" * 64}, Reason.INVALID_ARGUMENT),
        ({"name": "ä"}, Reason.INVALID_ARGUMENT),
        ({"shards": -1}, Reason.INVALID_ARGUMENT),
        ({"shards": 4097}, Reason.INVALID_ARGUMENT),
        ({"log_partitions": -1}, Reason.INVALID_ARGUMENT),
        ({"key_path": "a\\x"}, Reason.INVALID_ARGUMENT),
        ({"key_path": "a", "shard_by_path": "b"}, Reason.INVALID_ARGUMENT),
        ({"time_path": "x" * 5_000}, Reason.LIMIT),
        ({"settings": clustered("a\\x")}, Reason.INVALID_ARGUMENT),
        ({"settings": clustered("a", "a")}, Reason.INVALID_ARGUMENT),
        ({"settings": clustered("")}, Reason.INVALID_ARGUMENT),
        ({"settings": clustered("_id")}, Reason.INVALID_ARGUMENT),
        ({"settings": clustered("_doc")}, Reason.INVALID_ARGUMENT),
        ({"settings": clustered(*"abcdefghi")}, Reason.LIMIT),
        ({"settings": indexed(("a", "bitmap"))}, Reason.INVALID_ARGUMENT),
        ({"settings": indexed(("a", ""))}, Reason.INVALID_ARGUMENT),
        ({"settings": indexed(("_time", "sorted"))}, Reason.INVALID_ARGUMENT),
        ({"settings": indexed(("a\\x", "none"))}, Reason.INVALID_ARGUMENT),
        ({"settings": indexed(("a", "none"), ("a", "terms"))}, Reason.INVALID_ARGUMENT),
        ({"settings": indexed(("a" * 5_000, "none"))}, Reason.LIMIT),
        ({"settings": indexed(*((f"p{n}", "none") for n in range(1_001)))}, Reason.LIMIT),
        ({"settings": kept(retain_us=59_999_999)}, Reason.INVALID_ARGUMENT),
        ({"settings": kept(retain_us=-60_000_000)}, Reason.INVALID_ARGUMENT),
        ({"settings": kept(history_us=1)}, Reason.INVALID_ARGUMENT),
        ({"settings": kept(history_us=1 << 62)}, Reason.INVALID_ARGUMENT),
        ({"settings": of_keys(version_path="v")}, Reason.INVALID_ARGUMENT),
        ({"settings": of_keys(deleted_path="d")}, Reason.INVALID_ARGUMENT),
        ({"settings": of_keys(merge=True)}, Reason.INVALID_ARGUMENT),
        ({"settings": of_keys(envelope="debezium")}, Reason.INVALID_ARGUMENT),
        ({"key_path": "k", "settings": of_keys(envelope="soap")}, Reason.INVALID_ARGUMENT),
        ({"key_path": "k", "settings": of_keys(version_path="a\\x")}, Reason.INVALID_ARGUMENT),
        (
            {"key_path": "k", "settings": of_keys(envelope="debezium", merge=True)},
            Reason.INVALID_ARGUMENT,
        ),
        (
            {"key_path": "k", "log_partitions": 2, "settings": of_keys(merge=True)},
            Reason.INVALID_ARGUMENT,
        ),
        ({"source_urls": ["http://x/y"]}, Reason.INVALID_ARGUMENT),
        ({"source_urls": ["file://relative/x"]}, Reason.INVALID_ARGUMENT),
        ({"source_urls": ["file:///"]}, Reason.INVALID_ARGUMENT),
        ({"source_urls": ["file:///a", "file:///a"]}, Reason.INVALID_ARGUMENT),
        ({"source_urls": ["file:///" + "a" * 5_000]}, Reason.LIMIT),
        ({"source_urls": [f"file:///{n}" for n in range(65)]}, Reason.LIMIT),
    ],
)
def test_what_can_not_be_a_collection(fields: dict[str, object], reason: Reason) -> None:
    request = catalog_pb2.CreateCollectionRequest(**{"name": "ok", **fields})
    with pytest.raises(AlderError) as caught:
        check_create(request, ControllerSettings())
    assert caught.value.reason is reason


def test_what_can_be_a_collection() -> None:
    request = catalog_pb2.CreateCollectionRequest(
        name="_A9",
        shards=4096,
        key_path="a.b\\.c",
        source_urls=["file:///a/*.jsonl"],
        settings=clustered("kind", "_time", "\\_id"),
    )
    check_create(request, ControllerSettings())
