"""Searches over shards, sealed, live and merged, with and without an index of words."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from leaf_model import Document
from test_leaf_cluster import merge_now, put, seal_now
from test_words import words_of
from text_model import SEPARATORS, VOCABULARY, places

from aggregator.functions.textquery import Words
from alder import words
from alder.catalog import CollectionSettings
from alder.indexing import IndexSetting
from alder.v1 import leaf_pb2
from leaf.cache import PageCache
from leaf.check import Means, check_shard
from leaf.engine import Cancellation, Engine
from leaf.fragment import run_fragment
from leaf.fragmentmodel import FragmentMode, FragmentTools
from leaf.indexes.text import PATH
from leaf.kernels.kernels import Kernels
from leaf.partials import Partials
from leaf.settings import LeafSettings
from leaf.shard import Shard

SEARCHES = ["a", "ab", "abc*", "e*", "ecole", "日本", "a b", "x1 a*", "nothing"]


def opened(path: Path, keyed: bool, cache: PageCache) -> Shard:
    kept = CollectionSettings(indexes=(IndexSetting("t", "text"),))
    return Shard(path / "1-c" / "0", 1, keyed, LeafSettings(merge_factor=3), cache, kept=kept)


def tools() -> FragmentTools:
    engine, partials = Engine(1 << 28), Partials(1 << 20)
    return FragmentTools(engine, Kernels(engine, partials, 1 << 20, 1 << 20), partials, 1 << 28)


def document(chance: random.Random) -> Document:
    text = "".join(chance.choices([*VOCABULARY, *SEPARATORS * 2], k=chance.randrange(9)))
    return {"t": chance.choice([text, text, text, "a b", None]), "n": chance.randrange(9)}


def fragment(wanted: Sequence[str], counted: bool) -> leaf_pb2.Fragment:
    """The rows whose text holds any of these words in a row, or their number."""
    searches = [words.of_written(one) for one in wanted]
    condition = " OR ".join(f"({words.holds_sql('c0', *one)})" for one in searches)
    item = "count_star() EXPORT_STATE AS n" if counted else "c1 AS n"
    made = leaf_pb2.Fragment(
        sql=f"SELECT {item} FROM rows WHERE {condition}",
        columns=[
            leaf_pb2.ColumnBinding(name="c0", path="t", sql_type="VARCHAR", types=["string"]),
            leaf_pb2.ColumnBinding(name="c1", path="_offset", sql_type="BIGINT"),
        ],
        terms=[
            leaf_pb2.Term(
                path="t",
                operator=words.OPERATOR,
                values_json=[json.dumps(one, ensure_ascii=False) for one in wanted],
            )
        ],
    )
    if counted:
        made.partial_aggregate = True
        made.aggregation.aggregates.add(name="n", function="count_star")
        value = leaf_pb2.RowValue(columns=["c0"], sql=condition)
        made.aggregation.conditions.append(leaf_pb2.RowCondition(value=value))
    return made


@pytest.mark.parametrize("keyed", [False, True])
def test_a_search_finds_what_the_living_documents_hold(tmp_path: Path, keyed: bool) -> None:
    chance, means = random.Random(4), tools()
    cache = PageCache(1 << 20)
    shards = {n: opened(tmp_path / str(n), keyed, cache) for n in range(2)}
    alive: list[dict[object, tuple[int, object]]] = [{}, {}]
    merges = 0
    positions = [0, 0]
    for step in range(30):
        for number, shard in shards.items():
            begin = positions[number]
            rows = {begin + n: document(chance) for n in range(chance.randrange(1, 12))}
            positions[number] = put(shard, rows, begin, keyed)
            for offset, row in rows.items():
                key = f"k{offset % 17}" if keyed else offset
                alive[number][key] = (offset, row["t"])
            if chance.random() < 0.5:
                seal_now(shard)
                merges += merge_now(shard)
        if step % 10 != 9:
            continue
        views = {number: shard.view for number, shard in shards.items()}
        for wanted in [*([one] for one in SEARCHES), ["a b", "ecole"]]:
            searches = [Words(*words.of_written(one)) for one in wanted]
            expected = sorted(
                offset
                for rows_alive in alive
                for offset, text in rows_alive.values()
                if isinstance(text, str) and any(places(words_of(text), one) for one in searches)
            )
            for memoise in (False, True):
                mode = FragmentMode(memoise=memoise)
                arguments = (None, keyed, means, Cancellation(), mode)
                found = run_fragment(views, fragment(wanted, False), *arguments)
                assert sorted(found.table.column("n").to_pylist()) == expected
                counted = run_fragment(views, fragment(wanted, True), *arguments).table.column("n")
                assert sum(counted.to_pylist()) == len(expected), wanted
            if any(view.segments for view in views.values()):
                paths = {path for scan in found.scans for path in scan.access_paths}
                assert paths <= {f"{PATH}(t)", "absence(t)"}
                assert paths
    assert merges
    for number, shard in shards.items():
        checks = check_shard(
            number, shard.view, keyed, Means(means, Cancellation(), lambda: False, 4, 1)
        )
        verdicts = {check.path: check.verdict for check in checks}
        assert verdicts[PATH] == leaf_pb2.INDEX_VERDICT_EQUAL, checks
        shard.close()
    means.engine.close()
