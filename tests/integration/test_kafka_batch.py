"""Batch equals live: the same events as a Kafka stream, as JSON lines and as Parquet are equal.

What is compared: under one name of a source, rows have the same births and documents, by the very
digest that leaves keep and that `alder verify` compares; that the digest which each leaf has kept
is that of these rows is checked as well. Beyond it every path has the same type, and every value of
its column is the same. A record's log time and a file's differ by their nature, so events have a
time of their own; and where JSON leaves a choice, as for control characters, texts are spelled as
those of typed rows are.
"""

import asyncio
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deployment import Deployment, standalone
from documents import generated
from kafka_cluster import KafkaCluster
from waiting import eventually

from alder.client import Connection
from alder.fieldtypes import quote
from alder.positions import PositionVector
from alder.remote import RemoteProof, open_channel
from alder.v1 import proof_pb2
from leaf.digest import combined, digest_rows

EVENTS: Final = 20_000
EVENTS_LONG: Final = 100_000
EVENTS_MIXED: Final = 2_000
PARTITIONS: Final = 3
Event = dict[str, object]


def events(count: int, chance: random.Random) -> list[Event]:
    """Events that a typed file can hold, each field in every one of them, null or not."""
    texts = ["", "plain", 'with "quotes"', "line\nbreak", "é漢🎉", "back\\slash", "\t", "NaN", "7"]

    def maybe(value: object, share: float = 0.2) -> object:
        return None if chance.random() < share else value

    return [
        {
            "n": n,
            "at": f"2026-01-{n % 28 + 1:02d}T10:00:{n % 60:02d}Z",
            "kind": chance.choice(["push", "pull", "star"]),
            "text": maybe(chance.choice(texts)),
            "ok": maybe(chance.random() < 0.5),
            "size": maybe(chance.randrange(-8_000, 8_000) / 8),
            "big": maybe(chance.randrange(-(2**63), 2**63)),
            "tags": maybe([chance.choice(texts) for _ in range(chance.randint(1, 3))]),
            "actor": maybe({"login": chance.choice(texts), "at": maybe({"lat": 47.5, "n": n})}),
            "items": maybe([{"a": n, "b": "x"} for _ in range(chance.randint(1, 3))]),
            "late": n if n > count * 3 // 4 else None,
        }
        for n in range(count)
    ]


def cut(length: int, sizes: Sequence[int], chance: random.Random) -> Iterator[slice]:
    """A range in pieces of random sizes."""
    begin = 0
    while begin < length:
        end = begin + chance.choice(sizes)
        yield slice(begin, end)
        begin = end


@pytest.fixture(scope="module")
def seed() -> int:
    return random.randrange(1 << 32)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[Deployment]:
    """Reads and pushes in batches of sizes that nobody chose."""
    chance = random.Random(seed)
    made = standalone(
        tmp_path_factory.mktemp("batch"),
        {"seal_rows": chance.randint(5_000, 50_000), "seal_rows_min": 500},
        tailer_settings={
            "batch_rows_max": chance.randint(2_000, 50_000),
            "batch_size_bytes_max": chance.randint(100_000, 8_000_000),
        },
    )
    made.start()
    try:
        yield made
    finally:
        made.stop()


def stream(
    kafka: KafkaCluster, topic: str, parts: Sequence[Sequence[bytes]], chance: random.Random
) -> None:
    """Produces while it is read, in bursts of random sizes."""
    for number, part in enumerate(parts):
        for piece in cut(len(part), (1, 40, 300, 5_000, 20_000), chance):
            kafka.produce(topic, part[piece], partition=number)


def write_lines(directory: Path, parts: Sequence[Sequence[bytes]]) -> None:
    for number, part in enumerate(parts):
        (directory / f"{number}.jsonl").write_bytes(b"".join(text + b"\n" for text in part))


def write_parquet(directory: Path, parts: Sequence[Sequence[Event]], chance: random.Random) -> None:
    """In row groups of random sizes."""
    for number, part in enumerate(parts):
        rows = pa.Table.from_pylist(part)
        with pq.ParquetWriter(directory / f"{number}.parquet", rows.schema) as writer:
            for piece in cut(len(part), (100, 3_000, 20_000), chance):
                writer.write_table(rows.slice(piece.start, piece.stop - piece.start))


def text_of(event: Event) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def births(connection: Connection, collection: str, source: str) -> str:
    """The digest of births and documents under the name of a source."""
    sql = f"SELECT _partition, _offset, _doc FROM {collection} ORDER BY 1, 2"
    rows = connection.execute(sql).fetch_arrow_table()
    total = 0
    for number in range(PARTITIONS):
        part = rows.filter(pa.compute.equal(rows["_partition"], number))
        offsets = part["_offset"].to_numpy()
        assert offsets.tolist() == list(range(len(offsets)))
        total = combined(total, digest_rows(source, number, offsets, part["_doc"]))
    return f"{total:032x}"


def kept_digest(target: str, connection: Connection, name: str) -> str:
    """What the leaves say that they have taken in."""
    collection = connection.status().catalog.collections[name]
    request = proof_pb2.DigestRequest(
        collection=name,
        collection_id=collection.collection_id,
        shard=collection.shards[0].shard,
        at=PositionVector().to_proto(),
    )

    async def ask() -> str:
        channel = open_channel(target)
        try:
            return (await RemoteProof(channel).digest(request, 60.0)).total_digest
        finally:
            await channel.close()

    return asyncio.run(ask())


def columns(connection: Connection, collection: str) -> dict[str, object]:
    """The type of every path, and what its column holds, in no order."""
    found: dict[str, object] = {}
    for column in connection.describe(collection).columns:
        sql = (
            "SELECT count(v), sum(hash(_partition, _offset, v)) FROM "
            f"(SELECT _partition, _offset, {quote(column.path)}::VARCHAR AS v FROM {collection})"
        )
        found[column.path] = column.sql_type, connection.execute(sql).fetchone()
    if "at" in found:
        sql = f"SELECT sum(hash(_partition, _offset, _time)) FROM {collection}"
        found["_time"] = connection.execute(sql).fetchone()
    return found


def loaded(connection: Connection, urls: Mapping[str, str], count: int, seed: int) -> None:
    """Waits until each collection has all events."""
    for name in urls:
        sql = f"SELECT count(*) FROM {name}"
        eventually(
            lambda sql=sql: connection.execute(sql).fetchone() == (count,),
            f"indexing {name} (seed {seed})",
        )


def check_equal(target: str, connection: Connection, urls: Mapping[str, str], seed: int) -> None:
    found = {}
    for name, url in urls.items():
        source = "kafka1" if url.startswith("kafka") else "file1"
        own = kept_digest(target, connection, name)
        assert own == births(connection, name, source), f"seed {seed}: {name}"
        found[name] = births(connection, name, "any"), columns(connection, name)
    first, *others = found
    assert len(found[first][1]) > 9
    for name in others:
        assert found[name] == found[first], f"seed {seed}: {name} beside {first}"


def bounds_of(count: int, chance: random.Random) -> list[tuple[int, int]]:
    """Where the parts begin and end."""
    inner = sorted(chance.sample(range(1, count), PARTITIONS - 1))
    return list(itertools.pairwise([0, *inner, count]))


def test_a_stream_lines_and_parquet_of_the_same_events_are_equal(
    kafka: KafkaCluster,
    deployment: Deployment,
    tmp_path: Path,
    seed: int,
    pytestconfig: pytest.Config,
) -> None:
    chance = random.Random(seed)
    count = EVENTS_LONG if pytestconfig.getoption("long") else EVENTS
    made = events(count, chance)
    parts = [made[begin:end] for begin, end in bounds_of(count, chance)]
    texts = [list(map(text_of, part)) for part in parts]
    write_lines(tmp_path, texts)
    write_parquet(tmp_path, parts, chance)
    topic = kafka.new_topic(PARTITIONS)
    urls = {
        "stream": kafka.url(topic),
        "lines": f"file://{tmp_path}/*.jsonl",
        "parquet": f"file://{tmp_path}/*.parquet",
    }
    with deployment.connect() as connection:
        for name, url in urls.items():
            connection.create_collection(name, time_path="at", source_urls=[url])
        stream(kafka, topic, texts, chance)
        loaded(connection, urls, count, seed)
        check_equal(deployment.target, connection, urls, seed)


def test_a_stream_and_lines_of_events_of_mixed_types_are_equal(
    kafka: KafkaCluster, deployment: Deployment, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    made = [text.encode() for text in generated(EVENTS_MIXED, seed)]
    texts = [made[begin:end] for begin, end in bounds_of(EVENTS_MIXED, chance)]
    write_lines(tmp_path, texts)
    topic = kafka.new_topic(PARTITIONS)
    urls = {"mixed_stream": kafka.url(topic), "mixed_lines": f"file://{tmp_path}/*.jsonl"}
    with deployment.connect() as connection:
        for name, url in urls.items():
            connection.create_collection(name, source_urls=[url])
        stream(kafka, topic, texts, chance)
        loaded(connection, urls, EVENTS_MIXED, seed)
        check_equal(deployment.target, connection, urls, seed)
