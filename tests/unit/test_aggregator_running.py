"""SHOW QUERIES and CANCEL: what runs is told, and what is cancelled ends."""

import asyncio

import pytest
from test_aggregator_admission import ENDLESS, asker, numbered_cluster, until

from aggregator.commands.cancel import Cancel
from aggregator.commands.kinds import command_of
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2


def test_queries_are_listed_with_their_stage_while_they_run() -> None:
    cluster = numbered_cluster()
    ask, running = asker(cluster), cluster.aggregator._running
    slow = cluster.leaves["ev-leaf-0"]
    slow.delay_s = 30.0

    async def play() -> None:
        asked = ask("select n from ev")
        await until(lambda: bool(slow.requests))
        await until(lambda: running.all()[0].progress.rows_gathered > 0)
        listed = await cluster.aggregator.list_queries(query_pb2.ListQueriesRequest())
        one = listed.queries[0]
        assert (one.query_id, one.sql, one.stage) == ("q0", "select n from ev", "gathering")
        assert one.client == "this process"
        assert one.started_us == 1_600_000_000_000_000
        assert one.rows_gathered == len(cluster.leaves["ev-leaf-1"].shards[1].rows)
        assert one.size_bytes_gathered > 0
        await ask("cancel 'q0'")
        with pytest.raises(AlderError, match="query q0 was cancelled") as caught:
            await asked
        assert caught.value.reason is Reason.CANCELLED

    cluster.run(play())
    rows = cluster.rows("show queries")
    assert [(row[0], row[1], row[6]) for row in rows] == [("q2", "waiting", "show queries")]
    cluster.close()


def test_a_cancelled_query_frees_its_engine() -> None:
    cluster = numbered_cluster()
    ask, running = asker(cluster), cluster.aggregator._running

    async def play() -> None:
        endless = [ask(ENDLESS) for _ in range(4)]
        await until(lambda: [one.progress.stage for one in running.all()] == ["finishing"] * 4)
        for one in running.all():
            request = query_pb2.CancelQueryRequest(query_id=one.query_id)
            await cluster.aggregator.cancel_query(request)
        errors = await asyncio.gather(*endless, return_exceptions=True)
        assert [error.reason for error in errors if isinstance(error, AlderError)] == [
            Reason.CANCELLED
        ] * 4
        assert (await ask("select n from ev")).rows == 20

    cluster.run(play())
    cluster.close()


def test_a_cancelled_result_is_not_sent_to_its_end() -> None:
    cluster = numbered_cluster()

    async def play() -> None:
        request = query_pb2.ExecuteRequest(sql="select range n from range(1000000)")
        answers = cluster.aggregator.execute(request)
        await anext(answers)
        cluster.aggregator._running.cancel("q0")
        with pytest.raises(AlderError) as caught:
            await anext(answers)
        assert caught.value.reason is Reason.CANCELLED

    cluster.run(play())
    assert cluster.aggregator._running.all() == []
    cluster.close()


def test_an_id_that_does_not_run_is_refused() -> None:
    cluster = numbered_cluster()
    with pytest.raises(AlderError, match="no query 'q77' runs here") as caught:
        cluster.ask("cancel 'q77'")
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    cluster.close()


def test_cancel_is_read_strictly() -> None:
    assert command_of("cancel 'it''s'; ") == Cancel("it's")
    for sql in ("cancel", "cancel q1", 'cancel "q1"', "cancel 'q1", "cancel 'q1' 'q2'"):
        with pytest.raises(AlderError) as caught:
            command_of(sql)
        assert caught.value.reason is Reason.SYNTAX
