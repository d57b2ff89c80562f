"""Rows that a leaf hands over to a caller in its process, and what of them never changes."""

from pathlib import Path

import pytest
from kernels_model import append, documents, sealed, with_rows
from leaf_model import push, rows_bytes
from test_leaf_direct import Asker

from aggregator.planning.plan import Plan
from alder.fragments import FixedRows, FragmentAnswer
from alder.v1 import leaf_pb2
from leaf import fragment
from leaf.service import Leaf

SHARDS = 2
SQL = "select n, word from c where few = 2"


async def handed_over(leaf: Leaf, plan: Plan) -> FragmentAnswer:
    request = leaf_pb2.FragmentRequest(
        collection="c",
        collection_id=1,
        epoch=1,
        shards=range(SHARDS),
        fragment=plan.reads[0].fragment,
        latest=True,
    )
    return await leaf.answer(request, lambda size_bytes: None, 30, unfinished=True)


def parts(answer: FragmentAnswer) -> dict[FixedRows, list[dict[str, object]]]:
    """What is fixed, with its rows."""
    end, found = 0, {}
    for fixed in answer.fixed:
        assert fixed.begin == end
        end += fixed.rows
        found[fixed] = answer.rows.slice(fixed.begin, fixed.rows).to_pylist()
    assert end <= answer.rows.num_rows
    return found


def test_what_is_fixed_keeps_its_name_and_its_rows(tmp_path: Path) -> None:
    rows = documents(900)

    async def body(leaf: Leaf, _: object) -> None:
        await sealed(leaf, 1)
        asker = Asker(leaf, SHARDS)
        plan = asker.plan(SQL)
        first = await handed_over(leaf, plan)
        assert first.projection
        assert first.rows.num_rows == 600
        (segments,) = parts(first)
        assert segments.rows == 600
        assert parts(await handed_over(leaf, plan)) == parts(first)
        await append(leaf, rows[600:700], 600, SHARDS)
        second = parts(await handed_over(leaf, plan))
        assert second[segments] == parts(first)[segments]
        (tail,) = set(second) - {segments}
        assert tail.rows == 100
        assert parts(await handed_over(leaf, plan)) == second
        await append(leaf, rows[700:710], 700, SHARDS)
        third = parts(await handed_over(leaf, plan))
        assert third[segments] == second[segments]
        assert sum(fixed.rows for fixed in third) == 710
        assert not set(third) & {tail}
        other = await handed_over(leaf, asker.plan("select big from c where few = 2"))
        assert [fixed.name for fixed in other.fixed] == [fixed.name for fixed in third]

    with_rows(tmp_path, [rows[:600]], body, seal_rows=250, shards=SHARDS)


def test_rows_of_which_some_have_died_are_not_fixed(tmp_path: Path) -> None:
    async def body(leaf: Leaf, _: object) -> None:
        await sealed(leaf, 1)
        plan = Asker(leaf, SHARDS).plan(SQL)
        assert len((await handed_over(leaf, plan)).fixed) == 1
        killed = {600: {"id": "4", "few": 2, "n": 1}}
        await leaf.apply(push({0: rows_bytes(killed, {600: "4"}), 1: b""}, 600, 601))
        answer = await handed_over(leaf, plan)
        assert answer.rows.num_rows == 600
        assert sum(fixed.rows for fixed in answer.fixed) == 301

    with_rows(tmp_path, [documents(600)], body, seal_rows=250, shards=SHARDS, keyed=True)


def test_documents_and_births_are_not_fixed(tmp_path: Path) -> None:
    async def body(leaf: Leaf, _: object) -> None:
        await sealed(leaf, 1)
        asker = Asker(leaf, SHARDS)
        for column in ("_doc", "_offset", "_id"):
            sql = f"select {column} from c where few = 2"
            assert (await handed_over(leaf, asker.plan(sql))).fixed == ()

    with_rows(tmp_path, [documents(600)], body, seal_rows=250, shards=SHARDS)


def test_few_rows_of_many_are_picked_by_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(leaf: Leaf, _: object) -> None:
        await sealed(leaf, 1)
        asker = Asker(leaf, SHARDS)
        few = await handed_over(leaf, asker.plan("select n from c where word = 'w7'"))
        assert not few.projection
        many = await handed_over(leaf, asker.plan("select n from c where few <> 2"))
        assert many.projection
        assert many.rows.num_rows == 600

    monkeypatch.setattr(fragment, "WHOLE_ROWS_MAX", 100)
    with_rows(tmp_path, [documents(600)], body, seal_rows=250, shards=SHARDS)
