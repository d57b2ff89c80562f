"""Files from a real S3-compatible server: found, read once, and refused when they change."""

import asyncio
import gzip
import io
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deployment import Deployment, standalone
from obstore.store import S3Store
from s3_server import SECRET_ACCESS_KEY, S3Server

from alder.errors import AlderError, Reason
from tailer.sources.file import FileSource
from tailer.sources.listing import list_files
from tailer.sources.model import RawBatch, ReadLimits
from tailer.sources.storage import stored_file

LIMITS = ReadLimits(1 << 20, 10_000, 1 << 20, 100)
WAIT_S_MAX = 60.0


@pytest.fixture
def store(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


class Bucket:
    """A bucket, written to by a client of its own."""

    def __init__(self, server: S3Server) -> None:
        self.name = f"bucket-{time.monotonic_ns()}"
        self._folder = server.bucket(self.name)
        self._client = S3Store(self.name)

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def put(self, key: str, data: bytes) -> None:
        obstore.put(self._client, key, data)

    def delete(self, key: str) -> None:
        (self._folder / key).unlink()


@pytest.fixture
def bucket(store: S3Server) -> Bucket:
    return Bucket(store)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def parquet(first: int, rows: int) -> bytes:
    file = io.BytesIO()
    table = pa.table({"n": range(first, first + rows), "text": ["x" * 400] * rows})
    pq.write_table(table, file, row_group_size=5_000, compression="none", use_dictionary=False)
    return file.getvalue()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < deadline, "it did not come to this in time"
        time.sleep(0.05)


def read(source: FileSource, offset: int) -> RawBatch:
    return asyncio.run(source.read(offset, 10))


def read_on(source: FileSource, offset: int) -> list[RawBatch]:
    """To the end."""
    batches = [read(source, offset)]
    while batches[-1].end > batches[-1].begin:
        batches.append(read(source, batches[-1].end))
    return batches


def test_globs_name_objects(store: S3Server, bucket: Bucket) -> None:
    for key in ("a.jsonl", "logs/b.jsonl", "logs/c #1é.jsonl", "logs/deep/d.jsonl", "logs/e.csv"):
        bucket.put(key, b"{}\n")

    def keys(pattern: str) -> list[str]:
        listing = list_files(bucket.url(pattern), 100)
        assert not listing.is_cut
        return [url.removeprefix(bucket.url("")) for url in listing.files]

    assert keys("*.jsonl") == ["a.jsonl"]
    assert keys("logs/*.jsonl") == ["logs/b.jsonl", "logs/c #1é.jsonl"]
    assert keys("logs/**/*.jsonl") == ["logs/b.jsonl", "logs/c #1é.jsonl", "logs/deep/d.jsonl"]
    assert keys("l*s/[bd].*") == ["logs/b.jsonl"]
    assert keys("logs/") == keys("logs") == ["logs/b.jsonl", "logs/c #1é.jsonl", "logs/e.csv"]
    assert keys("a.jsonl") == ["a.jsonl"]
    assert keys("none.jsonl") == []
    assert list_files(bucket.url("**"), 2).is_cut
    with pytest.raises(OSError, match="NoSuchBucket"):
        list_files("s3://no-such-bucket-here/*", 100)


def test_an_object_that_changes_while_it_is_read_is_refused(
    store: S3Server, bucket: Bucket, executor: ThreadPoolExecutor
) -> None:
    url = bucket.url("a.parquet")
    bucket.put("a.parquet", parquet(0, 12_000))
    identity = stored_file(url).identity()
    source = FileSource(url, identity, LIMITS, executor)
    batch = read(source, 0)
    assert isinstance(batch.records, pa.Table)
    assert batch.records.column("n").to_pylist() == list(range(batch.end))
    bucket.put("a.parquet", parquet(1, 12_000))
    for subject, offset in ((source, batch.end), (FileSource(url, identity, LIMITS, executor), 0)):
        with pytest.raises(AlderError) as changed:
            read_on(subject, offset)
        assert changed.value.reason is Reason.IDENTITY_CHANGED
        assert url in changed.value.message
    bucket.delete("a.parquet")
    with pytest.raises(AlderError) as gone:
        read(FileSource(url, identity, LIMITS, executor), 0)
    assert gone.value.reason is Reason.UNAVAILABLE
    assert f"{url} can't be read (there is no such object)" in gone.value.message


@pytest.mark.parametrize("key", ["a.parquet", "a.csv.gz"])
def test_a_store_that_is_down_is_no_damage(
    store: S3Server, bucket: Bucket, executor: ThreadPoolExecutor, key: str
) -> None:
    bucket.put(key, contents(key))
    url = bucket.url(key)
    source = FileSource(url, stored_file(url).identity(), LIMITS, executor)
    first = read(source, 0)
    store.kill()
    try:
        with pytest.raises(AlderError) as down:
            read_on(source, first.end)
        assert down.value.reason is Reason.UNAVAILABLE
        assert SECRET_ACCESS_KEY not in down.value.message
    finally:
        store.start()
    batches = [first, *read_on(source, first.end)]
    assert not any(batch.quarantined for batch in batches)
    assert sum(len(batch.offsets) for batch in batches) == 30_000


def contents(key: str) -> bytes:
    if key.endswith(".parquet"):
        return parquet(0, 30_000)
    noise = random.Random(5)
    lines = (f"{n},{noise.getrandbits(2_000):x}" for n in range(30_000))
    return gzip.compress(b"n,text\n" + "\n".join(lines).encode(), 1)


@pytest.fixture
def serving(store: S3Server, tmp_path: Path) -> Iterator[Deployment]:
    deployment = standalone(tmp_path, {})
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.stop()


def test_objects_are_found_read_once_and_refused_by_name_when_they_change(
    serving: Deployment, store: S3Server, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("in/0.parquet", parquet(0, 10_000))
    bucket.put("in/1.jsonl", b"\n".join(b'{"n":%d}' % n for n in range(10_000, 11_000)))
    bucket.put("other/2.jsonl", b'{"n":-1}')
    sql = "SELECT count(*), count(DISTINCT n), min(n), max(n) FROM c"
    with serving.connect() as connection:
        connection.create_collection("c", source_urls=[bucket.url("in/*")])

        def rows() -> list[tuple[object, ...]]:
            counted = connection.execute("SELECT count(*) FROM c").fetchall()
            return connection.execute(sql).fetchall() if counted != [(0,)] else counted

        def errors() -> list[str]:
            tailers = connection.status().tailers
            return [part.error for tailer in tailers for part in tailer.partitions]

        eventually(lambda: rows() == [(11_000, 11_000, 0, 10_999)])
        store.kill()
        eventually(lambda: any("can't be listed" in error for error in errors()))
        store.start()
        bucket.put("in/3.parquet", parquet(11_000, 4_000))
        eventually(lambda: rows() == [(15_000, 15_000, 0, 14_999)])
        bucket.put("in/0.parquet", parquet(50_000, 10_000))
        changed = bucket.url("in/0.parquet")
        eventually(lambda: any(f"{changed} changed" in e for e in errors()))
        serving.restart("serve")
        bucket.put("in/4.jsonl", b'{"n":15000}')
        eventually(lambda: rows() == [(15_001, 15_001, 0, 15_000)])
    assert SECRET_ACCESS_KEY not in (tmp_path / "serve.log").read_text()
