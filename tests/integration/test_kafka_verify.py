"""Collections of topics and of stored files: proven, built again from them, and refused for what
they have lost.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from deployment import Deployment, standalone
from documents import generated
from kafka_cluster import KafkaCluster, Record
from s3_server import S3Server
from tampering import flip_a_byte, offset_of, rewrite_segment, with_document, without_row
from test_files import Bucket
from test_kafka import read_up_to
from test_verify import STILL, bytes_of_blobs, check_equal, settled, verified
from waiting import eventually

from alder.catalog import next_name
from alder.cli.proof.model import EXIT_DIFFERS, EXIT_EQUAL, EXIT_NOT_PROVEN, Kind
from alder.client import Connection, Error

ROWS = 2_500
KEYS = 100


@dataclass
class Place:
    """A server, and where its only leaf keeps shards."""

    deployment: Deployment
    leaf: Path

    def shard(self, collection: str, number: int) -> Path:
        (directory,) = self.leaf.glob(f"*-{collection}/{number}")
        return directory

    def damage(self, collection: str) -> None:
        """Flips a byte of the largest shard while the server is down."""
        self.deployment.processes["serve"].stop()
        (directory,) = self.leaf.glob(f"*-{collection}")
        flip_a_byte(max(directory.iterdir(), key=bytes_of_blobs))
        self.deployment.processes["serve"].start()

    def alder(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "alder.cli.main", *arguments]
        line += ["--server", self.deployment.target]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def place(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("verify")
    made = standalone(root, STILL)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        made.start()
        try:
            yield Place(made, root / "data" / "leaf-0")
        finally:
            made.stop()


def keyed_records(rows: int) -> list[Record]:
    return [
        Record(json.dumps({"k": f"k{n % KEYS}", "n": n}).encode(), b"k%d" % (n % KEYS))
        for n in range(rows)
    ]


def answers(connection: Connection, collection: str) -> list[tuple[object, ...]] | None:
    """The sum over all documents; None while it can't be told."""
    sql = f"SELECT count(*), sum(hash(_doc)) FROM {collection}"
    try:
        return connection.execute(sql).fetchall()
    except Error:
        return None


def refusal(connection: Connection, collection: str) -> str:
    """Why a query is refused; empty if it is not."""
    try:
        connection.execute(f"SELECT count(*), sum(hash(_doc)) FROM {collection}").fetchall()
    except Error as error:
        return str(error)
    return ""


def fed(kafka: KafkaCluster, connection: Connection, name: str) -> str:
    """A collection from a topic of two partitions, with one record in quarantine; the topic."""
    topic = kafka.new_topic(2)
    texts = [text.encode() for text in generated(ROWS)]
    kafka.produce(topic, [*texts[:2_000], b"{bad"])
    kafka.produce(topic, texts[2_000:], partition=1)
    connection.create_collection(name, shards=1, source_urls=[kafka.url(topic)])
    eventually(read_up_to(connection, name, 2_001, 500), f"reading {name}")
    return topic


def test_what_was_done_to_shards_of_topics_is_named_and_they_are_built_again(
    kafka: KafkaCluster, place: Place
) -> None:
    with place.deployment.connect() as connection:
        fed(kafka, connection, "plain")
        topic = kafka.new_topic()
        kafka.produce(topic, [*keyed_records(ROWS), Record(None, b"k7")])
        url = kafka.url(topic)
        connection.create_collection("keyed", shards=2, key_path="_key", source_urls=[url])
        eventually(read_up_to(connection, "keyed", ROWS + 1), "reading keyed")
        settled(connection)
        before = answers(connection, "plain")
    check_equal(verified(place.deployment.target, "plain", conditions=4), ROWS, quarantined=1)
    proof = verified(place.deployment.target, "keyed", conditions=4)
    check_equal(proof, ROWS, quarantined=0)
    assert sum(shard.deaths for shard in proof.shards) == ROWS - KEYS + 1
    assert all(shard.taken_in for shard in proof.shards)
    named: dict[Kind, int] = {}

    def lose(table: pa.Table) -> pa.Table:
        named[Kind.LOST] = offset_of(table, 11)
        return without_row(table, 11)

    def alter(table: pa.Table) -> pa.Table:
        named[Kind.ALTERED] = offset_of(table, 5)
        before = table.column("int:n")[5].as_py()
        return with_document(table, 5, "int:n", before, before + 1_000_000)

    place.deployment.processes["serve"].stop()
    rewrite_segment(place.shard("keyed", 0), lose)
    rewrite_segment(place.shard("keyed", 1), alter)
    place.damage("plain")
    report = verified(place.deployment.target, "keyed")
    assert report.exit_code == EXIT_DIFFERS
    found = {one.kind: one.row for one in report.all_findings}
    assert found == {kind: f"kafka1/0/{offset}" for kind, offset in named.items()}
    report = verified(place.deployment.target, "plain")
    assert {one.kind for one in report.all_findings} == {Kind.DAMAGED, Kind.UNREADABLE}
    with place.deployment.connect() as connection:
        eventually(lambda: answers(connection, "plain") == before, "building it again")
    check_equal(verified(place.deployment.target, "plain"), ROWS, quarantined=1)


def test_what_a_topic_has_lost_is_not_proven_not_built_again_and_named(
    kafka: KafkaCluster, place: Place
) -> None:
    with place.deployment.connect() as connection:
        topic = fed(kafka, connection, "cut_off")
        settled(connection)
        kafka.delete_records(topic, 60)
        gone = "begins at offset 60"
        report = verified(place.deployment.target, "cut_off")
        assert report.all_findings == []
        assert report.exit_code == EXIT_NOT_PROVEN
        (refused,) = report.coverage.refusals
        assert refused.part == "kafka1/0 offsets 0 to 59"
        assert gone in refused.why
        assert sum(shard.rows for shard in report.shards) == ROWS - 60
        done = place.alder("rebuild", "cut_off")
        assert done.returncode
        assert f"partition 0 of the topic {topic} {gone}" in done.stderr
        assert "its offsets up to 59" in done.stderr
        assert next_name("cut_off") not in connection.status().catalog.collections
    place.damage("cut_off")
    with place.deployment.connect() as connection:
        eventually(lambda: gone in refusal(connection, "cut_off"), "naming what is lost")


def test_a_compacted_topic_proves_nothing_and_is_read_again(
    kafka: KafkaCluster, place: Place
) -> None:
    topic = kafka.new_topic(cleanup_policy="compact")
    kafka.produce(topic, keyed_records(50))
    with place.deployment.connect() as connection:
        connection.create_collection("compacted", key_path="_key", source_urls=[kafka.url(topic)])
        eventually(read_up_to(connection, "compacted", 50), "reading it")
        report = verified(place.deployment.target, "compacted")
        assert report.exit_code == EXIT_NOT_PROVEN
        assert "is compacted" in report.coverage.refusals[0].why
        assert place.alder("rebuild", "compacted").returncode == EXIT_EQUAL
        assert connection.execute("SELECT count(*) FROM compacted").fetchone() == (50,)


def test_a_shard_of_stored_files_is_built_again_while_they_are_there(
    s3_server: S3Server, place: Place
) -> None:
    bucket = Bucket(s3_server)
    for part in range(2):
        bucket.put(f"{part}.jsonl", "\n".join(generated(1_500, seed=part)).encode())
    target, gone = place.deployment.target, f"{bucket.url('0.jsonl')} can't be read"
    with place.deployment.connect() as connection:
        connection.create_collection("stored", shards=1, source_urls=[bucket.url("*.jsonl")])
        sql = "SELECT count(*) FROM stored"
        eventually(lambda: connection.execute(sql).fetchone() == (3_000,), "reading both")
        settled(connection)
        before = answers(connection, "stored")
    check_equal(verified(target, "stored"), 3_000)
    place.damage("stored")
    with place.deployment.connect() as connection:
        assert "mismatch" in refusal(connection, "stored")
        eventually(lambda: answers(connection, "stored") == before, "building it again")
        settled(connection)
    bucket.delete("0.jsonl")
    assert verified(target, "stored").exit_code == EXIT_NOT_PROVEN
    done = place.alder("rebuild", "stored")
    assert done.returncode
    assert gone in done.stderr
    place.damage("stored")
    with place.deployment.connect() as connection:
        eventually(lambda: gone in refusal(connection, "stored"), "naming the file that is gone")
