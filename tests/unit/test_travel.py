"""AS OF: the same vector or time gives the same answer, on real leaves, whatever they do."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from travel_model import Record, Rows, Travel, cut_of, sorted_rows

from alder.catalog import CollectionSettings
from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.v1 import query_pb2

SQL = "SELECT _partition, _offset, v FROM c"
GROUPS = "SELECT g, count(*), sum(v) FROM c GROUP BY g"


def grown(system: Travel, chance: random.Random, records: int) -> None:
    """Some more records; keys are few, so that they are replaced and deleted often."""
    for _ in range(records):
        value, key = chance.randrange(1000), f"k{chance.randrange(6)}"
        dies = system.keyed and chance.random() < 0.2
        document = None if dies else {"k": key, "v": value, "g": value % 3}
        system.append(document, partition=chance.randrange(system.partitions), key=key)


def moved(system: Travel, chance: random.Random) -> None:
    """Some shards come some way."""
    for shard, offsets in system.pushed.items():
        for partition, records in enumerate(system.log.partitions):
            to_offset = chance.randint(offsets[partition], len(records))
            if to_offset > offsets[partition]:
                system.push(shard, partition, to_offset)


def expected(alive: list[Record]) -> tuple[Rows, Rows]:
    """What SQL and GROUPS answer over these rows."""
    rows = [(r.partition, r.offset, r.document["v"]) for r in alive if r.document is not None]
    groups: dict[object, list[int]] = {}
    for record in alive:
        if record.document is not None:
            groups.setdefault(record.document["g"], []).append(record.document["v"])
    sums = [(group, len(values), sum(values)) for group, values in groups.items()]
    return sorted(rows, key=repr), sorted(sums, key=repr)


@pytest.mark.parametrize("keyed", [False, True])
def test_a_vector_gives_the_same_answer_for_ever(tmp_path: Path, keyed: bool) -> None:
    chance = random.Random(11)
    seen: list[tuple[str, tuple[Rows, Rows]]] = []
    with Travel(tmp_path, keyed) as system:
        grown(system, chance, 3)
        for round_ in range(14):
            grown(system, chance, chance.randrange(12))
            moved(system, chance)
            if round_ == 0:
                system.catch_up()
            table, trailer = system.ask(SQL)
            at = cut_of(trailer)
            answer = expected(system.alive(at))
            assert sorted_rows(table) == answer[0]
            seen.append((str(at), answer))
            if round_ % 3 == 1:
                system.seal()
            if round_ % 5 == 3:
                system.merge()
        system.catch_up()
        for text, answer in seen:
            request = [query_pb2.MinPositions(positions=PositionVector.from_text(text).to_proto())]
            assert system.rows(f"{SQL} AS OF POSITION '{text}'") == answer[0]
            assert system.rows(SQL, as_of=request) == answer[0]
            assert system.rows(GROUPS, as_of=request, plan_class="a") == answer[1]
            assert system.rows(f"{GROUPS} AS OF POSITION 'c={text}'", plan_class="e") == answer[1]
        assert len({text for text, _ in seen}) > 8


def test_each_reference_has_its_own_moment(tmp_path: Path) -> None:
    with Travel(tmp_path, partitions=1) as system:
        for value in range(10):
            system.append({"v": value})
        system.catch_up()
        table, trailer = system.ask(
            "SELECT (SELECT count(*) FROM c AS OF POSITION 'log/0:3' WHERE c.v > 0) AS old, "
            "count(*) AS n FROM c AS OF POSITION 'log/0:7' AS x JOIN c AS y USING (v)"
        )
        assert table.to_pylist() == [{"old": 2, "n": 7}]
        cuts = {one.as_of: cut_of(trailer, n) for n, one in enumerate(trailer.collections)}
        assert {text: at["log", 0] for text, at in cuts.items()} == {
            "AS OF POSITION 'log/0:3'": 3, "AS OF POSITION 'log/0:7'": 7, "": 10,
        }  # fmt: skip
        assert all(one.shards_answered == [0, 1, 2] for one in trailer.collections)
        assert system.rows("SELECT count(*) FROM c, c AS d AS OF POSITION 'log/0:2'") == [(4,)]
        early = {"AS OF POSITION 'log/0:4'": 4, "AS OF POSITION ''": 0}
        for moment, count in early.items():
            assert system.rows(f"SELECT count(*) FROM c {moment}") == [(count,)]
            latest = query_pb2.CONSISTENCY_LATEST
            assert system.rows(f"SELECT count(*) FROM c {moment}", consistency=latest) == [(count,)]


def test_a_view_is_read_at_a_moment_with_all_that_it_reads(tmp_path: Path) -> None:
    with Travel(tmp_path, partitions=1) as system:
        for value in range(10):
            system.append({"v": value})
        system.catch_up()
        system.ask("CREATE VIEW few AS SELECT v FROM c WHERE v < 8")
        system.ask("CREATE VIEW sums AS SELECT sum(v)::BIGINT AS s FROM few")
        system.ask("CREATE OR REPLACE VIEW few AS SELECT v FROM c WHERE v < 5")
        assert system.rows("SELECT s FROM sums AS OF POSITION 'log/0:4'") == [(6,)]
        assert system.rows("SELECT s FROM sums WHERE s > 1 AS OF POSITION 'log/0:4'") == [(6,)]
        old = "SELECT max(few.v), max(now.v) FROM few@1 AS OF POSITION 'log/0:7', few AS now"
        assert system.rows(old) == [(6, 4)]
        rows = system.ask("DIFF (FROM few@1) BETWEEN POSITION 'log/0:7' AND 'log/0:10'")[0]
        assert rows.to_pylist() == [{"v": 7, "_change": "added", "_offsets": None}]


def iso(moment_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)).isoformat()


@pytest.mark.parametrize("keyed", [False, True])
def test_a_time_is_the_cut_before_the_first_record_after_it(tmp_path: Path, keyed: bool) -> None:
    chance = random.Random(5)
    with Travel(tmp_path, keyed, partitions=3) as system:
        grown(system, chance, 60)
        answers = {}
        for round_ in range(2):
            moved(system, chance)
            system.catch_up()
            newest_us = max(part[-1].time_us for part in system.log.partitions)
            for moment_us in [0, 999, *chance.sample(range(60_000), 12), newest_us]:
                text = iso(min(moment_us, newest_us))
                table, trailer = system.ask(f"{SQL} AS OF TIMESTAMP '{text}'")
                at = PositionVector(
                    {
                        ("log", n): sum(r.time_us <= min(moment_us, newest_us) for r in part)
                        for n, part in enumerate(system.log.partitions)
                    }
                )
                assert cut_of(trailer) == at
                assert sorted_rows(table) == expected(system.alive(at))[0]
                if round_ == 0:
                    answers[text] = at
            grown(system, chance, 30)
        system.catch_up()
        for text, at in answers.items():
            _, trailer = system.ask(f"SELECT 1 FROM c AS OF TIMESTAMP '{text}' LIMIT 1")
            assert cut_of(trailer) == at, "the same time is the same cut once the log is past it"


def test_a_time_to_come_is_waited_for_within_the_deadline(tmp_path: Path) -> None:
    with Travel(tmp_path) as system:
        system.append({"v": 1})
        system.catch_up()
        soon = iso(system.log.now_us + 20_000)
        assert system.rows(f"SELECT v FROM c AS OF TIMESTAMP '{soon}'") == [(1,)]
        with pytest.raises(AlderError, match=r"is 8\d+\.\d s ahead of its log") as caught:
            system.ask("SELECT v FROM c AS OF TIMESTAMP '1970-01-02 00:00:00Z'")
        assert caught.value.reason is Reason.DEADLINE


@pytest.mark.parametrize(
    ("moment", "reason", "words"),
    [
        ("POSITION 'log/7:1'", Reason.INVALID_ARGUMENT, "c has no partition log/7"),
        ("POSITION 'files/0:1'", Reason.INVALID_ARGUMENT, "c has no partition files/0"),
        ("POSITION 'other=log/0:1'", Reason.INVALID_ARGUMENT, "add c=... to them"),
        ("POSITION 'log/0'", Reason.INVALID_ARGUMENT, "'log/0' is no position"),
        ("POSITION 'log/0:1, log/0:2'", Reason.INVALID_ARGUMENT, "is no position"),
        ("TIMESTAMP 'yesterday'", Reason.INVALID_ARGUMENT, "'yesterday' is no time"),
        ("POSITION 'log/0:9'", Reason.DEADLINE, "at 2 of 9 in partition 0"),
    ],
)
def test_what_is_no_moment_is_refused(
    tmp_path: Path, moment: str, reason: Reason, words: str
) -> None:
    with Travel(tmp_path) as system:
        for value in range(2):
            system.append({"v": value})
        system.catch_up()
        with pytest.raises(AlderError, match=words) as caught:
            system.ask(f"SELECT v FROM c AS OF {moment}", timeout_s=0.4)
        assert caught.value.reason is reason


def test_a_moment_ahead_of_the_shards_is_waited_for(tmp_path: Path) -> None:
    with Travel(tmp_path, partitions=1) as system:
        for value in range(4):
            system.append({"v": value})

        async def both() -> int:
            sql = "SELECT count(*) FROM c AS OF POSITION 'log/0:4'"
            asked = asyncio.ensure_future(system.asking(sql))
            for shard in range(system.shards):
                await asyncio.sleep(0.01)
                assert not asked.done()
                await system.pushing(shard, 0, 4)
            table, _ = await asked
            return int(table.column(0)[0].as_py())

        assert system.run(both()) == 4


def answer_or_refusal(system: Travel, text: str) -> Rows | AlderError:
    try:
        return system.rows(f"{SQL} AS OF POSITION '{text}'")
    except AlderError as error:
        if error.reason is Reason.OUT_OF_RANGE and "history reaches back" in error.message:
            return error
        raise


def test_moments_before_the_history_are_refused_and_later_ones_stay(tmp_path: Path) -> None:
    chance = random.Random(3)
    kept = CollectionSettings(history_us=60_000_000)
    with Travel(tmp_path, keyed=True, settings=kept, step_us=1_000_000) as system:
        seen = {}
        for round_ in range(24):
            grown(system, chance, 8)
            system.catch_up()
            seen[str(system.ends())] = system.alive(system.ends())
            if round_ % 3 == 2:
                system.seal()
                system.merge()
        answers = {text: answer_or_refusal(system, text) for text in seen}
        refused = [text for text, one in answers.items() if isinstance(one, AlderError)]
        assert 8 <= len(refused) <= 20
        assert refused == list(seen)[: len(refused)], "the earliest ones, without a gap"
        for text in list(seen)[len(refused) :]:
            assert answers[text] == expected(seen[text])[0]


def test_pages_of_an_answer_are_of_one_cut(tmp_path: Path) -> None:
    chance = random.Random(8)
    with Travel(tmp_path, keyed=True) as system:
        grown(system, chance, 40)
        system.catch_up()
        page = "SELECT _id, v FROM c ORDER BY v, _id LIMIT 2 OFFSET {}"
        whole, trailer = system.ask("SELECT _id, v FROM c ORDER BY v, _id")
        cut = [query_pb2.MinPositions(collection="c", positions=trailer.collections[0].positions)]
        pages = []
        for offset in range(0, whole.num_rows, 2):
            pages += system.ask(page.format(offset), as_of=cut)[0].to_pylist()
            grown(system, chance, 5)
            system.catch_up()
        assert pages == whole.to_pylist()
        assert system.ask("SELECT _id, v FROM c ORDER BY v, _id")[0].to_pylist() != pages


def test_readers_see_their_own_writes_in_any_interleaving(tmp_path: Path) -> None:
    chance = random.Random(21)
    with Travel(tmp_path, keyed=True) as system:
        state = {"writing": 3, "answers": 0}

        async def writer(name: str) -> None:
            """Replaces its own document and then reads it, over and over."""
            for value in range(12):
                partition = chance.randrange(system.partitions)
                record = system.append({"k": name, "v": value}, partition=partition, key=name)
                own = PositionVector({("log", partition): record.offset + 1})
                wanted = [query_pb2.MinPositions(collection="c", positions=own.to_proto())]
                table, trailer = await system.asking(
                    f"SELECT v FROM c WHERE k = '{name}'", min_positions=wanted
                )
                assert table.to_pylist() == [{"v": value}], "a stale answer"
                assert cut_of(trailer).reaches(own)
                state["answers"] += 1
            state["writing"] -= 1

        async def tailer() -> None:
            """Brings one shard a bit further, in any order."""
            while state["writing"]:
                shard, partition = chance.randrange(3), chance.randrange(2)
                begin, end = system.pushed[shard][partition], len(system.log.partitions[partition])
                if begin < end:
                    await system.pushing(shard, partition, chance.randint(begin + 1, end))
                await asyncio.sleep(0)

        async def everyone() -> None:
            await asyncio.gather(tailer(), *(writer(name) for name in "abc"))

        system.run(everyone())
        assert state["answers"] == 36
