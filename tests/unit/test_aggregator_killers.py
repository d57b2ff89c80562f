"""Statements that kill leaves, and leaves that do not answer: refused, tried again, forgotten."""

from collections.abc import AsyncIterator

import pytest
from aggregator_model import Cluster, LeafModel, Streaming

from aggregator.protection.circuits import FAILURES_MAX, PROBE_S, Circuits
from aggregator.protection.killers import DEATHS_MAX, MEMORY_S, Killers, fingerprint
from alder.errors import AlderError, Reason, Unreachable
from alder.policy import Policy
from alder.v1 import leaf_pb2


def is_refused(killers: Killers, statement: str, now_s: float) -> bool:
    try:
        killers.check(statement, now_s)
    except AlderError as refused:
        told = refused
    else:
        return False
    assert told.reason is Reason.QUARANTINED
    assert fingerprint(statement) in told.message
    assert told.retry_s is not None
    return True


def killed(killers: Killers, now_s: float, *statements: str, leaf: str = "leaf-0") -> None:
    """One death with these statements in flight."""
    for statement in statements:
        killers.died(leaf, statement, now_s)
    killers.answered([leaf])


def test_two_deaths_and_a_statement_is_refused_and_later_tried_once() -> None:
    killers = Killers(600.0)
    killed(killers, 0.0, "bad", "once")
    assert not is_refused(killers, "bad", 1.0)
    killed(killers, 5.0, "bad", leaf="leaf-1")
    assert is_refused(killers, "bad", 6.0)
    assert not is_refused(killers, "once", 6.0)
    assert is_refused(killers, "bad", 604.9)
    assert killers.check("bad", 605.0) is True
    assert is_refused(killers, "bad", 606.0), "one trial at a time"
    killed(killers, 610.0, "bad")
    killers.tried("bad", False)
    assert is_refused(killers, "bad", 610.0 + 1199.0)
    assert killers.check("bad", 610.0 + 1200.0) is True
    killers.tried("bad", True)
    assert not is_refused(killers, "bad", 3000.0)
    assert killers.refused() == []


def test_calls_that_break_together_are_one_death() -> None:
    killers = Killers(600.0)
    for _ in range(10):
        killers.died("leaf-0", "bad", 1.0)
    assert not is_refused(killers, "bad", 2.0)
    killers.answered(["leaf-1"])
    killers.died("leaf-0", "bad", 3.0)
    assert not is_refused(killers, "bad", 4.0)
    killers.answered(["leaf-0"])
    killers.died("leaf-0", "bad", 5.0)
    assert is_refused(killers, "bad", 6.0)


def test_deaths_long_ago_and_trials_without_an_end_do_not_count() -> None:
    killers = Killers(600.0)
    killed(killers, 0.0, "rare")
    killed(killers, MEMORY_S + 1.0, "rare")
    assert not is_refused(killers, "rare", MEMORY_S + 2.0)
    killed(killers, MEMORY_S + 3.0, "rare")
    assert is_refused(killers, "rare", MEMORY_S + 4.0)
    assert killers.check("rare", 2 * MEMORY_S) is True
    killers.tried("rare", False)
    assert killers.check("rare", 2 * MEMORY_S) is True, "a trial that was cancelled says nothing"


def test_nobody_is_refused_where_that_is_turned_off() -> None:
    killers = Killers(0.0)
    for number in range(5):
        killed(killers, float(number), "bad")
    assert not is_refused(killers, "bad", 9.0)


def test_statements_that_differ_in_literals_alone_are_alike() -> None:
    same = [
        "select n from ev where sqrt(n) > 1 and s in ('a', 'b')",
        "SELECT n  FROM ev -- again\n WHERE sqrt(n) > 2.5 AND s IN ('c')",
    ]
    assert len({fingerprint(sql) for sql in same}) == 1
    assert fingerprint("select n from ev where sqrt(m) > 1 and s in ('a', 'b')") != fingerprint(
        same[0]
    )


class Mortal(Streaming):
    """A leaf that dies of a statement, and is back at once."""

    def __init__(self, leaf: LeafModel) -> None:
        self._leaf = leaf
        self.positions = leaf.positions
        self.deaths = 0

    async def execute(
        self, request: leaf_pb2.FragmentRequest, timeout_s: float | None = None
    ) -> AsyncIterator[leaf_pb2.FragmentResponse]:
        if "sqrt" in request.fragment.sql:
            self.deaths += 1
            raise Unreachable(Reason.UNAVAILABLE, "connection reset")
        async for response in self._leaf.execute(request):
            yield response


@pytest.mark.parametrize("policy", [Policy(), Policy(0.3)])
def test_a_statement_kills_no_more_than_two_leaves(policy: Policy) -> None:
    cluster = Cluster({"ev": [{"n": n} for n in range(20)]}, shards=4)
    mortals = {name: Mortal(leaf) for name, leaf in cluster.leaves.items()}
    cluster.directory.leaves.update(mortals)
    reasons = []
    for number in range(5):
        with pytest.raises(AlderError) as caught:
            cluster.ask(f"select n from ev where sqrt(n) > {number}", policy=policy.to_proto())
        reasons.append(caught.value.reason)
    assert reasons[-1] is Reason.QUARANTINED
    assert sum(leaf.deaths for leaf in mortals.values()) == DEATHS_MAX
    assert cluster.rows("select count(*) from ev") == [(20,)]
    ((statement, leaves, left, sql),) = cluster.rows("show quarantined statements")
    assert str(statement) in caught.value.message
    assert set(leaves) <= set(mortals)
    assert 500 < left <= 600
    assert "sqrt(n)" in sql
    with pytest.raises(AlderError, match="no statement 'nothing' is refused"):
        cluster.ask("release 'nothing'")
    assert cluster.rows(f"release '{statement}'") == [(statement,)]
    cluster.directory.leaves.update(cluster.leaves)
    assert len(cluster.rows("select n from ev where sqrt(n) > 3")) == 10
    cluster.close()


def test_a_circuit_opens_probes_and_closes() -> None:
    circuits = Circuits()
    for _ in range(FAILURES_MAX):
        circuits.check("leaf-0", 0.0)
        circuits.failed("leaf-0", 0.0)
    with pytest.raises(Unreachable, match="did not answer 3 times in a row"):
        circuits.check("leaf-0", 0.1)
    circuits.check("leaf-1", 0.1)
    circuits.check("leaf-0", PROBE_S)
    with pytest.raises(Unreachable):
        circuits.check("leaf-0", PROBE_S)
    circuits.failed("leaf-0", PROBE_S)
    with pytest.raises(Unreachable):
        circuits.check("leaf-0", PROBE_S + 0.1)
    circuits.answered("leaf-0")
    circuits.check("leaf-0", PROBE_S + 0.1)


def test_a_leaf_that_never_answers_is_soon_not_waited_for() -> None:
    cluster = Cluster({"ev": [{"n": n} for n in range(20)]})
    asked = 0

    class Silent:
        async def positions(self, request: object, timeout_s: float | None = None) -> object:
            nonlocal asked
            asked += 1
            raise AlderError(Reason.DEADLINE, "the deadline passed")

    cluster.directory.leaves["ev-leaf-1"] = Silent()
    for _ in range(FAILURES_MAX):
        with pytest.raises(AlderError) as caught:
            cluster.ask("select n from ev")
        assert caught.value.reason is Reason.DEADLINE
    with pytest.raises(AlderError, match=r"leaf ev-leaf-1 .*: it did not answer 3 times") as caught:
        cluster.ask("select n from ev")
    assert caught.value.reason is Reason.UNAVAILABLE
    assert asked == FAILURES_MAX
    cluster.close()
