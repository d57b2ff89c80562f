"""`alder ingest`: every file format and every kind of damage, in bounded memory."""

import datetime
import gzip
import json
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from client_fakes import Model, documents_of, fake_server
from hypothesis import given
from hypothesis import strategies as st

from alder.cli import inputs
from alder.cli.main import cli
from alder.client import TruncatedDocument
from alder.client.documents import DOCUMENT_BYTES_MAX, PREFIX_BYTES
from alder.v1 import common_pb2

LINES = b"".join(b'{"n": %d, "text": "%s"}\n' % (n, b"x" * (n % 50)) for n in range(20_000))


@pytest.fixture
def server() -> Iterator[tuple[str, Model]]:
    with fake_server() as started:
        started[1].create("gh")
        yield started


@pytest.fixture
def model(server: tuple[str, Model]) -> Model:
    return server[1]


def run(server: tuple[str, Model], *arguments: str, stdin: bytes | None = None) -> Result:
    command = ["ingest", "--server", server[0], *arguments]
    return CliRunner().invoke(cli, command, input=stdin)


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, "zstd", asbytes=True)
    return packed


@pytest.mark.parametrize(
    "packed",
    [
        LINES,
        gzip.compress(LINES),
        gzip.compress(LINES[:1000]) + gzip.compress(LINES[1000:]) + b"\0" * 512,
        zstd(LINES),
        zstd(LINES[:1000]) + zstd(LINES[1000:]),
    ],
    ids=["plain", "gzip", "gzip members", "zstd", "zstd frames"],
)
def test_lines_arrive_untouched(
    server: tuple[str, Model], model: Model, tmp_path: Path, packed: bytes
) -> None:
    path = tmp_path / "events.any"
    path.write_bytes(packed)
    result = run(server, "gh", str(path))
    assert result.exit_code == 0, result.output
    assert b"\n".join(model.documents("gh")) + b"\n" == LINES
    assert result.stderr.startswith("20,000 events into gh in ")
    model.records.clear()
    assert run(server, "gh", "-", stdin=packed).exit_code == 0
    assert b"\n".join(model.documents("gh")) + b"\n" == LINES


def test_odd_lines(server: tuple[str, Model], model: Model, tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\r\n  \n[1]\nnot json\n\xff\x00\n{"last": true}')
    assert run(server, "gh", str(path)).exit_code == 0
    assert model.documents("gh") == [
        b'{"a":1}',
        b"[1]",
        b"not json",
        b"\xff\x00",
        b'{"last": true}',
    ]


def test_empty_inputs(server: tuple[str, Model], model: Model, tmp_path: Path) -> None:
    for name, content in (("a", b""), ("b.gz", gzip.compress(b"")), ("c.zst", zstd(b"\n"))):
        path = tmp_path / name
        path.write_bytes(content)
        result = run(server, "gh", str(path), "--wait")
        assert result.exit_code == 0, result.output
        assert result.stderr.startswith("0 events into gh")
    assert model.appends == []


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_truncated_file_gives_what_it_holds(
    server: tuple[str, Model], model: Model, tmp_path: Path, kind: str
) -> None:
    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(b'{"whole": 1}\n')
    path = tmp_path / "cut"
    packed = gzip.compress(LINES) if kind == "gzip" else zstd(LINES)
    path.write_bytes(packed[: len(packed) // 2])
    result = run(server, "gh", str(path), str(whole))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"alder: {path} is truncated")
    assert result.stderr.count("\n") == 2
    *lines, last, other = model.documents("gh")
    assert other == b'{"whole": 1}'
    sent = b"\n".join([*lines, last])
    assert LINES.startswith(sent)
    if kind == "gzip":
        engine = zlib.decompressobj(wbits=31)
        assert sent == engine.decompress(path.read_bytes()) + engine.flush()
    else:
        assert len(sent) > len(LINES) // 4


def test_damaged_files(server: tuple[str, Model], model: Model, tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(LINES))
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "a.gz").write_bytes(bytes(packed))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nonsense")
    for name in ("a.gz", "b.parquet"):
        result = run(server, "gh", str(tmp_path / name))
        assert result.exit_code == 1
        assert f"alder: {tmp_path / name} " in result.stderr
        assert "Traceback" not in result.output


def test_a_long_line_keeps_memory_bounded(
    server: tuple[str, Model], model: Model, tmp_path: Path
) -> None:
    size = 64 << 20
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n{"long": "')
        for _ in range(size >> 20):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"a": 2}\n')
    tracemalloc.start()
    try:
        documents = [document for batch in inputs.read(str(path)) for document in batch.documents]
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 3 * DOCUMENT_BYTES_MAX
    prefix = b'{"long": "' + b"x" * (PREFIX_BYTES - 10)
    assert documents == [b'{"a": 1}', TruncatedDocument(prefix, size + 12), b'{"a": 2}']
    assert run(server, "gh", str(path)).exit_code == 0
    sizes = [record.original_size_bytes for record in model.records["gh"]]
    assert sizes == [0, size + 12, 0]


def test_a_line_of_exactly_the_limit_is_whole() -> None:
    line = b"x" * DOCUMENT_BYTES_MAX
    splitter = inputs.LineSplitter()
    assert splitter.feed(line) == []
    assert splitter.feed(b"\n" + line) == [line]
    too_long = TruncatedDocument(line[:PREFIX_BYTES], DOCUMENT_BYTES_MAX + 1)
    assert splitter.feed(b"y\nz") == [too_long]
    assert splitter.finish() == [b"z"]


@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"{}", b"\xef\xbb\xbf", b"a", b" "]), max_size=12),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_lines_do_not_depend_on_blocks(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    splitter = inputs.LineSplitter()
    documents = [
        document for begin, end in pairwise(bounds) for document in splitter.feed(data[begin:end])
    ]
    documents += splitter.finish()
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert documents == [line.removesuffix(b"\r") for line in lines if line and not line.isspace()]


def test_csv_rows_become_documents(server: tuple[str, Model], model: Model, tmp_path: Path) -> None:
    content = 'n,name,when,x y,empty\n1,"a ""b""",2021-01-02,0.5,\n2,,2021-01-03,1,\n'
    (tmp_path / "rows.csv").write_text(content)
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(content.encode()))
    (tmp_path / "rows.tsv").write_text("a\tb\n1\tx\n")
    expected = [
        {"n": 1, "name": 'a "b"', "when": "2021-01-02", "x y": 0.5, "empty": None},
        {"n": 2, "name": None, "when": "2021-01-03", "x y": 1.0, "empty": None},
    ]
    for name in ("rows.csv", "rows.csv.gz"):
        model.records.clear()
        result = run(server, "gh", str(tmp_path / name))
        assert result.exit_code == 0, result.output
        assert documents_of(model, "gh") == expected
    model.records.clear()
    run(server, "gh", str(tmp_path / "rows.tsv"))
    assert documents_of(model, "gh") == [{"a": 1, "b": "x"}]


def test_csv_types_come_from_the_whole_file(
    server: tuple[str, Model], model: Model, tmp_path: Path
) -> None:
    rows = ["v", *map(str, range(30_000)), "late text"]
    (tmp_path / "late.csv").write_text("\n".join(rows) + "\n")
    assert run(server, "gh", str(tmp_path / "late.csv")).exit_code == 0
    documents = documents_of(model, "gh")
    assert (documents[0], documents[-1], len(documents)) == ({"v": "0"}, {"v": "late text"}, 30_001)


def test_parquet_rows_become_exact_documents(
    server: tuple[str, Model], model: Model, tmp_path: Path
) -> None:
    stamp = datetime.datetime(2021, 2, 3, 4, 5, 6, 7)
    table = pa.table(
        {
            "big": pa.array([2**63 - 1, None]),
            "dec": pa.array([Decimal("12345678901234567890.10"), None], pa.decimal128(38, 2)),
            "stamp": pa.array([stamp, None]),
            "zoned": pa.array([stamp, None], pa.timestamp("us", "UTC")),
            "blob": pa.array([b"\xff", None]),
            "nested": pa.array([{"a": [1, None], "b.c": "x"}, None]),
            "nan": pa.array([float("nan"), 1.5]),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert run(server, "gh", str(tmp_path / "rows.parquet")).exit_code == 0
    first, second = (json.loads(text, parse_float=Decimal) for text in model.documents("gh"))
    assert first == {
        "big": 2**63 - 1,
        "dec": Decimal("12345678901234567890.10"),
        "stamp": "2021-02-03T04:05:06.000007",
        "zoned": "2021-02-03T04:05:06.000007Z",
        "blob": "/w==",
        "nested": {"a": [1, None], "b.c": "x"},
        "nan": None,
    }
    assert second == {**dict.fromkeys(first), "nan": Decimal("1.5")}


def test_wait_asks_until_everything_is_visible(
    server: tuple[str, Model], model: Model, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n" * 3)
    model.invisible_answers = 2
    model.quarantined = [common_pb2.QuarantinedRecord(source="log", offset=1, reason="bad")]
    result = run(server, "gh", str(path), "--wait")
    assert result.exit_code == 0, result.output
    assert len(model.queries) == 3
    assert all(
        query.min_positions[0].positions.positions[0].next_offset == 3 for query in model.queries
    )
    assert "visible after" in result.stderr
    assert "1 record of gh is in quarantine: alder quarantine gh list" in result.stderr


def test_wait_gives_up(server: tuple[str, Model], model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    model.invisible_answers = 10**9
    result = run(server, "gh", str(path), "--wait", "--timeout", "0.05")
    assert result.exit_code == 1
    assert "alder: the events are stored, but after 0.05 s 5 are not visible yet" in result.stderr


def test_the_collection_must_exist_or_be_created(
    server: tuple[str, Model], model: Model, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    result = run(server, "ghx", str(path))
    assert result.exit_code == 1
    assert result.stderr == (
        "alder: there is no collection ghx (is it gh?); create it first, or add --create\n"
    )
    assert run(server, "new", str(path), "--create").exit_code == 0
    assert run(server, "new", str(path), "--create").exit_code == 0
    assert len(model.documents("new")) == 2


def test_wrong_files(server: tuple[str, Model], model: Model, tmp_path: Path) -> None:
    missing = run(server, "gh", str(tmp_path / "none.jsonl"))
    assert missing.exit_code == 1
    assert missing.stderr == f"alder: {tmp_path / 'none.jsonl'}: No such file or directory\n"
    folder = run(server, "gh", str(tmp_path))
    assert folder.stderr == f"alder: {tmp_path} is a directory; name its files\n"
    assert run(server, "gh").exit_code == 2
    assert model.appends == []


def test_an_error_says_how_much_was_stored(
    server: tuple[str, Model], model: Model, tmp_path: Path
) -> None:
    path = tmp_path / "big.jsonl"
    path.write_bytes(LINES * 10)
    model.append_error_after = 15
    result = run(server, "gh", str(path))
    assert result.exit_code == 1
    stored, _, rest = result.stderr.rpartition("(")[2].partition(" events were stored before)")
    assert rest == "\n"
    assert 0 < int(stored.replace(",", "")) <= len(model.documents("gh"))
    assert result.stderr.startswith("alder: the disk is full; make room (")


def test_a_live_pipe_is_passed_on_at_once(server: tuple[str, Model], model: Model) -> None:
    command = [sys.executable, "-m", "alder.cli.main", "ingest", "gh", "-", "--server", server[0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"first": 1}\n{"half')
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while not model.documents("gh") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert model.documents("gh") == [b'{"first": 1}']
        process.stdin.write(b'": 2}\n')
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
    assert model.documents("gh") == [b'{"first": 1}', b'{"half": 2}']
