"""Files as partitions: every row once, at its number; what can't be read is stated."""

import asyncio
import datetime
import gzip
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.errors import AlderError, Reason
from alder.files import identity_of
from tailer.sources.file import FileSource
from tailer.sources.lines import JsonLines
from tailer.sources.listing import Listing, list_files
from tailer.sources.model import Quarantined, RawBatch, ReadLimits
from tailer.sources.storage import LocalFile

LIMITS = ReadLimits(
    size_bytes_max=1_000, rows_max=100, record_size_bytes_max=5_000, prefix_bytes_max=20
)
Row = tuple[int, object]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def source(path: Path, pool: ThreadPoolExecutor, limits: ReadLimits = LIMITS) -> FileSource:
    return FileSource(str(path), identity_of(path.stat()), limits, pool)


def rows_of(batch: RawBatch) -> list[Row]:
    records = (
        batch.records.to_pylist()
        if isinstance(batch.records, pa.Table)
        else [value.decode() for value in batch.records.to_pylist()]
    )
    assert len(records) == len(batch.offsets) == len(batch.log_times_us)
    return list(zip(batch.offsets.tolist(), records, strict=True))


def rows_of_bytes(batch: RawBatch) -> list[Row]:
    assert isinstance(batch.records, pa.Array)
    return list(zip(batch.offsets.tolist(), batch.records.to_pylist(), strict=True))


def read_all(subject: FileSource, offset: int = 0) -> tuple[list[Row], list[Quarantined], int]:
    """Rows, quarantine and end; checks that batches follow each other without a gap."""

    async def read() -> tuple[list[Row], list[Quarantined], int]:
        rows: list[Row] = []
        refused: list[Quarantined] = []
        at = offset
        while True:
            batch = await subject.read(at, 10)
            if batch.end == batch.begin:
                return rows, refused, batch.source_end
            assert batch.begin == at
            inside = [*batch.offsets.tolist(), *(entry.offset for entry in batch.quarantined)]
            assert len(set(inside)) == len(inside)
            assert all(batch.begin <= o < batch.end for o in inside)
            rows += rows_of(batch)
            refused += batch.quarantined
            at = batch.end

    return asyncio.run(read())


def compressed(path: Path, data: bytes) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data))
    elif path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(data)
    else:
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_json_lines(
    tmp_path: Path, executor: ThreadPoolExecutor, suffix: str, line_end: str
) -> None:
    lines = [json.dumps({"n": n, "é": "x" * (n % 90)}) for n in range(500)]
    lines[7] = ""
    lines[8] = "   "
    data = "\ufeff" + line_end.join(lines)
    path = compressed(tmp_path / f"a.jsonl{suffix}", data.encode())
    expected = [(n, line) for n, line in enumerate(lines) if line.strip()]
    for offset in (0, 1, 8, 250, 499, 500):
        rows, refused, end = read_all(source(path, executor), offset)
        assert rows == [row for row in expected if row[0] >= offset]
        assert (refused, end) == ([], 500)


def test_reading_goes_back_when_asked(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    path = compressed(tmp_path / "a.jsonl", b"\n".join(b'{"n":%d}' % n for n in range(1_000)))
    subject = source(path, executor)
    everything = read_all(subject)
    assert read_all(subject, 300)[0] == everything[0][300:]
    assert read_all(subject, 0) == everything

    async def read_again() -> list[RawBatch]:
        return [await subject.read(at, 10) for at in (0, 0, 700, 10)]

    batches = asyncio.run(read_again())
    assert [(b.begin, rows_of(b)[0][0]) for b in batches] == [(n, n) for n in (0, 0, 700, 10)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz"])
def test_an_empty_file_has_no_rows(tmp_path: Path, executor: ThreadPoolExecutor, name: str) -> None:
    assert read_all(source(compressed(tmp_path / name, b""), executor)) == ([], [], 0)


def test_a_line_above_the_limit_is_refused_with_its_size_and_beginning(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    huge = b'{"a":"' + b"x" * 40_000 + b'"}'
    data = b"\n".join([b'{"n":0}', huge, b'{"n":2}', huge, huge, b'{"n":5}', huge])
    rows, refused, end = read_all(source(compressed(tmp_path / "a.jsonl", data), executor))
    assert rows == [(0, '{"n":0}'), (2, '{"n":2}'), (5, '{"n":5}')]
    assert [entry.offset for entry in refused] == [1, 3, 4, 6]
    for entry in refused:
        assert entry.size_bytes == len(huge)
        assert entry.value == huge[:20]
        assert f"record of {len(huge)} bytes exceeds the limit of 5000 bytes" in entry.reason
    assert end == 7


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")),
            st.lists(st.sampled_from([b"x", b" ", b"\t\v\f"]), max_size=4).map(b"".join),
        )
    ),
    st.integers(1, 30),
    st.integers(1, 50),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_lines_do_not_depend_on_the_size_of_reads(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    block: int,
    longest: int,
    line_end: bytes,
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes(line_end.join(lines))
    limits = ReadLimits(block, 100, longest, 5)
    found: dict[int, bytes] = {}
    for batch in JsonLines(LocalFile(str(path)), 0, limits).batches(0):
        found.update(zip(batch.offsets.tolist(), batch.records.to_pylist(), strict=True))
        for entry in batch.quarantined:
            line = lines[entry.offset] + line_end.removesuffix(b"\n")
            assert longest < entry.size_bytes <= len(line)
            assert entry.size_bytes >= len(lines[entry.offset])
            assert line.startswith(entry.value)
            assert len(entry.value) >= min(5, longest)
            found[entry.offset] = lines[entry.offset]
    text = b"\n".join(lines).removeprefix(b"\xef\xbb\xbf")
    expected = {n: line for n, line in enumerate(text.split(b"\n")) if line.strip()}
    assert {n: line for n, line in found.items() if line.strip()} == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=20)), st.integers(1, 40), st.integers(1, 30), st.data())
def test_lines_do_not_depend_on_where_reading_begins(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    block: int,
    longest: int,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    subject = JsonLines(LocalFile(str(path)), 0, ReadLimits(block, 100, longest, 5))
    end = max((batch.end for batch in subject.batches(0)), default=0)
    offset = data.draw(st.integers(0, end + 1))

    def read(begin: int) -> tuple[list[Row], list[Quarantined], int]:
        batches = [batch for batch in subject.batches(begin) if batch.end > offset]
        rows = [row for batch in batches for row in rows_of_bytes(batch) if row[0] >= offset]
        refused = [one for batch in batches for one in batch.quarantined if one.offset >= offset]
        return rows, refused, batches[-1].end if batches else 0

    assert read(offset) == read(0)
    assert all(batch.begin <= offset for batch in list(subject.batches(offset))[:1])


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_cut_file_gives_all_that_can_be_read(
    tmp_path: Path, executor: ThreadPoolExecutor, suffix: str
) -> None:
    random = np.random.default_rng(3)
    lines = [b'{"n":%d,"r":%d}' % (n, random.integers(1 << 60)) for n in range(40_000)]
    whole = compressed(tmp_path / f"a.jsonl{suffix}", b"\n".join(lines)).read_bytes()
    path = tmp_path / f"cut.jsonl{suffix}"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    limits = ReadLimits(1 << 20, 100, 1 << 20, 1_000)
    rows, refused, end = read_all(source(path, executor, limits))
    count = len(rows)
    assert count > 10_000
    assert [text.encode() for _, text in rows] == lines[:count]
    (entry,) = refused
    assert entry.offset == count
    assert "can't be read from here on" in entry.reason
    assert lines[count].startswith(entry.value)
    assert end == count + 1
    assert read_all(source(path, executor, limits), count + 1) == ([], [], count + 1)


def test_a_file_that_is_not_compressed_at_all(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b'{"n":1}\n')
    rows, refused, end = read_all(source(path, executor))
    assert (rows, len(refused), refused[0].offset, end) == ([], 1, 0, 1)


CSV = b"""n,zip,ratio,day,at,utc,flag,text,empty
1,00501,1.5,2013-01-01,2013-01-01 05:00:00,2013-01-01T05:00:00Z,true,a,
-2,10001,2,2013-12-31,2013-01-01T05:00:00.5,2013-01-01T05:00:00+02:00,FALSE,"b, ""c"" ",
NA,NA,NA,NA,NA,NA,NA,NA,
,,,,,,,,
9,00502,1e5,2000-02-29,2013-01-02 00:00:00,2013-01-01T05:00:00Z,true,"two
lines",
"""


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_csv_types_hold_for_the_whole_file(
    tmp_path: Path, executor: ThreadPoolExecutor, suffix: str
) -> None:
    path = compressed(tmp_path / f"a.csv{suffix}", CSV)
    rows, refused, end = read_all(source(path, executor))
    assert (refused, end) == ([], 5)
    columns = {name: [row[name] for _, row in rows] for name in rows[0][1]}
    assert columns["n"] == [1, -2, None, None, 9]
    assert columns["zip"] == ["00501", "10001", "NA", None, "00502"]
    assert columns["ratio"] == [1.5, 2.0, None, None, 100_000.0]
    assert columns["day"][1:3] == [datetime.date(2013, 12, 31), None]
    assert columns["at"][1] == datetime.datetime(2013, 1, 1, 5, 0, 0, 500_000)
    assert columns["utc"][1] == datetime.datetime(2013, 1, 1, 3, tzinfo=datetime.UTC)
    assert columns["flag"] == [True, False, None, None, True]
    assert columns["text"] == ["a", 'b, "c" ', "NA", None, "two\nlines"]
    assert columns["empty"] == [None] * 5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2", "x"], ["1", "2", "x"]),
        (["1", "2.5"], [1.0, 2.5]),
        (["1", "-0"], [1.0, -0.0]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["1", "1e999"], ["1", "1e999"]),
        (["nan", "1.5"], ["nan", "1.5"]),
        (["2013-02-30", "2013-01-01"], ["2013-02-30", "2013-01-01"]),
        (["2013-01-01", "2013-01-01 00:00:00"], ["2013-01-01", "2013-01-01 00:00:00"]),
        (["true", "yes"], ["true", "yes"]),
        (["+1", "2"], ["+1", "2"]),
        ([" 1", "2"], [" 1", "2"]),
        (["NA", "NA"], ["NA", "NA"]),
    ],
)
def test_no_csv_value_is_changed_by_its_type(
    tmp_path: Path, executor: ThreadPoolExecutor, values: list[str], expected: list[object]
) -> None:
    path = compressed(tmp_path / "a.csv", "\n".join(["c,d", *(v + "," for v in values)]).encode())
    rows, _, _ = read_all(source(path, executor))
    assert [row["c"] for _, row in rows] == expected


def test_csv_types_come_from_late_rows_too(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    lines = ["a;b", *(f"{n};{n}" for n in range(300_000)), "late;1.5"]
    path = compressed(tmp_path / "a.csv", "\n".join(lines).encode())
    limits = ReadLimits(1_000, 100, 1_000, 20)
    rows, _, end = read_all(source(path, executor, limits))
    assert end == 300_001
    assert rows[0] == (0, {"a": "0", "b": 0.0})
    assert rows[-1] == (300_000, {"a": "late", "b": 1.5})


def test_bad_csv_rows_are_refused_at_their_number(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    data = b"a,b\n1,2\n3\n4,5\n\n6,7,8\n\xff,9\n10,11\n12\n"
    path = compressed(tmp_path / "a.csv", data)
    for offset in range(8):
        rows, refused, end = read_all(source(path, executor), offset)
        good = [(0, "1", 2), (2, "4", 5), (5, "10", 11)]
        assert rows == [(n, {"a": a, "b": b}) for n, a, b in good if n >= offset]
        bad = [(1, b"3"), (3, b"6,7,8"), (4, b"\xff,9"), (6, b"12")]
        assert [(e.offset, e.value) for e in refused] == [b for b in bad if b[0] >= offset]
        assert end == max(7, offset)


def test_csv_header_names_stay_apart(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    path = compressed(tmp_path / "a.csv", b"x,x,,select\n1,2,3,4\n")
    rows, _, _ = read_all(source(path, executor))
    assert rows == [(0, {"x": 1, "x_1": 2, "column2": 3, "select": 4})]


def test_a_cut_csv_does_not_pass_off_half_a_value(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    lines = [b"%d,%d" % (n, n * 7919 % 1_000_003) for n in range(100_000)]
    whole = gzip.compress(b"a,b\n" + b"\n".join(lines))
    for cut in range(200_000, 200_012):
        path = tmp_path / f"{cut}.csv.gz"
        path.write_bytes(whole[:cut])
        rows, refused, _ = read_all(source(path, executor))
        found = [b"%d,%d" % (row["a"], row["b"]) for _, row in rows]
        assert found == lines[: len(rows)]
        assert len(rows) > 10_000
        assert "can't be read from here on" in refused[-1].reason


def test_parquet_keeps_types_and_jumps_to_an_offset(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    table = pa.table(
        {
            "n": pa.array(range(1_000), pa.int16()),
            "d": pa.array([datetime.date(2013, 1, 1)] * 1_000),
            "s": pa.array([{"x": n} for n in range(1_000)]),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=300)
    for offset in (0, 299, 300, 777, 999, 1_000):
        rows, refused, end = read_all(source(path, executor), offset)
        assert [n for n, _ in rows] == list(range(offset, 1_000))
        assert [row for _, row in rows] == table.slice(offset).to_pylist()
        assert (refused, end) == ([], 1_000)


def test_damaged_parquet_is_one_entry_in_quarantine(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(100)}), path)
    path.write_bytes(path.read_bytes()[:-20])
    rows, refused, end = read_all(source(path, executor))
    assert (rows, len(refused), end) == ([], 1, 1)
    assert "can't be read from here on" in refused[0].reason


def test_the_time_of_a_row_is_that_of_the_file(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    path = compressed(tmp_path / "a.jsonl", b"{}\n{}\n")
    os.utime(path, ns=(5, 1_234_567_891))
    batch = asyncio.run(source(path, executor).read(0, 10))
    assert batch.log_times_us.tolist() == [1_234_567, 1_234_567]


def test_a_changed_file_is_refused_and_a_missing_one_is_waited_for(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    path = compressed(tmp_path / "a.jsonl", b"{}\n")
    subject = source(path, executor)
    path.write_bytes(b"{}\n{}\n")
    with pytest.raises(AlderError) as changed:
        asyncio.run(subject.read(0, 10))
    assert changed.value.reason is Reason.IDENTITY_CHANGED
    path.unlink()
    with pytest.raises(AlderError) as missing:
        asyncio.run(subject.read(0, 10))
    assert missing.value.reason is Reason.UNAVAILABLE


def test_globs_find_regular_files_only(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.jsonl", "a.jsonl", "deep/c.jsonl", "deep/er/d.jsonl", "x.csv"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "dir.jsonl").mkdir()

    def names(pattern: str) -> list[str]:
        found = list_files(f"file://{tmp_path}/{pattern}", 10).files
        return [str(Path(path).relative_to(tmp_path)) for path in found]

    assert names("*.jsonl") == ["a.jsonl", "b.jsonl"]
    assert names("**/*.jsonl") == ["a.jsonl", "b.jsonl", "deep/c.jsonl", "deep/er/d.jsonl"]
    assert names("deep") == ["deep/c.jsonl"]
    assert names("none*") == []
    status = (tmp_path / "x.csv").stat()
    found = {str(tmp_path / "x.csv"): f"2:{status.st_mtime_ns}"}
    assert list_files(f"file://{tmp_path}/x.csv", 10) == Listing(found)
    cut = list_files(f"file://{tmp_path}/**/*.jsonl", 3)
    assert cut.is_cut
    assert len(cut.files) <= 3
