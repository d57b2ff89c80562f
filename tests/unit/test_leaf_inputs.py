"""Tables that come along with a fragment are joined with the rows, and with nothing else."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from kernels_model import Asker, documents, sealed, with_rows
from leaf_model import bound

from alder.arrow import join_chunks, to_bytes
from alder.errors import AlderError, Reason
from alder.v1 import leaf_pb2
from leaf.inputs import engine_inputs
from leaf.service import Leaf

COLUMNS = [bound("c0", "word", "VARCHAR", "string"), bound("c1", "n", "BIGINT", "int")]
JOINED = (
    "SELECT count_star() EXPORT_STATE AS a, sum(c1) EXPORT_STATE AS s, "
    "max(weight) EXPORT_STATE AS m FROM rows AS r JOIN words AS w ON r.c0 = w.word"
)


def input_of(name: str, rows: pa.Table, sql_types: Iterable[str] = ()) -> leaf_pb2.InputTable:
    kinds = list(sql_types) or [""] * rows.num_columns
    return leaf_pb2.InputTable(
        name=name,
        columns=[
            leaf_pb2.InputColumn(name=column, sql_type=kind)
            for column, kind in zip(rows.column_names, kinds, strict=True)
        ],
        rows=to_bytes(rows),
    )


async def run(leaf: Leaf, fragment: leaf_pb2.Fragment) -> tuple[pa.Table, leaf_pb2.ShardScan]:
    request = leaf_pb2.FragmentRequest(
        collection="c", collection_id=1, epoch=1, shards=[0], fragment=fragment, latest=True
    )
    parts, scans = [], []
    async for response in leaf.execute(request, timeout_s=30):
        parts.append(response.arrow)
        scans.extend(response.trailer.shards)
    return join_chunks(parts), scans[0]


def test_rows_are_joined_with_an_input_and_partials_know_its_content(tmp_path: Path) -> None:
    rows = documents(900)

    def expected(words: dict[str, int]) -> tuple[int, int, int]:
        met = [row for row in rows if row["word"] in words]
        sums = sum(row["n"] for row in met if row["n"] is not None)
        return len(met), sums, max(words[row["word"]] for row in met)

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        hits = []
        some = {f"w{number}": number for number in range(0, 900, 7)}
        for words in (some, some, {word: number for word, number in some.items() if number % 3}):
            table = pa.table({"word": list(words), "weight": pa.array(words.values(), pa.int64())})
            fragment = leaf_pb2.Fragment(
                sql=JOINED,
                columns=COLUMNS,
                partial_aggregate=True,
                inputs=[input_of("words", table)],
            )
            result, scan = await run(leaf, fragment)
            hits.append(scan.partials_hits)
            assert sum(result.column("a").to_pylist()) == expected(words)[0]
            assert (
                sum(int(v) for v in result.column("s").to_pylist() if v is not None)
                == (expected(words)[1])
            )
            assert max(v for v in result.column("m").to_pylist() if v) == expected(words)[2]
        assert not hits[0]
        assert hits[1] > 0
        assert not hits[2], "another input is another fragment"

    with_rows(tmp_path, [rows[:600], rows[600:]], body, seal_rows=400)


def test_an_input_filters_rows_beside_the_indexes_and_keeps_its_types(tmp_path: Path) -> None:
    rows = documents(300)

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        words = sorted(row["word"] for row in rows if row["word"])[:2]
        keys = pa.table({"k": [*words, None, "nowhere"]})
        fragment = leaf_pb2.Fragment(
            sql="SELECT c0, c1, (SELECT any_value(typeof(v)) FROM other) AS t FROM rows "
            "WHERE c0 IN (SELECT k FROM keys)",
            columns=COLUMNS,
            terms=[leaf_pb2.Term(path="word", operator="in", values_json=map(json.dumps, words))],
            inputs=[
                input_of("keys", keys),
                input_of("other", pa.table({"v": ["1"]}), ["HUGEINT"]),
            ],
        )
        result, scan = await run(leaf, fragment)
        found = sorted(
            zip(*(result.column(n).to_pylist() for n in ("c0", "c1")), strict=True), key=repr
        )
        wanted = [(r["word"], r["n"]) for r in rows if r["word"] in words]
        assert found == sorted(wanted, key=repr)
        assert scan.rows_scanned < scan.rows_total
        assert set(result.column("t").to_pylist()) == {"HUGEINT"}
        # Nothing of it is left for the next query.
        with pytest.raises(AlderError, match="keys"):
            await run(leaf, leaf_pb2.Fragment(sql="SELECT * FROM keys", columns=COLUMNS))

    with_rows(tmp_path, [rows], body, seal_rows=200)


def test_only_rows_with_one_of_the_keys_pass(tmp_path: Path) -> None:
    rows = documents(300)

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        words = sorted(row["word"] for row in rows if row["word"])[:50]
        numbers = [row["n"] for row in rows if row["n"] is not None and row["n"] > 0]
        filters = [
            leaf_pb2.KeyFilter(column=column, sql_type=kind, keys=to_bytes(pa.table({"k": keys})))
            for column, kind, keys in (("c0", "VARCHAR", words), ("c1", "BIGINT", numbers))
        ]
        fragment = leaf_pb2.Fragment(
            sql="SELECT c0, c1 FROM rows", columns=COLUMNS, key_filters=filters
        )
        result, _ = await run(leaf, fragment)
        found = list(zip(*(column.to_pylist() for column in result.columns), strict=True))
        wanted = [(r["word"], r["n"]) for r in rows if r["word"] in words and r["n"] in numbers]
        assert sorted(found) == sorted(wanted)
        assert 0 < len(found) < len(rows)

    with_rows(tmp_path, [rows], body, seal_rows=200)


def test_inputs_are_bounded_and_have_names_of_their_own() -> None:
    table = pa.table({"k": list(range(1000))})
    with pytest.raises(AlderError, match="filter more") as caught:
        engine_inputs(
            leaf_pb2.Fragment(inputs=[input_of("a", table), input_of("b", table)]), 12_000
        )
    assert caught.value.reason is Reason.LIMIT
    wrong = input_of("a", table)
    wrong.columns[0].name = "other"
    for bad in ([input_of("rows", table)], [input_of("a", table)] * 2, [wrong]):
        with pytest.raises(AlderError) as caught:
            engine_inputs(leaf_pb2.Fragment(inputs=bad), 1 << 20)
        assert caught.value.reason is Reason.INVALID_ARGUMENT
    broken = input_of("a", table)
    broken.rows = broken.rows[:-20]
    with pytest.raises(AlderError) as caught:
        engine_inputs(leaf_pb2.Fragment(inputs=[broken]), 1 << 20)
    assert caught.value.reason is Reason.CORRUPT
