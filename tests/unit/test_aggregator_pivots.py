"""PIVOT statements whose values are asked for before they run."""

from collections.abc import Iterator

import pytest
from aggregator_model import Cluster

from aggregator.statement import openpivots
from aggregator.statement.openpivots import MARK, VALUES_MAX
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

DOCUMENTS = [{"n": n, "type": ["push", "fork", "wa'tch"][n % 3], "k": n % 2} for n in range(12)]
UNTOUCHED = """
pivot ev on type in ('push') using sum(n)
pivot ev on type in ('push'), k in (0, 1) using sum(n)
pivot ev using sum(n) group by k
select * from ev pivot (sum(n) for type in ('push') group by k)
select * from (select * from ev) pivot (sum(n) for type in ('push'))
select * from ev pivot (sum(n) for type in ('push')) join pe on pe.n = ev.n
select 'pivot ev on type' as pivot, "pivot" from ev -- pivot ev on type
unpivot ev on n, k into name a value b
select pivot from pivot
""".strip().splitlines()
IN = f" IN ('{MARK}')"
MARKED = {
    "pivot ev on type": f"pivot ev on (type){IN}",
    "PIVOT ev ON type USING sum(n)": f"PIVOT ev ON (type){IN} USING sum(n)",
    "pivot ev on type, n % 2 group by k": f"pivot ev on (type){IN}, (n % 2){IN} group by k",
    "pivot ev on type, k in (1) using max(n)": f"pivot ev on (type){IN}, k in (1) using max(n)",
    "pivot ev on (type, k) order by 1": f"pivot ev on ((type, k)){IN} order by 1",
    "pivot ev on coalesce(type, 'a, b') using count(*)": (
        f"pivot ev on (coalesce(type, 'a, b')){IN} using count(*)"
    ),
    "select * from (pivot ev on type) p": f"select * from (pivot ev on (type){IN}) p",
    "with t as (from ev) pivot t on type;": f"with t as (from ev) pivot t on (type){IN};",
    "pivot (pivot ev on k group by n) on n": (f"pivot (pivot ev on (k){IN} group by n) on (n){IN}"),
    "pivot_wider ev on type limit 3": f"pivot_wider ev on (type){IN} limit 3",
    "pivot (ev join pe on ev.n = pe.n) on k": f"pivot (ev join pe on ev.n = pe.n) on (k){IN}",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster({"ev": DOCUMENTS, "many": [{"n": n} for n in range(VALUES_MAX + 1)]}, shards=3)
    yield made
    made.close()


@pytest.mark.parametrize("sql", UNTOUCHED)
def test_a_text_that_says_its_values_stays(sql: str) -> None:
    assert openpivots.marked(sql) == sql


@pytest.mark.parametrize("sql", MARKED)
def test_each_item_without_values_is_marked(sql: str) -> None:
    assert openpivots.marked(sql) == MARKED[sql]


def test_values_with_quotes_are_literals(cluster: Cluster) -> None:
    table, _ = cluster.ask("pivot ev on type using count(*) group by k order by k")
    assert table.column_names == ["k", "fork", "push", "wa'tch"]
    assert table.to_pylist()[0] == {"k": 0, "fork": 2, "push": 2, "wa'tch": 2}


def test_parameters_hold_for_the_question_too(cluster: Cluster) -> None:
    sql = "select * from (pivot (select * from ev where n < ?) on type using sum(n)) where k < ?"
    given = [query_pb2.Parameter(int_value=2), query_pb2.Parameter(int_value=9)]
    table, _ = cluster.ask(sql, parameters=given)
    assert table.column_names == ["k", "fork", "push"]
    assert sorted(table["k"].to_pylist()) == [0, 1]


def test_values_are_asked_for_at_the_cut_of_the_statement(cluster: Cluster) -> None:
    leaves = [leaf for name, leaf in cluster.leaves.items() if name.startswith("ev")]
    for leaf in leaves:
        leaf.requests.clear()
    cluster.ask("pivot ev on type using count(*)")
    cuts = {request.at.SerializeToString() for leaf in leaves for request in leaf.requests}
    assert len(cuts) == 1
    assert sum(len(leaf.requests) for leaf in leaves) == 2 * len(leaves)


@pytest.mark.parametrize(
    ("sql", "reason", "sentence"),
    [
        (
            "pivot many on n using count(*)",
            Reason.LIMIT,
            f"PIVOT would make more than {VALUES_MAX} columns; say which by ON … IN (…)",
        ),
        ("pivot ev on tipe using count(*)", Reason.UNKNOWN_COLUMN, "there is no column tipe in ev"),
        ("pivot read_csv('x') on a using count(*)", Reason.FORBIDDEN, "read_csv is not available"),
    ],
)
def test_what_can_not_become_columns_is_refused(
    cluster: Cluster, sql: str, reason: Reason, sentence: str
) -> None:
    with pytest.raises(AlderError) as caught:
        cluster.ask(sql)
    assert caught.value.reason is reason
    assert caught.value.message.startswith(sentence)
    assert MARK not in caught.value.message
