"""SET and RESET: kept by the connection, sent with every query, strict about what they take."""

from collections.abc import Iterator

import pytest
from client_fakes import Model, fake_server

import alder
from alder.client import Connection, Settings, Token, connect
from alder.client.settings import leading
from alder.errors import Reason
from alder.indexing import ACCESS_KINDS
from alder.v1 import query_pb2

LATEST = query_pb2.CONSISTENCY_LATEST
CUT = query_pb2.CONSISTENCY_CUT


@pytest.fixture
def model_and_connection() -> Iterator[tuple[Model, Connection]]:
    with fake_server() as (address, model), connect(address) as connection:
        yield model, connection


def test_settings_travel_with_every_query(
    model_and_connection: tuple[Model, Connection],
) -> None:
    model, connection = model_and_connection
    connection.execute("SELECT 1").fetchall()
    plain = model.queries[-1]
    assert (plain.plan_class, plain.no_memoised_partials, plain.no_code_kernels) == ("", 0, 0)
    assert plain.consistency == CUT
    cursor = connection.execute("SET memoise_partials = false")
    assert cursor.description is None
    assert cursor.rowcount == -1
    with pytest.raises(alder.client.ProgrammingError, match="there is no result yet"):
        cursor.fetchall()
    connection.cursor().execute("set PLAN_CLASS to 'e' ; -- the last one\n")
    connection.execute("SET consistency = latest; SET timeout_s = 7.5; SET code_kernels = off")
    assert len(model.queries) == 1, "settings are the client's own"
    for _ in range(2):
        connection.execute("SELECT 1").fetchall()
        sent = model.queries[-1]
        assert (sent.plan_class, sent.consistency) == ("e", LATEST)
        assert (sent.no_memoised_partials, sent.no_code_kernels) == (True, True)
        assert sent.no_index_kinds == []
        assert model.timeouts_s[-1] == pytest.approx(7.5, abs=2)
    connection.execute("SELECT 1", consistency="cut", plan_class="b", timeout_s=90).fetchall()
    sent = model.queries[-1]
    assert (sent.plan_class, sent.consistency) == ("b", CUT)
    assert model.timeouts_s[-1] == pytest.approx(90, abs=5)
    connection.execute("RESET plan_class; SET consistency = DEFAULT")
    assert connection.settings == Settings(
        memoise_partials=False, code_kernels=False, timeout_s=7.5
    )
    connection.execute("SET index_kinds = 'zones, TERMS'; SELECT 1").fetchall()
    assert not {"zones", "terms"} & set(model.queries[-1].no_index_kinds)
    assert {"zones", "terms", *model.queries[-1].no_index_kinds} == set(ACCESS_KINDS)
    connection.execute("SET as_of = 'ev=log/1:7,log/0:12'; SELECT 1").fetchall()
    assert connection.settings.as_of == "ev=log/0:12, log/1:7"
    (moment,) = model.queries[-1].as_of
    assert (moment.collection, len(moment.positions.positions)) == ("ev", 2)
    connection.execute("SELECT 1", as_of=Token.from_text("log/0:3")).fetchall()
    (moment,) = model.queries[-1].as_of
    assert (moment.collection, moment.positions.positions[0].next_offset) == ("", 3)
    connection.execute("RESET as_of; SELECT 1").fetchall()
    assert not model.queries[-1].as_of
    assert not sent.policy.HasField("coverage_min")
    connection.execute("SET policy = 'COVERAGE >= 80% AND STALENESS <= 5s'; SELECT 1").fetchall()
    policy = model.queries[-1].policy
    assert (policy.coverage_min, policy.staleness_us_max) == (0.8, 5_000_000)
    connection.execute("SELECT 1", policy="ALL").fetchall()
    assert model.queries[-1].policy == query_pb2.Policy()
    with pytest.raises(alder.client.ProgrammingError, match="a policy is ALL, COVERAGE"):
        connection.execute("SET policy = most")
    connection.execute("RESET policy")
    connection.execute("SET index_kinds = none; SELECT 1").fetchall()
    assert set(model.queries[-1].no_index_kinds) == set(ACCESS_KINDS)
    connection.execute("reset all")
    assert connection.settings == Settings()


def test_a_statement_may_follow_its_settings(
    model_and_connection: tuple[Model, Connection],
) -> None:
    model, connection = model_and_connection
    sql = "/* ; */ SET plan_class = 'a'; SELECT ';' AS a, $$;$$ AS b"
    assert connection.execute(sql).fetchall() == [(";", ";")]
    assert model.queries[-1].plan_class == "a"
    assert model.queries[-1].sql == " SELECT ';' AS a, $$;$$ AS b"
    connection.execute("SELECT 'SET plan_class = b' AS settings").fetchall()
    assert connection.settings.plan_class == "a"


def test_connections_do_not_share_settings() -> None:
    with fake_server() as (address, model), connect(address) as some, connect(address) as other:
        some.execute("SET plan_class = 'e'")
        other.execute("SELECT 1").fetchall()
        assert model.queries[-1].plan_class == ""


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SET memoize_partials = false", "there is no setting memoize_partials; did you mean memo"),
        ("SET zzz = 1", "there is no setting zzz; settings are consistency, plan_class"),
        ("SET memoise_partials = maybe", "memoise_partials is true or false, not 'maybe'"),
        ("SET plan_class = 'c'", "plan_class is 'a' or 'b' or 'e' or 'auto', not 'c'"),
        ("SET consistency = cut latest", "consistency is 'cut' or 'latest', not 'cutlatest'"),
        ('SET consistency = "cut"', "consistency is 'cut' or 'latest', not '\"cut\"'"),
        ("SET as_of = 'log/0'", "'log/0' is no position"),
        ("SET index_kinds = 'terms, tems'", "index_kinds is all, none, or some of 'births, elem"),
        ("SET timeout_s = 0", "timeout_s is a number of seconds above 0"),
        ("SET timeout_s = -1", "timeout_s is a number of seconds above 0"),
        ("SET timeout_s = nan", "timeout_s is a number of seconds above 0"),
        ("SET plan_class", "write SET name = value"),
        ("SET plan_class =", "write SET name = value"),
        ("SET = 5", "write SET name = value"),
        ("SET 'plan_class' = 'a'", "write SET name = value"),
        ("SET SESSION plan_class = 'a'", "write SET name = value"),
        ("RESET", "write SET name = value"),
        ("RESET plan_class consistency", "write SET name = value"),
        ("RESET zzz", "there is no setting zzz"),
        ("SET plan_class = 'a'; SET zzz = 1; SELECT 1", "there is no setting zzz"),
    ],
)
def test_what_is_no_setting_is_an_error_and_changes_nothing(
    model_and_connection: tuple[Model, Connection], sql: str, sentence: str
) -> None:
    model, connection = model_and_connection
    with pytest.raises(alder.client.ProgrammingError) as caught:
        connection.execute(sql)
    assert sentence in str(caught.value)
    assert caught.value.reason in {Reason.SYNTAX, Reason.INVALID_ARGUMENT}
    assert connection.settings == Settings()
    assert model.queries == []


def test_parameters_that_do_not_travel_change_nothing(
    model_and_connection: tuple[Model, Connection],
) -> None:
    _, connection = model_and_connection
    with pytest.raises(alder.client.Error):
        connection.execute("SET plan_class = 'a'; SELECT ?", [object()])
    assert connection.settings == Settings()
    connection.close()
    with pytest.raises(alder.client.InterfaceError):
        connection.execute("SET plan_class = 'a'")


def test_the_rest_of_a_text_is_what_the_server_gets() -> None:
    for text in ["SELECT 1; SELECT 2", "", ";", "-- nothing", "settle", '"set" = 1', "SELECT set"]:
        script = leading(text)
        assert (script.changes, script.rest) == ((), text)
    assert leading("RESET ALL;").rest == ""
    assert leading("RESET ALL; /* end */").rest == ""
