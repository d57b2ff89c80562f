"""Clustered segments hold their rows in another order, and answer as others do."""

import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaf_model import Document, content, merge_now, rows_bytes

from alder.catalog import CollectionSettings
from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf.access import Condition, Scope, narrowed
from leaf.cache import PageCache
from leaf.check import Means, check_shard
from leaf.cluster import key_columns, row_order
from leaf.core import PushHeader
from leaf.engine import Cancellation, Engine
from leaf.fragmentmodel import FragmentTools
from leaf.kernels.kernels import Kernels
from leaf.partials import Partials
from leaf.seal import seal
from leaf.settings import LeafSettings
from leaf.shard import Shard

KINDS = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "string": pa.string()}
VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(width=16) | st.text(max_size=2)
Value = bool | int | float | str | None


def rank(value: Value) -> tuple[int, bool, float, bytes]:
    """The order as the documentation states it."""
    if value is None:
        return len(KINDS), False, 0, b""
    kind = list(KINDS).index("string" if isinstance(value, str) else type(value).__name__)
    if isinstance(value, str):
        return kind, False, 0, value.encode()
    nan = isinstance(value, float) and math.isnan(value)
    return kind, nan, 0.0 if nan else float(value), b""


def columns_of(path: str, values: Sequence[Value]) -> dict[str, pa.Array]:
    names = {"bool": bool, "int": int, "float": float, "string": str}
    return {
        f"{tag}:{path}": pa.array([v if type(v) is kind else None for v in values], KINDS[tag])
        for tag, kind in names.items()
    }


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=30), st.randoms())
def test_rows_are_in_the_order_that_is_documented(
    rows: list[tuple[Value, Value]], chance: random.Random
) -> None:
    births = np.asarray(chance.sample(range(100), len(rows)), dtype=np.int64)
    columns = {
        **columns_of("b", [row[1] for row in rows]),
        "list<int>:a": pa.nulls(len(rows), pa.list_(pa.int64())),
        **columns_of("a", [row[0] for row in rows]),
    }
    names = key_columns(["a", "b"], columns)
    assert names == [f"{tag}:{path}" for path in "ab" for tag in KINDS]
    order = row_order([columns[name] for name in names], births).to_pylist()
    expected = sorted(
        range(len(rows)), key=lambda n: (rank(rows[n][0]), rank(rows[n][1]), births[n])
    )
    assert order == expected


def opened(path: Path, keyed: bool, *cluster_by: str) -> Shard:
    kept = CollectionSettings(cluster_by_paths=cluster_by)
    return Shard(
        path / "1-c" / "0", 1, keyed, LeafSettings(merge_factor=3), PageCache(1 << 20), kept=kept
    )


def put(shard: Shard, documents: dict[int, Document | None], begin: int, keyed: bool) -> int:
    end = begin + len(documents)
    keys = {offset: f"k{offset % 17}" for offset in documents} if keyed else None
    header = PushHeader(1, 1, "log", 0, "t", begin, end)
    assert shard.apply(header, 1, rows_bytes(documents, keys), b"", False).accepted
    return end


def seal_now(shard: Shard) -> None:
    plan = shard.begin_seal()
    assert plan is not None
    tables = [chunk.table for chunk in plan.tail]
    shard.publish_seal(plan, seal(tables, plan.cluster_by, plan.indexes))
    shard.end_seal(plan)


def document(chance: random.Random) -> Document:
    return {"a": chance.choice([True, 3, 2.5, "x", "y", None]), "n": chance.randrange(1_000)}


@pytest.mark.parametrize("keyed", [False, True])
def test_clustering_changes_no_answer_at_any_cut(tmp_path: Path, keyed: bool) -> None:
    chance = random.Random(3)
    shards = [opened(tmp_path / "a", keyed, "a", "n"), opened(tmp_path / "b", keyed)]
    position = merges = 0
    for _ in range(40):
        rows = {position + n: document(chance) for n in range(chance.randrange(1, 30))}
        for shard in shards:
            end = put(shard, rows, position, keyed)
        position = end
        if chance.random() < 0.5:
            seal_now(shards[0])
            merges += merge_now(shards[0])
    assert merges >= 3
    seal_now(shards[0])
    clustered, plain = (shard.view for shard in shards)
    assert clustered.counters.digest == plain.counters.digest
    cuts = [PositionVector({("log", 0): chance.randrange(position + 5)}) for _ in range(20)]
    for cut in (None, *cuts):
        assert content(clustered, cut) == content(plain, cut)
    before = content(clustered)
    ascending = [(np.diff(segment.births()) > 0).all() for segment in clustered.segments]
    assert not all(ascending), "there was something to be clustered"
    shards[0].close()
    shards[0] = opened(tmp_path / "a", keyed, "a", "n")
    assert content(shards[0].view) == before
    for shard in shards:
        shard.close()


def test_equal_values_lie_together_and_a_row_is_found_by_its_identity(tmp_path: Path) -> None:
    shard = opened(tmp_path, False, "a")
    rows = {n: {"a": n % 7, "s": f"s{n}"} for n in range(20_000)}
    put(shard, rows, 0, False)
    seal_now(shard)
    (segment,) = shard.view.segments
    scope = Scope(shard.view.schema.fields, False, shard.view.streams)
    by_zones = segment.indexes("int:a")[-1].find("=", [3])
    assert by_zones is not None
    assert 20_000 / 7 <= by_zones.count <= 2 * 8_192, "zone maps leave pages out"
    for offset in (0, 9_999, 19_999):
        found = narrowed(segment, [Condition("_id", "=", (f"log/0/{offset}",))], scope)
        assert found.paths == ("births(_id)",)
        assert (found.count, found.exact) == (1, True)
        assert found.rows is not None
        assert segment.column("string:s", found.rows).to_pylist() == [f"s{offset}"]
    shard.close()


def test_check_index_finds_clustered_segments_sound(tmp_path: Path) -> None:
    shard = opened(tmp_path, False, "n")
    chance = random.Random(5)
    put(shard, {n: document(chance) for n in range(300)}, 0, False)
    seal_now(shard)
    engine = Engine(1 << 28)
    partials = Partials(1 << 20)
    tools = FragmentTools(engine, Kernels(engine, partials, 1 << 20, 1 << 20), partials, 1 << 28)
    checks = check_shard(0, shard.view, False, Means(tools, Cancellation(), lambda: False, 4, 1))
    verdicts = {check.path: check.verdict for check in checks}
    assert "hash pages" in verdicts
    assert set(verdicts.values()) == {leaf_pb2.INDEX_VERDICT_EQUAL}, checks
    engine.close()
    shard.close()
