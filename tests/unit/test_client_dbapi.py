"""DB-API 2.0 as users see it, over real gRPC against a fake server."""

import datetime
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest
from client_fakes import Model, fake_server

import alder.client as dbapi
from alder.client import Connection, Token, connect
from alder.errors import AlderError
from alder.positions import PositionVector
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


def test_module_globals() -> None:
    assert (dbapi.apilevel, dbapi.threadsafety, dbapi.paramstyle) == ("2.0", 2, "qmark")


def test_exception_hierarchy() -> None:
    assert issubclass(dbapi.Warning, Exception)
    assert issubclass(dbapi.InterfaceError, dbapi.Error)
    for name in ["Data", "Operational", "Integrity", "Internal", "Programming", "NotSupported"]:
        error = getattr(dbapi, f"{name}Error")
        assert issubclass(error, dbapi.DatabaseError)
        assert getattr(Connection, f"{name}Error") is error
    assert issubclass(dbapi.Error, AlderError)


def test_fetching_one_many_all(connection: Connection) -> None:
    cursor = connection.cursor()
    assert cursor.description is None
    assert cursor.rowcount == -1
    cursor.execute(NUMBERS)
    assert cursor.fetchone() == (0,)
    assert cursor.fetchmany() == [(1,)]
    cursor.arraysize = 3
    assert cursor.fetchmany() == [(2,), (3,), (4,)]
    assert cursor.fetchmany(2) == [(5,), (6,)]
    assert cursor.rowcount == -1
    assert cursor.fetchall() == [(n,) for n in range(7, 1000)]
    assert cursor.rowcount == 1000
    assert cursor.fetchone() is None
    assert cursor.fetchmany(5) == []
    assert cursor.fetchall() == []


def test_iteration_and_a_second_query_on_the_cursor(connection: Connection) -> None:
    cursor = connection.execute("SELECT 1 AS a")
    assert list(cursor) == [(1,)]
    assert list(cursor.execute("SELECT 2 AS b, 3 AS c")) == [(2, 3)]
    assert cursor.description is not None
    assert [column[0] for column in cursor.description] == ["b", "c"]


def test_description_compares_with_type_objects(connection: Connection) -> None:
    cursor = connection.execute(
        "SELECT 1 AS i, 'x' AS s, 1.5::DOUBLE AS d, 'a'::BLOB AS b, DATE '2021-01-01' AS day, "
        "TIMESTAMP '2021-01-01' AS t, true AS f, [1] AS l"
    )
    assert cursor.description is not None
    codes = {column[0]: column[1] for column in cursor.description}
    assert all(len(column) == 7 for column in cursor.description)
    expected = {
        "i": dbapi.NUMBER,
        "s": dbapi.STRING,
        "d": dbapi.NUMBER,
        "b": dbapi.BINARY,
        "day": dbapi.DATETIME,
        "t": dbapi.DATETIME,
        "f": dbapi.NUMBER,
    }
    objects = [dbapi.STRING, dbapi.BINARY, dbapi.NUMBER, dbapi.DATETIME, dbapi.ROWID]
    for name, kind in expected.items():
        assert [candidate for candidate in objects if codes[name] == candidate] == [kind]
    assert not [candidate for candidate in objects if codes["l"] == candidate]


def test_python_values(connection: Connection) -> None:
    row = connection.execute(
        "SELECT 9007199254740993 AS i, sum(x)::HUGEINT * 1000000000000000000000 AS huge, "
        "1.10::DECIMAL(5,2) AS dec, [10::HUGEINT, NULL] AS huges, "
        "{'h': 7::HUGEINT, 'n': NULL} AS s, 'é' AS text, 'ab\\x00'::BLOB AS blob, "
        "NULL AS nothing, 'nan'::DOUBLE AS nan, "
        "TIMESTAMP '2021-02-03 04:05:06.789012' AS ts, "
        "TIMESTAMP_NS '2021-02-03 04:05:06.123456789' AS ns, "
        "DATE '2021-02-03' AS day, TIME '04:05:06' AS time FROM range(10) t(x)"
    ).fetchone()
    assert row is not None
    assert row[:8] == (
        9007199254740993,
        45 * 10**21,
        Decimal("1.10"),
        [10, None],
        {"h": 7, "n": None},
        "é",
        b"ab\x00",
        None,
    )
    assert [type(row[0]), type(row[1]), type(row[3][0]), type(row[4]["h"])] == [int] * 4
    assert row[8] != row[8]
    assert row[9:] == (
        datetime.datetime(2021, 2, 3, 4, 5, 6, 789012),
        datetime.datetime(2021, 2, 3, 4, 5, 6, 123456),
        datetime.date(2021, 2, 3),
        datetime.time(4, 5, 6),
    )


def test_json_is_text(connection: Connection, model: Model) -> None:
    storage = pa.array(['{"a": 1.50}', None])
    model.answer = pa.table({"j": pa.ExtensionArray.from_storage(pa.json_(), storage)})
    cursor = connection.execute("SELECT j")
    assert cursor.description is not None
    assert cursor.description[0][1] == dbapi.STRING
    assert cursor.fetchall() == [('{"a": 1.50}',), (None,)]
    assert connection.execute("SELECT j").fetch_arrow_table().schema.field("j").type == pa.json_()
    assert connection.execute("SELECT j").df()["j"].iloc[0] == '{"a": 1.50}'
    assert connection.execute("SELECT j").pl()["j"].to_list() == ['{"a": 1.50}', None]


def test_json_is_known_by_its_sql_type(connection: Connection, model: Model) -> None:
    texts = pa.array(['{"a": 1.50}', None])
    lists = pa.array([["1", None], None])
    types = {"plain": "VARCHAR", "j": "JSON", "l": "JSON[]", "v": "VARCHAR[]"}
    fields = [
        pa.field(name, (lists if sql.endswith("[]") else texts).type, metadata={"alder.type": sql})
        for name, sql in types.items()
    ]
    model.answer = pa.Table.from_arrays([texts, texts, lists, lists], schema=pa.schema(fields))
    table = connection.execute("SELECT").fetch_arrow_table()
    assert table.schema.types == [
        pa.string(),
        pa.json_(),
        pa.list_(pa.json_()),
        pa.list_(pa.string()),
    ]
    assert table.schema.field("j").metadata == {b"alder.type": b"JSON"}
    assert connection.execute("SELECT").fetchall() == [
        ('{"a": 1.50}', '{"a": 1.50}', ["1", None], ["1", None]),
        (None, None, None, None),
    ]
    assert connection.execute("SELECT").df()["l"].iloc[0] is not None
    assert connection.execute("SELECT").pl()["l"].to_list() == [["1", None], None]


def test_arrow_results(connection: Connection) -> None:
    table = connection.execute(NUMBERS).fetch_arrow_table()
    assert table.column("n").to_pylist() == list(range(1000))
    reader = connection.execute(NUMBERS).fetch_record_batch()
    assert sum(batch.num_rows for batch in reader) == 1000
    imported = pa.RecordBatchReader.from_stream(connection.execute(NUMBERS))
    assert imported.read_all() == table
    empty = connection.execute("SELECT 1 AS a WHERE false").fetch_arrow_table()
    assert (empty.num_rows, empty.column_names) == (0, ["a"])


def test_data_frames(connection: Connection) -> None:
    sql = "SELECT sum(x) AS s, 10::HUGEINT ** 20 AS f, 100000000000000000000::HUGEINT AS h, 1 AS h "
    frame = connection.execute(f"{sql} FROM range(10) t(x)").df()
    assert frame["s"].dtype == "int64"
    assert frame["s"].iloc[0] == 45
    assert frame.iloc[0, 2] == Decimal(10**20)
    polars = connection.execute(f"{sql} FROM range(10) t(x)").pl()
    assert polars.columns == ["s", "f", "h", "h_1"]
    assert polars.row(0)[2:] == (10**20, 1)


def test_many_batches_and_pieces(connection: Connection, model: Model) -> None:
    batches = [pa.record_batch({"n": list(range(i, i + 7))}) for i in range(0, 70_000, 7)]
    model.answer, model.batches = pa.Table.from_batches(batches), batches
    assert connection.execute("SELECT n").fetchall() == [(n,) for n in range(70_000)]


def test_trailer(connection: Connection) -> None:
    cursor = connection.execute("SELECT 1 AS a")
    with pytest.raises(dbapi.ProgrammingError, match="fetch all rows first"):
        _ = cursor.trailer
    cursor.fetchall()
    info = cursor.trailer
    assert (info.query_id, info.plan_class, info.rows) == ("q-1", "a", 1)
    assert (info.plan_s, info.scatter_s, info.finish_s) == pytest.approx((0.001, 0.002, 0.0005))
    (read,) = info.collections
    assert read.positions == PositionVector({("log", 0): 7})
    assert (read.shards_asked, read.shards_answered) == ((0, 1), (0, 1))
    assert (read.rows_total, read.rows_scanned) == (20, 8)
    assert (read.segments_total, read.segments_pruned) == (10, 4)
    assert read.lag_records == 3
    assert info.token == Token({"gh": PositionVector({("log", 0): 7})})


def test_parameters_travel_typed(connection: Connection, model: Model) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    values = [
        None,
        True,
        -(2**63),
        2**63,
        0.5,
        "x'; drop",
        b"\x00\xff",
        datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
        datetime.datetime(1970, 1, 1, 2, tzinfo=zone),
        datetime.date(1970, 1, 2),
        Decimal("-1.50"),
    ]
    connection.execute("SELECT 1", values)
    sent = [
        (parameter.WhichOneof("value"), getattr(parameter, parameter.WhichOneof("value")))
        for parameter in model.queries[0].parameters
    ]
    assert sent == [
        ("null_value", True),
        ("bool_value", True),
        ("int_value", -(2**63)),
        ("decimal_value", str(2**63)),
        ("float_value", 0.5),
        ("string_value", "x'; drop"),
        ("bytes_value", b"\x00\xff"),
        ("timestamp_us_value", -1),
        ("timestamp_us_value", 0),
        ("date_value", 1),
        ("decimal_value", "-1.50"),
    ]
    connection.execute("SELECT 1", {"a": 1, "b": "x"})
    assert [parameter.name for parameter in model.queries[1].parameters] == ["a", "b"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([object()], "object can't be a parameter"),
        ("abc", "parameters are a list"),
        ({"": 1}, "can't name a parameter"),
        ([10**40], "at most 38 digits"),
        ([Decimal("NaN")], "not a decimal number"),
        (["\ud800"], "lone surrogate"),
    ],
)
def test_what_cannot_be_a_parameter(
    connection: Connection, model: Model, parameters: object, message: str
) -> None:
    with pytest.raises(dbapi.DatabaseError, match=message):
        connection.execute("SELECT 1", parameters)
    assert model.queries == []


def test_query_options_travel(connection: Connection, model: Model) -> None:
    early = Token({"gh": PositionVector({("log", 0): 5, ("log", 1): 9})})
    late = Token({"gh": PositionVector({("log", 0): 6}), "other": PositionVector({("f", 2): 1})})
    connection.execute(
        "SELECT 1",
        min_positions=[early, late],
        timeout_s=20,
        consistency="latest",
        plan_class="e",
    )
    (request,), (timeout_s,) = model.queries, model.timeouts_s
    assert request.consistency == query_pb2.CONSISTENCY_LATEST
    assert request.plan_class == "e"
    assert timeout_s == pytest.approx(20, abs=5)
    assert list(request.min_positions) == (early | late).to_proto()
    assert dict((early | late).positions)["gh"] == PositionVector({("log", 0): 6, ("log", 1): 9})
    with pytest.raises(dbapi.ProgrammingError, match="'cut' or 'latest'"):
        connection.execute("SELECT 1", consistency="newest")
    with pytest.raises(dbapi.ProgrammingError, match="min_positions takes the token"):
        connection.execute("SELECT 1", min_positions=["x"])


def test_a_saved_query_is_called_by_name(connection: Connection, model: Model) -> None:
    model.answer = pa.table({"n": [1, 2]})
    cursor = connection.cursor()
    assert cursor.callproc("top@2", {"n": 5}) == {"n": 5}
    assert cursor.fetchall() == [(1,), (2,)]
    cursor.callproc("top", ["x"])
    first, second = model.queries
    assert (first.sql, first.saved_query) == ("", query_pb2.SavedQuery(name="top", version=2))
    assert list(first.parameters) == [query_pb2.Parameter(name="n", int_value=5)]
    assert second.saved_query == query_pb2.SavedQuery(name="top")
    assert list(second.parameters) == [query_pb2.Parameter(string_value="x")]
