"""Admission: bounded numbers, turns between clients, refusals that say when to come again."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable

import pytest
from aggregator_model import Cluster
from hypothesis import given
from hypothesis import strategies as st

from aggregator.protection.admission import Admission, AdmissionSettings, Gate
from aggregator.service import AggregatorSettings
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

ENDLESS = (
    "select count(*) from range(1000000000000000) a, range(1000) b where a.range = b.range + 1"
)


def test_clients_take_turns_and_each_is_served_in_order() -> None:
    admission = Admission(AdmissionSettings(running_max=1, waiting_max=10))
    assert admission.ask(0, "greedy", 0.0)
    for ticket in (1, 2, 3):
        assert not admission.ask(ticket, "greedy", 0.0)
    assert not admission.ask(4, "modest", 0.0)
    order, running = [], deque([0])
    while running:
        admitted = admission.leave(running.popleft(), 1.0)
        order += admitted
        running += admitted
    assert order == [1, 4, 2, 3]


def test_a_refusal_says_when_there_will_be_room() -> None:
    admission = Admission(AdmissionSettings(running_max=2, waiting_max=2))
    now_s = 0.0
    for ticket in range(50):
        assert admission.ask(ticket, "a", now_s)
        now_s += 3.0
        admission.leave(ticket, now_s)
    assert [admission.ask(100 + n, "a", now_s) for n in range(4)] == [True, True, False, False]
    with pytest.raises(AlderError, match="2 queries run here and 2 wait") as caught:
        admission.ask(104, "a", now_s)
    assert caught.value.reason is Reason.OVERLOADED
    assert caught.value.retry_s == pytest.approx(3.0 * 3 / 2)
    with pytest.raises(AlderError) as caught:
        admission.ask(104, "a", now_s + 10.0)
    assert caught.value.retry_s == pytest.approx(10.0 * 3 / 2), "those that run take longer"
    assert admission.leave(103, now_s) == []
    assert not admission.ask(105, "a", now_s), "who gave up makes room for another"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=120))
def test_never_too_many_run_and_nobody_is_forgotten(steps: list[tuple[bool, int]]) -> None:
    settings = AdmissionSettings(running_max=3, waiting_max=4)
    admission = Admission(settings)
    running: set[int] = set()
    waiting: set[int] = set()
    for number, (comes, which) in enumerate(steps):
        if comes:
            try:
                (running if admission.ask(number, f"client {which % 3}", 0.0) else waiting).add(
                    number
                )
            except AlderError:
                assert (len(running), len(waiting)) == (3, 4)
        elif running or waiting:
            there = sorted(running | waiting)
            leaver = there[which % len(there)]
            running.discard(leaver)
            waiting.discard(leaver)
            admitted = set(admission.leave(leaver, 1.0))
            assert admitted <= waiting
            waiting -= admitted
            running |= admitted
        assert len(running) <= settings.running_max
        assert not waiting or len(running) == settings.running_max


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
            async with gate.admitted(name):
                ran.append(name)

        async with gate.admitted("first"):
            second, third = (asyncio.create_task(run(name)) for name in ("second", "third"))
            await asyncio.sleep(0)
            if cancelled == "before its turn":
                second.cancel()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await asyncio.wait_for(third, 10)
        async with gate.admitted("last"):
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
