"""Replicas of keyed collections beside a plain model, in any batches and interleavings."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from keyed_model import Document, Fed, Log, Model, Record, patched, random_log

from alder.catalog import CollectionSettings
from alder.positions import PositionVector
from leaf.patches import merged

KINDS = {
    "log order": CollectionSettings(),
    "versions": CollectionSettings(version_path="v", deleted_path="gone"),
    "patches": CollectionSettings(merge=True, deleted_path="gone"),
    "patches with versions": CollectionSettings(version_path="v", merge=True, deleted_path="gone"),
}
RECORDS = 200
VICTIM = Path(__file__).parent / "keyed_victim.py"


def fed(path: Path, settings: CollectionSettings, log: Log, chance: random.Random) -> Fed:
    replica = Fed(path, settings, log)
    while any(replica.positions()[stream] < len(log[stream]) for stream in log):
        replica.push(chance.choice(list(log)), chance.choice([1, 3, 10, 50]))
        replica.shake(chance)
    return replica


def check(replica: Fed, model: Model, chance: random.Random) -> None:
    for _ in range(15):
        cut = PositionVector({s: chance.randrange(len(r) + 1) for s, r in model.log.items()})
        assert replica.rows(cut) == model.at(cut)
    whole = PositionVector({stream: len(records) for stream, records in model.log.items()})
    assert replica.rows(whole) == model.at(whole)
    quarantine = replica.shard.quarantine
    records = [one for s, r in model.log.items() for one in quarantine.between(s, 0, len(r))]
    assert [one for one in records if "exceeds the limit" not in one.reason] == []
    assert len(records) == model.refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_replicas_are_what_the_model_says_and_alike(tmp_path: Path, kind: str, seed: int) -> None:
    chance = random.Random(f"{kind} {seed}")
    log = random_log(chance, RECORDS, KINDS[kind])
    model = Model(KINDS[kind], log)
    digests = set()
    for name in ("one", "two"):
        replica = fed(tmp_path / name / "0", KINDS[kind], log, chance)
        try:
            check(replica, model, chance)
            counters = replica.shard.view.counters
            digests.add((counters.digest, counters.rows_born, counters.quarantined))
        finally:
            replica.shard.close()
    assert len(digests) == 1


@pytest.mark.parametrize("kind", ["versions", "patches with versions"])
def test_a_killed_replica_goes_on_as_if_it_had_not_been(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    log = random_log(random.Random(7), 4 * RECORDS, KINDS[kind])
    path = tmp_path / "killed" / "0"
    command = [sys.executable, str(VICTIM), str(path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        for _ in range(20):
            victim.stdout.readline()
        victim.kill()
    killed = fed(path, KINDS[kind], log, chance)
    whole = fed(tmp_path / "whole" / "0", KINDS[kind], log, chance)
    try:
        check(killed, Model(KINDS[kind], log), chance)
        assert killed.shard.view.counters.digest == whole.shard.view.counters.digest
    finally:
        killed.shard.close()
        whole.shard.close()


CASES: list[tuple[object, object]] = [
    ({"a": "b"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}), ({"a": "b"}, {"a": None}),
    ({"a": "b", "b": "c"}, {"a": None}), ({"a": ["b"]}, {"a": "c"}), ({"a": "c"}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}), ({"a": [{"b": "c"}]}, {"a": [1]}),
    (["a", "b"], ["c", "d"]), ({"a": "b"}, ["c"]), ({"a": "foo"}, None), ({"a": "foo"}, "bar"),
    ({"e": None}, {"a": 1}), ([1, 2], {"a": "b", "c": None}), ({}, {"a": {"bb": {"ccc": None}}}),
]  # fmt: skip
"""The examples of RFC 7396, appendix A."""
RESULTS: list[object] = [
    {"a": "c"}, {"a": "b", "b": "c"}, {}, {"b": "c"}, {"a": "c"}, {"a": ["b"]},
    {"a": {"b": "d"}}, {"a": [1]}, ["c", "d"], ["c"], None, "bar",
    {"e": None, "a": 1}, {"a": "b"}, {"a": {"bb": {}}},
]  # fmt: skip


@pytest.mark.parametrize(("case", "result"), list(zip(CASES, RESULTS, strict=True)))
def test_the_examples_of_the_rfc(case: tuple[object, object], result: object) -> None:
    assert patched(*case) == result
    assert merged(*case) == result


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    big = '{"id":"k","i":123456789012345678901234567890,"f":1.10,"e":1e400}'
    patch = '{"id":"k","j":-0.0}'

    class Text(Record):
        @property
        def value(self) -> bytes:
            return big.encode() if self.time_us == 1 else patch.encode()

    document: Document = {}
    log: Log = {("log", 0): [Text(1, "k", document), Text(2, "k", document)]}
    replica = Fed(tmp_path / "x" / "0", KINDS["patches"], log)
    try:
        replica.push(("log", 0), 2)
        (chunk,) = replica.shard.view.tail
        found = chunk.table.column("_doc").to_pylist()
        assert found == [big, big[:-1] + ',"j":-0.0}']
    finally:
        replica.shard.close()
