"""Groups that are asked for beside the first ones come, whatever the leaf has of them in memory."""

from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pytest
from kernels_model import Asker, append, documents, sealed, with_rows
from leaf_model import Document

from alder.arrow import join_chunks, to_bytes
from alder.v1 import leaf_pb2
from leaf.service import Leaf

Answer = tuple[dict[tuple[object, ...], int], leaf_pb2.FragmentTrailer]


async def answer(
    leaf: Leaf, plan: leaf_pb2.Fragment, memoise: bool, wanted: leaf_pb2.WantedGroups
) -> tuple[pa.Table, leaf_pb2.FragmentTrailer]:
    """What a leaf sends."""
    request = leaf_pb2.FragmentRequest(
        collection="c",
        collection_id=1,
        epoch=1,
        shards=[0],
        fragment=plan,
        latest=True,
        no_memoised_partials=not memoise,
        no_direct_lookup=True,
        groups=wanted,
    )
    parts, trailer = [], leaf_pb2.FragmentTrailer()
    async for response in leaf.execute(request, timeout_s=30):
        parts.append(response.arrow)
        trailer.MergeFrom(response.trailer)
    return join_chunks(parts), trailer


async def ask(
    leaf: Leaf, plan: leaf_pb2.Fragment, memoise: bool, wanted: leaf_pb2.WantedGroups
) -> Answer:
    """What a leaf sends of its groups, by their keys, and the trailer."""
    table, trailer = await answer(leaf, plan, memoise, wanted)
    columns = [column.to_pylist() for column in table.columns]
    rows = list(zip(*columns, strict=True))
    assert len({row[:-1] for row in rows}) == len(rows)
    return {row[:-1]: row[-1] for row in rows}, trailer


def totals(rows: list[Document], keys: tuple[str, ...], summed: str) -> dict[tuple, int | None]:
    found: dict[tuple, list[int]] = defaultdict(list)
    for row in rows:
        value = 1 if summed == "*" else row[summed]
        found[tuple(row[key] for key in keys)] += [] if value is None else [value]
    return {key: sum(values) if values else None for key, values in found.items()}


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("summed", ["n", "*"])
@pytest.mark.parametrize("keys", [("word",), ("word", "few")])
def test_wanted_groups_are_not_left_out(
    tmp_path: Path,
    keys: tuple[str, ...],
    summed: str,
    descending: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("leaf.kernels.aggregation._RANKED_MIN", 0)
    monkeypatch.setattr("leaf.kernels.top._SELECTED_MIN", 0)
    rows = documents(1200)
    direction = "desc" if descending else "asc"
    call = "count(*)" if summed == "*" else f"sum({summed})"
    sql = (
        f"select {', '.join(keys)}, {call} as n from c "
        f"group by all order by {call} {direction} limit 5"
    )
    sign = 1 if descending else -1

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        fragment = leaf_pb2.Fragment()
        fragment.CopyFrom(asker.plan(sql, sole=True).reads[0].fragment)
        fragment.aggregation.top.with_null_keys = True
        seen = list(rows)
        for number in range(3):
            expected = totals(seen, keys, summed)
            present = sorted((sign * v for v in expected.values() if v is not None), reverse=True)
            named = list(expected)[number::97]
            strangers = [("nowhere", *key[1:]) for key in named[:2]]
            kinds = {"word": pa.string(), "few": pa.int64()}
            table = pa.table(
                {
                    name: pa.array([key[at] for key in (*named, *strangers)], kinds[name])
                    for at, name in enumerate(keys)
                }
            )
            threshold = present[40] * sign
            for memoise in (True, True, False):
                for wanted in (
                    leaf_pb2.WantedGroups(),
                    leaf_pb2.WantedGroups(threshold=threshold),
                    leaf_pb2.WantedGroups(keys=to_bytes(table)),
                ):
                    sent, trailer = await ask(leaf, fragment, memoise, wanted)
                    last = present[4]
                    if wanted.HasField("threshold"):
                        last = min(last, sign * threshold)
                    for key, value in expected.items():
                        is_named = bool(wanted.keys) and key in named
                        first = value is not None and sign * value >= last
                        if first or is_named or None in key:
                            assert key in sent, (key, value)
                    assert all(expected[key] == value for key, value in sent.items())
                    missing = [expected[key] for key in expected if key not in sent]
                    assert trailer.groups_left_out == bool(missing)
                    assert missing, "the test means something"
                    assert all(
                        sign * value >= sign * trailer.groups_worst
                        for value in missing
                        if value is not None
                    )
            await append(leaf, documents(60, seed=number), len(seen))
            seen += documents(60, seed=number)

    with_rows(tmp_path, [rows[:500], rows[500:1000], rows[1000:]], body, seal_rows=500)


def test_no_group_is_said_to_be_left_out_where_all_are_sent(tmp_path: Path) -> None:
    sql = "select word, count(*) as n from c group by word order by n desc limit 5"

    async def body(leaf: Leaf, asker: Asker) -> None:
        fragment = asker.plan(sql, sole=True).reads[0].fragment
        sent, trailer = await ask(leaf, fragment, True, leaf_pb2.WantedGroups())
        assert not trailer.groups_left_out
        assert Counter(row["word"] for row in rows) == {key[0]: n for key, n in sent.items()}

    rows = documents(100)
    with_rows(tmp_path, [rows], body, seal_rows=10_000)


def test_groups_of_sealed_segments_come_apart_under_the_name_of_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leaf.kernels.aggregation._APART_MIN", 1)
    rows = documents(1200)

    async def asked(
        leaf: Leaf, plan: leaf_pb2.Fragment, *known: bytes, memoise: bool = True
    ) -> tuple[list[object], leaf_pb2.FragmentTrailer]:
        wanted = leaf_pb2.WantedGroups(apart=True, known=known)
        table, trailer = await answer(leaf, plan, memoise, wanted)
        return table.column(0).to_pylist(), trailer

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        fragment = asker.plan("select count(distinct word) from c", sole=False).reads[0].fragment
        sent, first = await asked(leaf, fragment)
        own, others = sent[: first.sealed_rows], sent[first.sealed_rows :]
        assert first.sealed_name
        assert not first.sealed_known
        assert len(set(own)) == len(own)
        assert len(set(others)) == len(others)
        assert set(sent) == {row["word"] for row in rows}
        assert set(own) == {row["word"] for row in rows[:1000]}
        assert set(others) == {row["word"] for row in rows[1000:]}
        rest, second = await asked(leaf, fragment, b"other", first.sealed_name)
        assert (second.sealed_name, second.sealed_known, second.sealed_rows) == (
            first.sealed_name, True, 0,
        )  # fmt: skip
        assert set(rest) == set(others)
        more = documents(60, seed=9)
        await append(leaf, more, len(rows))
        rest, third = await asked(leaf, fragment, first.sealed_name)
        assert third.sealed_known
        assert set(rest) == set(others) | {row["word"] for row in more}
        await append(leaf, documents(400, seed=10), len(rows) + 60)
        await sealed(leaf, 2)
        _, fourth = await asked(leaf, fragment, first.sealed_name)
        assert fourth.sealed_name != first.sealed_name
        assert not fourth.sealed_known
        whole, anew = await asked(leaf, fragment, fourth.sealed_name, memoise=False)
        assert not anew.sealed_name
        assert len(set(whole)) == len(whole) > len(set(sent))

    with_rows(tmp_path, [rows[:1000], rows[1000:]], body, seal_rows=500)
