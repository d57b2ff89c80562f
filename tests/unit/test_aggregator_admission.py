"""Admission: bounded numbers, turns between clients, refusals that say when to come again."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import pytest
from aggregator_model import Cluster
from hypothesis import given
from hypothesis import strategies as st

from aggregator.protection.admission import (
    DOOR_S_MAX,
    QUIET_TURNS,
    Admission,
    AdmissionSettings,
    Gate,
)
from aggregator.service import AggregatorSettings
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

ENDLESS = (
    "select count(*) from range(1000000000000000) a, range(1000) b where a.range = b.range + 1"
)


LATER_S = 1e6
"""A deadline that nobody meets."""


def quiet(admission: Admission, now_s: float) -> list[int]:
    """As many turns of the loop as it takes until no more are admitted; who was, in order."""
    admitted = []
    while admission.awaits_quiet:
        turns = [admission.turn(now_s) for _ in range(QUIET_TURNS)]
        assert turns[:-1] == [None] * (QUIET_TURNS - 1)
        admitted += [ticket for ticket in turns if ticket is not None]
    return admitted


def test_clients_take_turns_and_each_is_served_in_order() -> None:
    admission = Admission(AdmissionSettings(running_max=1, waiting_max=10))
    assert admission.ask(0, "greedy", LATER_S, 0.0)
    for ticket in (1, 2, 3):
        assert not admission.ask(ticket, "greedy", LATER_S, 0.0)
    assert not admission.ask(4, "modest", LATER_S, 0.0)
    order, running = [], deque([0])
    while running:
        admission.leave(running.popleft(), 0.0)
        admitted = quiet(admission, 0.0)
        order += admitted
        running += admitted
    assert order == [1, 4, 2, 3]


def test_the_door_comes_before_those_that_wait() -> None:
    admission = Admission(AdmissionSettings(running_max=1, waiting_max=2))
    assert admission.ask(0, "a", LATER_S, 0.0)
    assert not admission.ask(1, "a", LATER_S, 0.0)
    assert not admission.awaits_quiet, "there is no place"
    admission.leave(0, 1.0)
    assert admission.awaits_quiet
    for _ in range(3):
        assert [admission.turn(1.0) for _ in range(QUIET_TURNS - 1)] == [None] * (QUIET_TURNS - 1)
        with suppress(AlderError):
            assert not admission.ask(2, "a", LATER_S, 1.0), "who comes now is behind them"
    assert quiet(admission, 1.0) == [1]
    assert admission.turn(1.0) is None


def test_a_door_that_is_never_quiet_holds_nobody_up_for_long() -> None:
    admission = Admission(AdmissionSettings(running_max=1, waiting_max=1))
    assert admission.ask(0, "a", LATER_S, 0.0)
    assert not admission.ask(1, "a", LATER_S, 0.0)
    admission.leave(0, 7.0)
    admitted, now_s = None, 7.0
    while admitted is None:
        with pytest.raises(AlderError):
            admission.ask(2, "b", LATER_S, now_s)
        now_s += 0.001
        admitted = admission.turn(now_s)
    assert admitted == 1
    assert now_s == pytest.approx(7.0 + DOOR_S_MAX, abs=0.0011)


def test_a_refusal_says_when_there_will_be_room() -> None:
    admission = Admission(AdmissionSettings(running_max=2, waiting_max=2))
    now_s = 0.0
    for ticket in range(50):
        assert admission.ask(ticket, "a", LATER_S, now_s)
        now_s += 3.0
        admission.leave(ticket, now_s)
    asked = [admission.ask(100 + n, "a", LATER_S, now_s) for n in range(4)]
    assert asked == [True, True, False, False]
    with pytest.raises(AlderError, match="2 queries run here and 2 wait") as caught:
        admission.ask(104, "a", LATER_S, now_s)
    assert caught.value.reason is Reason.OVERLOADED
    assert caught.value.retry_s == pytest.approx(3.0 * 3 / 2)
    with pytest.raises(AlderError) as caught:
        admission.ask(104, "a", LATER_S, now_s + 10.0)
    assert caught.value.retry_s == pytest.approx(10.0 * 3 / 2), "those that run take longer"
    admission.leave(103, now_s)
    assert not admission.ask(105, "a", LATER_S, now_s), "who gave up makes room for another"


def test_the_time_to_come_back_follows_how_fast_those_move_up_that_wait() -> None:
    admission = Admission(AdmissionSettings(running_max=4, waiting_max=2))
    asked = [admission.ask(ticket, "a", LATER_S, 0.0) for ticket in range(6)]
    assert asked == [True] * 4 + [False] * 2
    for ticket in range(4):
        admission.leave(ticket, 0.0)
    for ticket in range(4, 50):
        now_s = ticket - 4.0
        assert [admission.turn(now_s) for _ in range(QUIET_TURNS)][-1] == ticket
        assert not admission.ask(ticket + 2, "a", LATER_S, now_s)
        admission.leave(ticket, now_s + 1.0)
    assert admission.retry_s(46.0) == pytest.approx(3.0, rel=0.1), "one ran at a time"


def test_who_would_wait_beyond_its_deadline_is_refused_at_once() -> None:
    admission = Admission(AdmissionSettings(running_max=1, waiting_max=64))
    assert admission.ask(0, "a", LATER_S, 0.0)
    admission.leave(0, 2.0)
    assert admission.ask(1, "greedy", LATER_S, 2.0)
    for ticket in range(2, 12):
        assert not admission.ask(ticket, "greedy", LATER_S, 2.0)
    with pytest.raises(AlderError, match="too many for its deadline") as caught:
        admission.ask(12, "greedy", 19.0, 2.0)
    assert caught.value.reason is Reason.OVERLOADED
    assert not admission.ask(13, "greedy", 21.0, 2.0)
    assert not admission.ask(14, "modest", 3.0, 2.0), "one of another client goes before"


@given(st.lists(st.tuples(st.sampled_from("asl"), st.integers(0, 30)), max_size=120))
def test_never_too_many_run_and_nobody_is_forgotten(steps: list[tuple[str, int]]) -> None:
    settings = AdmissionSettings(running_max=3, waiting_max=4)
    admission = Admission(settings)
    running: set[int] = set()
    waiting: set[int] = set()
    for number, (step, which) in enumerate(steps):
        there = sorted(running | waiting)
        if step == "a":
            try:
                runs = admission.ask(number, f"client {which % 3}", LATER_S, 0.0)
                (running if runs else waiting).add(number)
            except AlderError:
                assert len(waiting) == 4
        elif step == "s":
            admitted = set(quiet(admission, 0.0))
            assert admitted <= waiting
            waiting -= admitted
            running |= admitted
        elif there:
            leaver = there[which % len(there)]
            running.discard(leaver)
            waiting.discard(leaver)
            admission.leave(leaver, 0.0)
        assert len(running) <= settings.running_max
        assert admission.awaits_quiet == (bool(waiting) and len(running) < settings.running_max)
    running |= set(quiet(admission, 0.0))
    assert not waiting - running or len(running) == settings.running_max


Ask = Callable[..., "asyncio.Task[query_pb2.ExecuteTrailer]"]


def asker(cluster: Cluster) -> Ask:
    """Asks in a task; the trailer of the answer."""

    async def ask(sql: str, timeout_s: float) -> query_pb2.ExecuteTrailer:
        request = query_pb2.ExecuteRequest(sql=sql)
        answers = [one async for one in cluster.aggregator.execute(request, timeout_s=timeout_s)]
        return answers[-1].trailer

    return lambda sql, timeout_s=20.0: asyncio.ensure_future(ask(sql, timeout_s))


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a state that is about to come."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came")


def numbered_cluster(admission: AdmissionSettings | None = None) -> Cluster:
    """A cluster of 20 documents whose queries are q0, q1 and so on."""
    settings = AggregatorSettings(catalog_wait_s=0, admission=admission or AdmissionSettings())
    cluster = Cluster({"ev": [{"n": n} for n in range(20)]}, settings=settings)
    numbers = itertools.count()
    cluster.aggregator._new_query_id = lambda: f"q{next(numbers)}"
    return cluster


def busy_cluster() -> Cluster:
    """One query runs, one waits."""
    return numbered_cluster(AdmissionSettings(running_max=1, waiting_max=1))


def test_a_busy_server_refuses_the_rest_and_still_answers_what_costs_nothing() -> None:
    cluster = busy_cluster()
    ask, running = asker(cluster), cluster.aggregator._running
    cluster.ask("select 1")

    async def play() -> None:
        endless = ask(ENDLESS)
        await until(lambda: any(one.progress.stage == "finishing" for one in running.all()))
        waits = ask("select n from ev")
        await until(lambda: len(running.all()) == 2)
        with pytest.raises(AlderError) as caught:
            await ask("select n from ev")
        assert caught.value.reason is Reason.OVERLOADED
        assert (await ask("select 1")).rows == 1
        assert (await ask("show tables")).rows == 1
        assert (await ask("show queries")).rows == 3
        endless.cancel()
        assert (await waits).rows == 20
        with pytest.raises(asyncio.CancelledError):
            await endless

    cluster.run(play())
    assert running.all() == []
    cluster.close()


@pytest.mark.parametrize("cancelled", ["before its turn", "after its turn"])
def test_who_is_cancelled_as_its_turn_comes_gives_the_place_on(cancelled: str) -> None:
    async def play() -> None:
        gate = Gate(AdmissionSettings(running_max=1, waiting_max=2), lambda: 0.0)
        ran = []

        async def run(name: str) -> None:
            with gate.place(name, LATER_S) as place:
                await place.turn()
                ran.append(name)

        with gate.place("first", LATER_S):
            second, third = (asyncio.create_task(run(name)) for name in ("second", "third"))
            await asyncio.sleep(0)
        if cancelled == "before its turn":
            second.cancel()
        for _ in range(QUIET_TURNS):
            gate._turn()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await asyncio.wait_for(third, 10)
        with gate.place("last", LATER_S) as place:
            await place.turn()
            assert ran == ["third"]

    asyncio.run(play())


def test_who_waits_in_vain_meets_the_deadline_and_makes_room() -> None:
    cluster = busy_cluster()
    ask, running = asker(cluster), cluster.aggregator._running

    async def play() -> None:
        endless = ask(ENDLESS)
        await until(lambda: any(one.progress.stage == "finishing" for one in running.all()))
        with pytest.raises(AlderError) as caught:
            await ask("select n from ev", 0.05)
        assert caught.value.reason is Reason.DEADLINE
        waits = ask("select n from ev")
        await until(lambda: len(running.all()) == 2)
        endless.cancel()
        assert (await waits).rows == 20

    cluster.run(play())
    cluster.close()
