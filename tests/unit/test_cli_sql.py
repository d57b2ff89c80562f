"""`alder sql`: every format gives the result back exactly, every error is one sentence."""

import base64
import csv
import datetime
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from client_fakes import Model, fake_server

from alder.cli import output
from alder.cli.errors import CommandError
from alder.cli.main import cli
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

_JSON = '{"z": 2.50,\r\n "big": 123456789012345678901234567890}'


@pytest.fixture
def server() -> Iterator[tuple[str, Model]]:
    with fake_server() as started:
        yield started


@pytest.fixture
def model(server: tuple[str, Model]) -> Model:
    return server[1]


@pytest.fixture
def rich_result(model: Model) -> pa.Table:
    """A value and a NULL of every type that a result may have; names that need care."""
    stamp = datetime.datetime(2021, 2, 3, 4, 5, 6, 789000)
    columns: dict[str, pa.Array] = {
        "int": pa.array([2**63 - 1, None]),
        "unsigned": pa.array([2**64 - 1, None], pa.uint64()),
        "huge": pa.array([Decimal(10**37), None], pa.decimal128(38, 0)),
        "decimal": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
        "float": pa.array([0.1, None]),
        "nan": pa.array([float("nan"), float("-inf")]),
        "bool": pa.array([True, None]),
        "text": pa.array(['a,"b"\n\x00é\u2028', None]),
        "empty": pa.array(["", None]),
        "bytes": pa.array([b"\x00\xff", None]),
        "date": pa.array([datetime.date(2021, 2, 3), None]),
        "time": pa.array([datetime.time(4, 5, 6), None]),
        "stamp": pa.array([stamp, None]),
        "zoned": pa.array([stamp, None], pa.timestamp("us", "Europe/Berlin")),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array([_JSON, None])),
        "list": pa.array([[Decimal("0.10"), None], None], pa.list_(pa.decimal128(5, 2))),
        "floats": pa.array([[1.0, float("nan")], []]),
        "struct": pa.array([{"When": stamp, 'q"': b"a"}, None]),
        "Nested 'odd\" name": pa.array([[{"a": [1]}], None]),
        "nothing": pa.nulls(2),
    }
    model.answer = pa.table(columns)
    return model.answer


def run(server: tuple[str, Model], *arguments: str, stdin: bytes | None = None) -> Result:
    command = ["sql", "--server", server[0], *arguments]
    return CliRunner().invoke(cli, command, input=stdin)


EXACT: dict[str, object] = {
    "int": 2**63 - 1,
    "unsigned": 2**64 - 1,
    "huge": 10**37,
    "decimal": Decimal("1.50"),
    "float": Decimal("0.1"),
    "nan": None,
    "bool": True,
    "text": 'a,"b"\n\x00é\u2028',
    "empty": "",
    "bytes": base64.b64encode(b"\x00\xff").decode(),
    "date": "2021-02-03",
    "time": "04:05:06",
    "stamp": "2021-02-03T04:05:06.789",
    "zoned": "2021-02-03T04:05:06.789Z",
    "json": {"z": Decimal("2.50"), "big": 123456789012345678901234567890},
    "list": [Decimal("0.10"), None],
    "floats": [Decimal("1.0"), None],
    "struct": {"When": "2021-02-03T04:05:06.789", 'q"': "YQ=="},
    "Nested 'odd\" name": [{"a": [1]}],
    "nothing": None,
}


def test_json_lines_are_exact(server: tuple[str, Model], rich_result: pa.Table) -> None:
    result = run(server, "--format", "jsonl", "SELECT 1")
    first, second = result.stdout_bytes.decode().split("\n")[:-1]
    exact = json.loads(first, parse_float=Decimal)
    assert exact == EXACT
    assert str(exact["decimal"]) == "1.50"
    nulls = json.loads(second)
    assert nulls.pop("floats") == []
    assert set(nulls) == set(EXACT) - {"floats"}
    assert set(nulls.values()) == {None}


def test_json_is_one_array(server: tuple[str, Model], rich_result: pa.Table) -> None:
    result = run(server, "--format", "json", "SELECT 1")
    rows = json.loads(result.stdout_bytes, parse_float=Decimal)
    assert rows[0] == EXACT
    assert len(rows) == 2


def test_csv_tells_null_from_empty(server: tuple[str, Model], rich_result: pa.Table) -> None:
    text = run(server, "--format", "csv", "SELECT 1").stdout_bytes.decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == rich_result.column_names
    row = dict(zip(rows[0], rows[1], strict=True))
    for name in ("int", "unsigned", "huge", "float", "text", "bytes", "date", "time", "stamp"):
        assert row[name] == str(EXACT[name])
    assert (row["decimal"], row["bool"], row["nan"]) == ("1.50", "true", "nan")
    assert row["json"] == _JSON
    assert json.loads(row["struct"]) == EXACT["struct"]
    assert row["list"] == "[0.10,null]"
    # The second line: only the quoted fields are values.
    assert text.endswith("\n,,,,,-inf,,,,,,,,,,,[],,,\n")


def test_empty_results(server: tuple[str, Model], model: Model) -> None:
    model.answer = pa.table({"a": pa.array([], pa.int64()), "b,": pa.array([], pa.string())})
    assert run(server, "--format", "jsonl", "SELECT").stdout == ""
    assert json.loads(run(server, "--format", "json", "SELECT").stdout) == []
    assert run(server, "--format", "csv", "SELECT").stdout == 'a,"b,"\n'
    table = run(server, "--format", "table", "SELECT").stdout
    assert "a" in table
    assert "b," in table


def test_repeated_names_stay_apart_in_json(server: tuple[str, Model]) -> None:
    result = run(server, "--format", "jsonl", "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS A")
    assert json.loads(result.stdout) == {"a": 1, "a_2": 2, "a_1": 3, "A": 4}


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
def test_binary_formats_round_trip(
    server: tuple[str, Model], rich_result: pa.Table, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"out.{suffix}"
    assert run(server, "--output", str(target), "SELECT 1").exit_code == 0
    if suffix == "arrow":
        read = pa.ipc.open_stream(target.read_bytes()).read_all()
    else:
        read = pyarrow.parquet.read_table(target)
    assert read.column_names == rich_result.column_names
    assert repr(read.to_pylist()) == repr(rich_result.to_pylist())
    piped = run(server, "--format", suffix, "SELECT 1").stdout_bytes
    assert len(piped) == target.stat().st_size


def test_a_pipe_gets_csv_and_a_terminal_a_table(
    server: tuple[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(server, "SELECT 1 AS a, 'x' AS b").stdout == "a,b\n1,x\n"
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    table = run(server, "SELECT 1 AS a, NULL AS b").stdout
    assert [line for line in table.splitlines() if "NULL" in line]
    refused = run(server, "SELECT 1", "--format", "parquet")
    assert refused.exit_code == 2
    assert "not for a terminal" in refused.stderr


def test_a_table_can_not_steer_the_terminal(server: tuple[str, Model]) -> None:
    result = run(server, "--format", "table", "SELECT chr(27) || '[2J' || chr(7) AS \"\x1b[1m\"")
    assert "\x1b" not in result.stdout
    assert "\\x1b[2J\\x07" in result.stdout


def test_a_long_table_says_what_it_leaves_out(server: tuple[str, Model]) -> None:
    result = run(server, "--format", "table", "SELECT * FROM range(2500) t(n)")
    assert f"{output.TABLE_ROWS_MAX - 1} " in result.stdout
    assert " 1000 " not in result.stdout
    assert "the first 1,000 of 2,500 rows" in result.stderr


def test_a_failed_query_leaves_the_file_alone(
    server: tuple[str, Model], model: Model, tmp_path: Path
) -> None:
    target = tmp_path / "out.csv"
    target.write_text("precious")
    model.break_answer = True
    result = run(server, "--output", str(target), "SELECT * FROM range(100000) t(n)")
    assert (result.exit_code, target.read_text()) == (1, "precious")
    assert result.stderr == "alder: the answer ended before it was complete; ask again\n"
    model.break_answer = False
    assert run(server, "--output", str(target), "SELECT 1 AS a").exit_code == 0
    assert target.read_text() == "a\n1\n"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_parameters_and_options(server: tuple[str, Model], model: Model) -> None:
    options = ["--param", "i=5", "--param", "f=1.5", "--param", "t=true", "--param", "n=null"]
    quoted = ["--param", 's="5"', "--param", "$w=a b=c", "--param", "l=[1]", "--param", "e="]
    result = run(server, *options, *quoted, "--timeout", "7", "--latest", "--stats", "SELECT 1")
    assert result.exit_code == 0
    (request,), (timeout_s,) = model.queries, model.timeouts_s
    sent = {
        parameter.name: getattr(parameter, parameter.WhichOneof("value"))
        for parameter in request.parameters
    }
    assert sent == {
        "i": 5,
        "f": 1.5,
        "t": True,
        "n": True,
        "s": "5",
        "w": "a b=c",
        "l": "[1]",
        "e": "",
    }
    assert timeout_s == pytest.approx(7, abs=2)
    assert request.consistency == 2
    assert "1 row in 3.5 ms" in result.stderr
    assert "gh: 2 of 2 shards, 8 of 20 rows scanned, 4 of 10 segments pruned" in result.stderr
    assert ", cut log/0:7, 3 records behind" in result.stderr
    assert run(server, "--param", "x", "SELECT 1").exit_code == 2


def test_sql_from_stdin(server: tuple[str, Model]) -> None:
    assert run(server, "-", stdin="SELECT 'é' AS a".encode()).stdout == "a\né\n"
    assert run(server, "-", stdin=b"\xff").exit_code == 2


def test_errors_are_one_sentence(server: tuple[str, Model], model: Model) -> None:
    model.query_error = AlderError(Reason.SYNTAX, "it is\n\x1b[31mwrong\x1b[0m;\tdo that")
    result = run(server, "SELECT")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "alder: it is wrong; do that\n"
    model.query_error = RuntimeError("secret")
    result = run(server, "SELECT")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr
    nobody = CliRunner().invoke(cli, ["sql", "SELECT 1"], env={"ALDER_SERVER": "127.0.0.1:1"})
    assert nobody.exit_code == 1
    assert nobody.stderr.startswith("alder: no server answers at 127.0.0.1:1")
    malformed = CliRunner().invoke(cli, ["sql", "SELECT 1", "--server", "x"])
    assert malformed.stderr.startswith("alder: 'x' is not a server's address")
    model.query_error = None
    missing = run(server, "--output", "/nonexistent/dir/out.csv", "SELECT 1")
    assert missing.exit_code == 1
    assert missing.stderr == "alder: there is no folder /nonexistent/dir\n"


def test_statements_run_in_order_on_one_connection(server: tuple[str, Model], model: Model) -> None:
    text = "SET plan_class = 'e'; SELECT ';' AS a; -- next\nRESET plan_class; SELECT 2 AS b;"
    result = run(server, "--format", "csv", "--param", "x=1", text)
    assert (result.exit_code, result.stdout) == (0, "a\n;\nb\n2\n")
    assert [query.plan_class for query in model.queries] == ["e", ""]
    assert [query.sql for query in model.queries] == ["SELECT ';' AS a", "SELECT 2 AS b"]
    assert all(len(query.parameters) == 1 for query in model.queries)
    result = run(server, "--format", "json", "-", stdin=b"SET timeout_s = 9; SELECT 1 AS a\n")
    assert json.loads(result.stdout) == [{"a": 1}]
    alone = run(server, "SET plan_class = 'e'")
    assert (alone.exit_code, alone.stdout) == (0, "")
    run(server, "  SELECT 1 ;")
    assert model.queries[-1].sql == "  SELECT 1 ;", "places in errors are those of the user's text"


def test_a_script_stops_at_its_first_error(
    server: tuple[str, Model], model: Model, tmp_path: Path
) -> None:
    wrong = run(server, "SELECT 1; SET memoize_partials = false; SELECT 2")
    assert wrong.exit_code == 1
    assert wrong.stderr == (
        "alder: there is no setting memoize_partials; did you mean memoise_partials?\n"
    )
    assert len(model.queries) == 1
    for options in (
        ["--format", "parquet"],
        ["--format", "json"],
        ["--output", str(tmp_path / "x")],
    ):
        refused = run(server, *options, "SELECT 1; SELECT 2")
        assert refused.exit_code == 2
        assert "holds one result, but 2 statements give one" in refused.stderr
    assert len(model.queries) == 1
    assert not list(tmp_path.iterdir())


def test_defects_of_the_command_line_are_one_sentence(
    server: tuple[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(output, "write", fail)
    result = run(server, "--format", "csv", "SELECT 1")
    assert result.exit_code == 1
    assert result.stderr == "alder: internal error, please report it: ZeroDivisionError: a defect\n"


def test_help_imports_no_tier() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom alder.cli.main import cli\n"
        "for args in (['--help'], ['sql', '--help'], ['ingest', '--help']):\n"
        "    assert CliRunner().invoke(cli, args).exit_code == 0\n"
        "tiers = {'tailer', 'leaf', 'aggregator', 'controller'}\n"
        "print(sorted(tiers & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("[]\n", 0)


def test_unknown_commands_are_wrong_usage() -> None:
    assert CliRunner().invoke(cli, ["sqll"]).exit_code == 2


def test_an_interrupted_conversion_is_an_interrupted_command() -> None:
    with pytest.raises(KeyboardInterrupt), output.text_engine():
        raise duckdb.InterruptException("Interrupted!")
    with pytest.raises(KeyboardInterrupt), output.text_engine():
        raise RuntimeError("Query interrupted")
    with pytest.raises(RuntimeError, match="another"), output.text_engine():
        raise RuntimeError("another")
    with pytest.raises(CommandError, match="can't be written as text"), output.text_engine() as it:
        it.sql("SELECT 'x'::INT").fetchall()


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """Commands started here heed SIGINT, though a job in the background begins by ignoring it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_and_a_closed_pipe(server: tuple[str, Model], model: Model) -> None:
    address, _ = server
    command = [sys.executable, "-m", "alder.cli.main", "sql", "--server", address]
    sql = "SELECT * FROM range(300000) t(n)"
    with subprocess.Popen(
        [*command, sql], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as reader_gone:
        assert reader_gone.stdout is not None
        assert reader_gone.stderr is not None
        assert reader_gone.stdout.readline() == b"n\n"
        reader_gone.stdout.close()
        assert reader_gone.wait(30) == 1
        assert reader_gone.stderr.read() == b""
    model.hang = True
    with subprocess.Popen(
        [*command, "SELECT 1 AS a"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as interrupted:
        for _ in range(300):
            if len(model.queries) == 2:
                break
            signal.sigtimedwait([], 0.1)
        interrupted.send_signal(signal.SIGINT)
        _, errors = interrupted.communicate(timeout=30)
        assert (interrupted.returncode, errors) == (130, b"")
    assert model.cancelled.wait(10)


def test_missing_shards_are_named_whatever_else_is_asked(server: tuple[str, Model]) -> None:
    model = server[1]
    model.answer = pa.table({"n": [1]})
    quiet = run(server, "--policy", "coverage >= 0.5", "SELECT 1")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert model.queries[-1].policy.coverage_min == 0.5
    missing = query_pb2.MissingShard(shard=1, leaf="leaf-1", reason="it is\ngone")
    model.shards_missing.append(missing)
    told = run(server, "--policy", "coverage >= 0.5", "SELECT 1")
    assert told.exit_code == 0
    assert told.stdout == quiet.stdout
    assert told.stderr == (
        "alder: the answer stands for 50.0 % of gh; missing are shard 1 on leaf-1: it is gone\n"
    )
    assert run(server, "--policy", "most", "SELECT 1").exit_code == 1
