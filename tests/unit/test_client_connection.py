"""What goes wrong on a connection: errors with their reasons, ends of streams, closing, targets."""

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest
from client_fakes import Model, fake_server

import alder.client as dbapi
from alder.client import Connection, RunningQuery, connect
from alder.client.errors import as_client_error
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

NUMBERS = "SELECT * FROM range(1000) t(n) ORDER BY n"


@pytest.fixture
def server() -> Iterator[tuple[str, Model]]:
    with fake_server() as started:
        yield started


@pytest.fixture
def model(server: tuple[str, Model]) -> Model:
    return server[1]


@pytest.fixture
def connection(server: tuple[str, Model]) -> Iterator[Connection]:
    with connect(server[0]) as opened:
        yield opened


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Reason.SYNTAX, dbapi.ProgrammingError),
        (Reason.UNKNOWN_COLUMN, dbapi.ProgrammingError),
        (Reason.FORBIDDEN, dbapi.ProgrammingError),
        (Reason.WRONG_TYPE, dbapi.DataError),
        (Reason.UNSUPPORTED, dbapi.NotSupportedError),
        (Reason.DEADLINE, dbapi.OperationalError),
        (Reason.LIMIT, dbapi.OperationalError),
        (Reason.CORRUPT, dbapi.InternalError),
    ],
)
def test_errors_keep_their_reason(
    connection: Connection, model: Model, reason: Reason, kind: type[dbapi.Error]
) -> None:
    model.query_error = AlderError(reason, "this is wrong; do that", near="x")
    with pytest.raises(kind, match=r"^this is wrong; do that$") as caught:
        connection.execute("SELECT 1")
    assert (caught.value.reason, caught.value.metadata) == (reason, {"near": "x"})


def test_every_reason_has_an_exception() -> None:
    assert all(as_client_error(AlderError(reason, "x")).reason is reason for reason in Reason)


def test_a_defect_of_the_server_keeps_its_secrets(connection: Connection, model: Model) -> None:
    model.query_error = RuntimeError("secret")
    with pytest.raises(dbapi.InternalError) as caught:
        connection.execute("SELECT 1")
    assert "secret" not in str(caught.value)


def test_an_answer_without_its_end_is_an_error(connection: Connection, model: Model) -> None:
    model.break_answer = True
    with pytest.raises(dbapi.InternalError, match="ended before it was complete"):
        connection.execute(NUMBERS).fetchall()
    with pytest.raises(dbapi.InternalError, match="ended before it was complete"):
        connection.execute(NUMBERS).fetch_arrow_table()


def test_an_answer_without_a_trailer_is_an_error(
    connection: Connection, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.break_answer = True
    monkeypatch.setattr(
        "client_fakes.FakeQuery._bytes", lambda self, table: arrow_bytes(table), raising=True
    )
    cursor = connection.execute(NUMBERS)
    with pytest.raises(dbapi.InternalError, match="ended before it was complete"):
        cursor.fetchall()


def arrow_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def test_no_server() -> None:
    with connect("127.0.0.1:1") as nobody, pytest.raises(dbapi.OperationalError) as caught:
        nobody.execute("SELECT 1")
    assert caught.value.reason is Reason.UNAVAILABLE
    assert str(caught.value).startswith("no server answers at 127.0.0.1:1; start one")


def test_deadline(connection: Connection, model: Model) -> None:
    model.hang = True
    with pytest.raises(dbapi.OperationalError) as caught:
        connection.execute("SELECT 1", timeout_s=0.3).fetchall()
    assert caught.value.reason is Reason.DEADLINE


def test_closing_the_cursor_cancels_the_query(connection: Connection, model: Model) -> None:
    model.hang = True
    cursor = connection.execute("SELECT 1")
    cursor.close()
    assert model.cancelled.wait(10)
    with pytest.raises(dbapi.InterfaceError, match="cursor is closed"):
        cursor.fetchall()


def test_closing_the_connection_ends_a_waiting_thread(
    server: tuple[str, Model],
) -> None:
    address, model = server
    model.hang = True
    connection = connect(address)
    cursor = connection.execute("SELECT 1")
    errors: list[BaseException] = []

    def read() -> None:
        try:
            cursor.fetchall()
        except dbapi.Error as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    connection.close()
    reader.join(10)
    assert not reader.is_alive()
    assert [type(error) for error in errors] == [dbapi.OperationalError]
    for call in (connection.cursor, connection.status, connection.collections, connection.commit):
        with pytest.raises(dbapi.InterfaceError, match="connection is closed"):
            call()
    connection.close()


def test_running_queries_are_listed_and_cancelled(connection: Connection, model: Model) -> None:
    assert connection.queries() == []
    one = RunningQuery(
        "q-1", "SELECT 1", "ipv4:127.0.0.1:5", 1_600_000_000_000_000, "waiting", 3, 4
    )
    values = {name: getattr(one, name) for name in one.__slots__}
    model.running.append(query_pb2.RunningQuery(**values))
    assert connection.queries() == [one]
    connection.cancel("q-1")
    assert model.requests == [query_pb2.CancelQueryRequest(query_id="q-1")]
    with pytest.raises(dbapi.ProgrammingError, match="no query 'q-2' runs here"):
        connection.cancel("q-2")


def test_what_makes_no_sense_says_so(connection: Connection) -> None:
    connection.commit()
    with pytest.raises(dbapi.NotSupportedError, match="nothing to roll back"):
        connection.rollback()
    with pytest.raises(dbapi.NotSupportedError, match="append"):
        connection.cursor().executemany("SELECT ?", [[1]])
    with pytest.raises(dbapi.ProgrammingError, match="call execute first"):
        connection.cursor().fetchone()
    with pytest.raises(dbapi.ProgrammingError, match="lone surrogate"):
        connection.execute("SELECT '\ud800'")


@pytest.mark.parametrize("target", ["localhost", "host:", ":1", "h:70000", "h:x", "::1:5", "a b:1"])
def test_malformed_targets(target: str) -> None:
    with pytest.raises(dbapi.ProgrammingError, match="not a server's address"):
        connect(target)


def test_targets(server: tuple[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    address, _ = server
    monkeypatch.setenv("ALDER_SERVER", address)
    for target in (None, address, f"alder://{address}", f"alder://{address}/"):
        with connect(target) as connection:
            assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_threads_share_a_connection(connection: Connection) -> None:
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        answers[number] = connection.execute(f"SELECT {number}").fetchone()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == {number: (number,) for number in range(8)}
