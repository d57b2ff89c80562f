"""The store: bounded scans, atomic batches, errors instead of silence."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.errors import AlderError, Reason
from alder.rocks import FamilyOptions, Store, file_bytes, prefix_end

FAMILIES = {
    "a": FamilyOptions(),
    "b": FamilyOptions(blobs=True, blob_size_bytes_min=100, blobs_compressed=True),
}
KEYS = st.binary(min_size=1, max_size=4)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store"), FAMILIES)
    yield store
    store.close()


def put(store: Store, family: str, entries: dict[bytes, bytes]) -> None:
    batch = store.batch()
    for key, value in entries.items():
        batch.put(family, key, value)
    store.write(batch, sync=True)


def clear(store: Store) -> None:
    batch = store.batch()
    for family in FAMILIES:
        batch.delete_range(family, b"", b"\xff" * 20)
    store.write(batch)


@settings(deadline=None)
@given(st.dictionaries(KEYS, st.binary(max_size=300), max_size=30), KEYS, KEYS, st.data())
def test_reads_agree_with_a_sorted_map(
    shared: Store, entries: dict[bytes, bytes], begin: bytes, end: bytes, data: st.DataObject
) -> None:
    clear(shared)
    put(shared, "b", entries)
    ordered = sorted(entries.items())
    assert list(shared.scan("b")) == ordered
    assert list(shared.scan("a")) == []
    assert list(shared.scan("b", begin)) == [e for e in ordered if e[0] >= begin]
    assert list(shared.scan("b", begin, end)) == [e for e in ordered if begin <= e[0] < end]
    asked = [begin, end, *data.draw(st.permutations(sorted(entries)))]
    assert shared.get_many("b", asked) == [entries.get(key) for key in asked]
    assert [shared.get("b", key) for key in asked] == [entries.get(key) for key in asked]
    prefix = begin[:1]
    under = [entry for entry in ordered if entry[0].startswith(prefix)]
    assert shared.last("b", prefix) == (under[-1] if under else None)
    below = [entry for entry in ordered if entry[0] <= end]
    found = below[-1] if below and below[-1][0].startswith(prefix) else None
    assert shared.floor("b", end, prefix) == found


@settings(deadline=None)
@given(st.dictionaries(KEYS, st.just(b"v"), min_size=1, max_size=30), KEYS, KEYS)
def test_ranges_and_keys_are_removed(
    shared: Store, entries: dict[bytes, bytes], begin: bytes, end: bytes
) -> None:
    clear(shared)
    put(shared, "a", entries)
    gone = min(entries)
    batch = shared.batch()
    batch.delete("a", gone)
    if begin < end:
        batch.delete_range("a", begin, end)
    assert len(list(shared.scan("a"))) == len(entries), "nothing happens before the write"
    shared.write(batch)
    left = {key for key in entries if key != gone and not begin <= key < end}
    assert {key for key, _ in shared.scan("a")} == left


@settings(deadline=None)
@given(KEYS, KEYS)
def test_the_end_of_a_prefix(prefix: bytes, key: bytes) -> None:
    end = prefix_end(prefix)
    inside = key >= prefix and (end is None or key < end)
    assert inside == key.startswith(prefix)


def test_a_store_keeps_what_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", FAMILIES)
    put(store, "b", {b"big": b"x" * 100_000, b"small": b"y"})
    store.close()
    store = Store(tmp_path / "s", FAMILIES, strict_wal=True)
    assert store.get("b", b"big") == b"x" * 100_000
    assert store.get_many("b", [b"small", b"none"]) == [b"y", None]
    assert store.get_many("b", []) == []
    assert store.size_bytes() > 0
    store.close()


def test_a_filter_hides_no_key_of_files_with_and_without_one(tmp_path: Path) -> None:
    for number, filtered in enumerate((False, True, False)):
        store = Store(tmp_path, {"a": FamilyOptions(filtered=filtered)})
        put(store, "a", {b"%d" % key: b"x" for key in range(number, 3000, 3)})
        store.flush("a")
        keys = [b"%d" % key for key in range(6000)]
        there = [key < 3000 and key % 3 <= number for key in range(6000)]
        assert [value == b"x" for value in store.get_many("a", keys)] == there
        store.close()


def test_a_store_is_open_once(tmp_path: Path) -> None:
    store = Store(tmp_path, FAMILIES)
    with pytest.raises(AlderError) as caught:
        Store(tmp_path, FAMILIES)
    assert caught.value.reason is Reason.UNAVAILABLE
    store.close()
    Store(tmp_path, FAMILIES).close()


def test_a_scan_may_be_left_half_way(tmp_path: Path) -> None:
    store = Store(tmp_path, FAMILIES)
    put(store, "a", {b"%d" % n: b"v" for n in range(10)})
    scan = store.scan("a")
    assert next(scan) == (b"0", b"v")
    scan.close()
    store.close()
    Store(tmp_path, FAMILIES).close()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path, FAMILIES)
    batch = store.batch()
    store.close()
    for use in (
        store.sync,
        lambda: store.write(batch),
        lambda: batch.put("a", b"k", b"v"),
        lambda: store.get("a", b"k"),
        lambda: store.get_many("a", [b"k"]),
        lambda: list(store.scan("a")),
        lambda: store.last("a", b"k"),
    ):
        with pytest.raises(AlderError) as caught:
            use()
        assert caught.value.reason is Reason.UNAVAILABLE


def damaged(path: Path) -> Store:
    """A store of one family whose table files are damaged in the middle of the data."""
    store = Store(path, {"a": FamilyOptions(compressed=False)})
    put(store, "a", {b"k%03d" % n: b"v" * 100 for n in range(100)})
    store.close()
    table = max(path.glob("*.sst"), key=lambda file: file.stat().st_size)
    data = bytearray(table.read_bytes())
    data[2_000] ^= 0xFF
    table.write_bytes(data)
    return Store(path, {"a": FamilyOptions(compressed=False)})


def test_damage_is_an_error_in_every_kind_of_read(tmp_path: Path) -> None:
    store = damaged(tmp_path)
    for read in (
        lambda: list(store.scan("a")),
        lambda: store.get("a", b"k005"),
        lambda: store.get_many("a", [b"k005"]),
        lambda: store.last("a", b"k0"),
        lambda: store.floor("a", b"k005", b"k"),
    ):
        with pytest.raises(AlderError) as caught:
            read()
        assert caught.value.reason is Reason.CORRUPT
    store.close()


@pytest.mark.parametrize("strict", [False, True])
def test_a_damaged_write_ahead_log(tmp_path: Path, strict: bool) -> None:
    store = Store(tmp_path / "s", FAMILIES)
    for number in range(10):
        put(store, "a", {b"%d" % number: b"v" * 1_000})
    crashed = shutil.copytree(tmp_path / "s", tmp_path / "crashed")
    store.close()
    wal = max(crashed.glob("*.log"), key=lambda file: file.stat().st_size)
    data = bytearray(wal.read_bytes())
    data[5_500] ^= 0xFF
    wal.write_bytes(data)
    if strict:
        with pytest.raises(AlderError) as caught:
            Store(crashed, FAMILIES, strict_wal=True)
        assert caught.value.reason is Reason.CORRUPT
    else:
        store = Store(crashed, FAMILIES)
        kept = [key for key, _ in store.scan("a")]
        store.close()
        assert kept == [b"%d" % number for number in range(len(kept))]
        assert 0 < len(kept) < 10


def test_an_incomplete_last_write_is_no_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", FAMILIES)
    for number in range(10):
        put(store, "a", {b"%d" % number: b"v" * 1_000})
    crashed = shutil.copytree(tmp_path / "s", tmp_path / "crashed")
    store.close()
    wal = max(crashed.glob("*.log"), key=lambda file: file.stat().st_size)
    wal.write_bytes(wal.read_bytes().rstrip(b"\x00")[:-500])
    store = Store(crashed, FAMILIES, strict_wal=True)
    assert [key for key, _ in store.scan("a")] == [b"%d" % number for number in range(9)]
    store.close()


def test_a_file_that_is_gone_has_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert [file_bytes(tmp_path / "f"), file_bytes(tmp_path), file_bytes(tmp_path / "g")] == [
        3,
        0,
        0,
    ]


def test_a_family_that_is_hardly_written_does_not_keep_the_log_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alder.rocks._WAL_BYTES_MAX", 1 << 20)
    families = {name: FamilyOptions(write_buffer_bytes=256 << 10) for name in ("busy", "quiet")}
    store = Store(tmp_path / "s", families)
    put(store, "quiet", {b"k": b"v"})
    for number in range(160):
        put(store, "busy", {number.to_bytes(4, "big"): os.urandom(64 << 10)})
        logs = sum(map(file_bytes, (tmp_path / "s").glob("*.log")))
        assert logs <= 3 << 20
    assert store.get("quiet", b"k") == b"v"
    store.close()
