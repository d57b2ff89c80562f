"""Bad input goes to quarantine with offset and reason; the rest is ingested, nothing dies."""

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from deployment import Deployment, standalone

from alder.client import Connection, Error

LINE_BYTES = 100 << 20
GROWTH_BYTES_MAX = 700 << 20

BAD: dict[str, tuple[bytes, str]] = {
    "malformed": (b'{"a": 1', "not valid JSON"),
    "a list": (b"[1, 2]", "not a JSON object"),
    "a string": (b'"text"', "not a JSON object"),
    "invalid UTF-8": (b'{"a": "\xff\xfe"}', "UTF-8"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "Infinity": (b'{"a": -Infinity}', "Infinity"),
    "NUL": (b'{"a": "\x00"}', "not valid JSON"),
    "deep": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested deeper"),
    "trailing comma": (b'{"a": 1,}', "not valid JSON"),
    "duplicate key": (b'{"a": 1, "a": 2}', "duplicate key"),
    "lone surrogate": (b'{"a": "\\ud800"}', ""),
}
ODD: dict[str, tuple[str, str, object]] = {
    "beyond 64 bits": (
        '{"k": "big", "big": 123456789012345678901234567890}',
        "big",
        123456789012345678901234567890,
    ),
    "empty key": ('{"k": "empty", "": 5}', '"\\e"', 5),
    "dotted key": ('{"k": "dotted", "a.b": 6}', '"a\\.b"', 6),
    "SQL word": ('{"k": "word", "select": 7}', '"select"', 7),
    "own _id": ('{"k": "own", "_id": "mine"}', '"\\_id"', "mine"),
    "own _offset": ('{"k": "offset", "_offset": 99}', '"\\_offset"', 99),
    "an object where a number was": ('{"k": "object", "mix": {"inner": 8}}', "mix.inner", 8),
    "a number where an object was": ('{"k": "number", "mix": 9}', "try_cast(mix AS BIGINT)", 9),
    "case": ('{"k": "case", "Case": 1, "case": 2}', '"case"', 2),
    "escaped NUL": ('{"k": "nul", "nul": "a\\u0000b"}', "nul", "a\x00b"),
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = standalone(tmp_path_factory.mktemp("bad"), {"seal_rows": 1_000})
    made.start()
    try:
        yield made
    finally:
        codes = made.stop()
    assert codes == {"serve": 0}


@pytest.fixture
def connection(deployment: Deployment) -> Iterator[Connection]:
    with deployment.connect() as opened:
        yield opened


def _alder(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alder.cli.main", *arguments, "--server", deployment.target]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_bad_records_are_quarantined_and_the_others_ingested(connection: Connection) -> None:
    connection.create_collection("bad", log_partitions=1)
    lines: list[bytes] = []
    for number, (line, _) in enumerate(BAD.values()):
        lines += [json.dumps({"n": number}).encode(), line]
    token = connection.append("bad", lines)
    rows = connection.execute("SELECT n FROM bad ORDER BY n", min_positions=token).fetchall()
    assert rows == [(number,) for number in range(len(BAD))]
    records = {record.offset: record for record in connection.quarantine("bad")}
    assert sorted(records) == [2 * number + 1 for number in range(len(BAD))]
    for number, (line, reason) in enumerate(BAD.values()):
        record = records[2 * number + 1]
        assert reason in record.reason, record.reason
        assert record.value == line[: len(record.value)]
        assert record.size_bytes == len(line)


@pytest.mark.parametrize("name", ODD)
def test_odd_documents_are_kept_exactly(connection: Connection, name: str) -> None:
    document, column, value = ODD[name]
    if "odd" not in {collection.name for collection in connection.collections()}:
        connection.create_collection("odd", log_partitions=1)
        connection.append("odd", [text for text, _, _ in ODD.values()])
        token = connection.append("odd", ['{"k": "last"}'])
        connection.execute("SELECT count(*) FROM odd", min_positions=token)
    key = json.loads(document)["k"]
    rows = connection.execute(f"SELECT _doc, {column} FROM odd WHERE k = ?", [key]).fetchall()
    assert rows == [(document, value)]


def test_a_hundred_thousand_keys_stay_queryable(connection: Connection) -> None:
    connection.create_collection("keys", log_partitions=1)
    documents = [{"n": number, f"key{number}": number} for number in range(100_000)]
    token = connection.append("keys", documents)
    counted = "SELECT count(*), sum(n) FROM keys"
    rows = connection.execute(counted, min_positions=token, timeout_s=120).fetchall()
    assert rows == [(100_000, sum(range(100_000)))]
    rows = connection.execute("SELECT key99999::BIGINT, n FROM keys WHERE n = 99999").fetchall()
    assert rows == [(99_999, 99_999)]


def test_a_line_of_100_megabytes_leaves_memory_bounded(
    deployment: Deployment, connection: Connection, tmp_path: Path
) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"n": 1}\n{"text": "')
        for _ in range(LINE_BYTES >> 20):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"n": 2}\n')
    serve = deployment.processes["serve"].process
    assert serve is not None
    before = psutil.Process(serve.pid).memory_info().rss
    connection.create_collection("static_long", source_urls=[path.as_uri()])
    connection.create_collection("long", log_partitions=1)
    done = _alder(deployment, "ingest", "long", str(path), "--wait")
    assert done.returncode == 0, done.stderr
    for name in ("long", "static_long"):
        _await_rows(connection, name, 2)
        (record,) = connection.quarantine(name)
        assert record.offset == 1
        assert record.size_bytes == LINE_BYTES + len('{"text": ""}')
        assert "exceeds the limit" in record.reason
    assert psutil.Process(serve.pid).memory_info().rss - before < GROWTH_BYTES_MAX


def test_files_that_are_empty_or_cut(connection: Connection, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    lines = b"".join(
        json.dumps({"n": n, "pad": str(n) * 40}).encode() + b"\n" for n in range(5_000)
    )
    whole = gzip.compress(lines)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    connection.create_collection("cut", source_urls=[(tmp_path / "*.jsonl*").as_uri()])
    _await_quarantine(connection, "cut")
    (record,) = connection.quarantine("cut")
    readable = connection.execute("SELECT count(*), max(n) FROM cut").fetchall()[0]
    assert 0 < readable[0] < 5_000
    assert readable[0] == readable[1] + 1 == record.offset
    assert "Truncated compressed stream" in record.reason


SQL_ERRORS = {
    "SELEC 1": "",
    "SELECT * FROM nope": "collection",
    "SELECT nn FROM sqlbad": "did you mean n?",
    "SELECT n + 'x' FROM sqlbad": "",
    "SELECT * FROM read_csv('/etc/passwd')": "read_csv",
    "SELECT * FROM '/etc/passwd'": "",
    "SELECT getenv('HOME')": "getenv",
    "SET memory_limit = '1TB'": "there is no setting memory_limit",
    "COPY (SELECT 1) TO '/tmp/x'": "COPY",
    "INSERT INTO sqlbad VALUES (1)": "INSERT",
    "ATTACH '/tmp/x.db'": "ATTACH",
    "SELECT sum(name) FROM sqlbad": "",
}


@pytest.mark.parametrize("sql", SQL_ERRORS)
def test_bad_sql_is_one_clear_sentence(
    deployment: Deployment, connection: Connection, sql: str
) -> None:
    if "sqlbad" not in {collection.name for collection in connection.collections()}:
        connection.create_collection("sqlbad", log_partitions=1)
        token = connection.append("sqlbad", [{"n": 1, "name": "one"}])
        connection.execute("SELECT n FROM sqlbad", min_positions=token)
    done = _alder(deployment, "sql", sql)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert SQL_ERRORS[sql] in done.stderr


def test_a_query_is_one_statement(connection: Connection) -> None:
    with pytest.raises(Error, match="one SELECT at a time"):
        connection.execute("SELECT 1; SELECT 2").fetchall()


def _await_rows(connection: Connection, name: str, rows: int) -> None:
    deadline = time.monotonic() + 60
    while connection.execute(f"SELECT count(*) FROM {name}").fetchone() != (rows,):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _await_quarantine(connection: Connection, name: str) -> None:
    deadline = time.monotonic() + 60
    while not list(connection.quarantine(name)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
