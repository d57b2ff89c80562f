"""Files of typed rows: every format gives the same rows, and what is damaged is stated."""

import asyncio
import datetime as dt
import errno
import gzip
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc
from test_tailer_sources import LIMITS, read_all, source

from alder.errors import AlderError, Reason
from tailer.decode import TableDecoder
from tailer.sources.avroschema import UntypedError, row_type
from tailer.sources.file import FileSource, choose_format
from tailer.sources.model import RawBatch

ROWS = 1_000
WIDE = replace(LIMITS, size_bytes_max=1 << 20, rows_max=10_000)
TABLE = pa.table(
    {
        "n": pa.array(range(ROWS), pa.int64()),
        "s": pa.array([None if n % 7 == 0 else f"text {n * 7919}" for n in range(ROWS)]),
        "at": pa.array(
            [dt.datetime(2020, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=n) for n in range(ROWS)],
            pa.timestamp("us", "UTC"),
        ),
        "list": [[n, n + 1] for n in range(ROWS)],
        "o": [{"x": n / 2} for n in range(ROWS)],
    }
)
SCHEMA = {
    "type": "record",
    "name": "Row",
    "namespace": "events",
    "fields": [
        {"name": "n", "type": "long"},
        {"name": "s", "type": ["null", "string"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "list", "type": {"type": "array", "items": "long"}},
        {
            "name": "o",
            "type": {
                "type": "record",
                "name": "O",
                "fields": [{"name": "x", "type": ["double", "null"]}],
            },
        },
    ],
}


def write_parquet(path: Path) -> None:
    pq.write_table(TABLE, path, row_group_size=300, write_page_checksum=True)


def write_arrow(path: Path) -> None:
    with pa.ipc.new_file(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=300)


def write_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=300)


def write_orc(path: Path) -> None:
    orc.write_table(TABLE, path, stripe_size=16 << 10, batch_size=100)


def write_avro(path: Path, codec: str = "deflate") -> None:
    with path.open("wb") as file:
        fastavro.writer(file, SCHEMA, TABLE.to_pylist(), codec=codec, sync_interval=8_000)


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.parquet": write_parquet,
    "a.arrow": write_arrow,
    "a.arrows": write_stream,
    "a.feather": write_arrow,
    "a.orc": write_orc,
    "a.avro": write_avro,
}


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows_from_any_offset(
    tmp_path: Path, executor: ThreadPoolExecutor, name: str
) -> None:
    WRITERS[name](tmp_path / name)
    expected = list(enumerate(TABLE.to_pylist()))
    for offset in (0, 1, 299, 300, 777, ROWS - 1, ROWS):
        rows, refused, end = read_all(source(tmp_path / name, executor), offset)
        assert rows == expected[offset:]
        assert (refused, end) == ([], ROWS)


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "zstandard", "bzip2", "xz"])
def test_avro_codecs(tmp_path: Path, executor: ThreadPoolExecutor, codec: str) -> None:
    write_avro(tmp_path / "a.avro", codec)
    rows, refused, _ = read_all(source(tmp_path / "a.avro", executor))
    assert [row for _, row in rows] == TABLE.to_pylist()
    assert refused == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_cut_file_gives_what_can_be_read_and_says_where_it_ends(
    tmp_path: Path, executor: ThreadPoolExecutor, name: str
) -> None:
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    path = tmp_path / f"cut{(tmp_path / name).suffix}"
    for size in (0, 3, 100, len(whole) // 2, len(whole) * 3 // 4, len(whole) - 1):
        path.write_bytes(whole[:size])
        rows, refused, end = read_all(source(path, executor))
        assert [row for _, row in rows] == TABLE.slice(0, len(rows)).to_pylist()
        if len(rows) < ROWS:
            assert [entry.offset for entry in refused] == [len(rows)]
            assert f"{path} can't be read from here on" in refused[0].reason
            assert end == len(rows) + 1
    assert name in {"a.parquet", "a.orc"} or len(rows) >= 600


def read_raw(subject: FileSource) -> tuple[int, int, int]:
    """How many rows can be decoded, how many are refused, and the end."""

    async def read() -> tuple[int, int, int]:
        decoder = TableDecoder()
        rows = refused = at = 0
        while True:
            batch = await subject.read(at, 10)
            if batch.end == at:
                return rows, refused, at
            assert batch.begin == at
            if isinstance(batch.records, pa.Table) and batch.records.num_rows:
                decoded = decoder.decode(batch.records)
                documents = decoder.documents(batch.records)
                assert len(documents) == batch.records.num_rows
                assert len(decoded.kept) + len(decoded.rejected.reasons) == len(documents)
            rows += len(batch.offsets)
            refused += len(batch.quarantined)
            at = batch.end

    return asyncio.run(read())


class FlakyBytes(io.BytesIO):
    """Bytes that can't be read any more after some reads, as from a store that goes down."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self.reads = reads

    def read(self, size: int | None = -1) -> bytes:
        self.reads -= 1
        if self.reads < 0:
            raise OSError(errno.EIO, "connection lost")
        return super().read(size)


@dataclass
class FlakyFile:
    name: str
    data: bytes
    reads: int

    def identity(self) -> str:
        return "0:0"

    def open(self) -> pa.NativeFile:
        return pa.PythonFile(FlakyBytes(self.data, self.reads), "r")


@pytest.mark.parametrize("name", [*WRITERS, "a.jsonl.gz", "a.csv.gz", "a.jsonl"])
def test_a_store_that_fails_is_no_damage(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in WRITERS:
        WRITERS[name](path)
    else:
        lines = b"\n".join(b'{"n":%d}' % n for n in range(9_000))
        path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    failed = 0
    for reads in range(12):
        file = FlakyFile(name, path.read_bytes(), reads)
        failure, batches = attempt(file)
        failed += failure == errno.EIO
        assert failure in {None, errno.EIO}
        assert not any(batch.quarantined for batch in batches)
        assert failure or batches[-1].end >= ROWS
    assert failed


def attempt(file: FlakyFile) -> tuple[int | None, list[RawBatch]]:
    """What went wrong, and what was read before it did."""
    batches: list[RawBatch] = []
    try:
        for batch in choose_format(file, 0, WIDE).batches(0):
            batches.append(batch)
    except OSError as error:
        return error.errno, batches
    return None, batches


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_bytes_never_end_the_process_and_are_never_passed_over(
    tmp_path: Path, executor: ThreadPoolExecutor, name: str
) -> None:
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    path = tmp_path / f"damaged{(tmp_path / name).suffix}"
    random = np.random.default_rng(11)
    for _ in range(15):
        damaged = bytearray(whole)
        for at in random.integers(len(whole), size=random.integers(1, 20)):
            damaged[at] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        rows, refused, end = read_raw(source(path, executor, WIDE))
        assert refused or rows == end
        assert rows + refused <= end


def test_a_damaged_row_group_is_one_entry_and_the_others_are_kept(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    damaged = bytearray(path.read_bytes())
    damaged[column.dictionary_page_offset + column.total_compressed_size // 2] ^= 255
    path.write_bytes(damaged)
    rows, refused, end = read_all(source(path, executor))
    kept = [*range(300), *range(600, ROWS)]
    assert [n for n, _ in rows] == kept
    assert [row for _, row in rows] == TABLE.take(kept).to_pylist()
    assert [(entry.offset, end) for entry in refused] == [(300, ROWS)]
    assert f"rows 300 to 599 of {path} can't be read" in refused[0].reason
    assert read_all(source(path, executor), 450)[0] == rows[300:]


def test_a_row_that_is_not_utf_8_is_refused_alone(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    texts = [b"\xff" if n in {3, 70} else b"x" for n in range(200)]
    column = pa.Array.from_buffers(pa.string(), 200, pa.array(texts).buffers())
    pq.write_table(pa.table({"s": column, "n": range(200)}), tmp_path / "a.parquet")
    rows, refused, end = read_all(source(tmp_path / "a.parquet", executor))
    assert [n for n, _ in rows] == [n for n in range(200) if n not in {3, 70}]
    assert [entry.offset for entry in refused] == [3, 70]
    assert all("UTF8" in entry.reason for entry in refused)
    assert end == 200


def test_batches_keep_to_the_limit_on_bytes(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    path = tmp_path / "a.arrow"
    table = pa.table({"s": ["x" * 100] * 500})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)

    async def read() -> RawBatch:
        return await source(path, executor).read(0, 10)

    batch = asyncio.run(read())
    assert 1 <= batch.end <= LIMITS.size_bytes_max // 100
    assert len(read_all(source(path, executor))[0]) == 500


def test_avro_of_unions_is_read_as_documents(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    schema = {
        "type": "record",
        "name": "Node",
        "fields": [
            {"name": "v", "type": ["null", "long", "string", "bytes"]},
            {"name": "next", "type": ["null", "Node"]},
        ],
    }
    values: list[object] = [1, "one", None, b"\x00\xe9"]
    rows = [{"v": value, "next": {"v": value, "next": None}} for value in values]
    with (tmp_path / "a.avro").open("wb") as file:
        fastavro.writer(file, schema, rows)
    found, refused, end = read_all(source(tmp_path / "a.avro", executor))
    assert [text for _, text in found] == [
        '{"v":1,"next":{"v":1,"next":null}}',
        '{"v":"one","next":{"v":"one","next":null}}',
        '{"v":null,"next":{"v":null,"next":null}}',
        '{"v":"\\u0000é","next":{"v":"\\u0000é","next":null}}',
    ]
    assert (refused, end) == ([], 4)


def test_avro_types() -> None:
    def kind(schema: object) -> pa.DataType:
        return (
            row_type({"type": "record", "name": "R", "fields": [{"name": "v", "type": schema}]})
            .field("v")
            .type
        )

    money = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
    assert kind(money) == pa.decimal128(10, 2)
    assert kind(money | {"precision": 50}) == pa.decimal256(50, 2)
    assert kind({"type": "fixed", "name": "F", "size": 3}) == pa.binary(3)
    assert kind({"type": "int", "logicalType": "date"}) == pa.date32()
    assert kind({"type": "int", "logicalType": "unheard-of"}) == pa.int32()
    assert kind(["null", {"type": "enum", "name": "E", "symbols": ["A"]}]) == pa.string()
    assert kind({"type": "map", "values": "float"}) == pa.map_(pa.string(), pa.float32())
    for untyped in (["int", "string"], {"type": "string", "logicalType": "uuid"}, "R"):
        with pytest.raises(UntypedError):
            kind(untyped)


def test_avro_values_keep_their_types(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    money = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
    fields = [
        {"name": "money", "type": money},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "raw", "type": {"type": "fixed", "name": "F", "size": 2}},
    ]
    row = {"money": Decimal("1.25"), "day": dt.date(2020, 2, 29), "raw": b"\x00\xff"}
    file = io.BytesIO()
    fastavro.writer(file, {"type": "record", "name": "R", "fields": fields}, [row])
    (tmp_path / "a.avro").write_bytes(file.getvalue())
    assert read_all(source(tmp_path / "a.avro", executor))[0] == [(0, row)]


def test_a_file_cut_while_it_is_read_is_refused_as_changed(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path)
    subject = source(path, executor)

    async def read() -> None:
        batch = await subject.read(0, 10)
        path.write_bytes(path.read_bytes()[:2_000])
        while batch.end < ROWS:
            batch = await subject.read(batch.end, 10)

    with pytest.raises(AlderError) as changed:
        asyncio.run(read())
    assert changed.value.reason is Reason.IDENTITY_CHANGED
    assert str(path) in changed.value.message
