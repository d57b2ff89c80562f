"""A leaf that stands before where its tailer left it: what it does not have is sent again."""

import shutil
from pathlib import Path
from typing import Final

from deployment import cluster
from kafka_cluster import KafkaCluster
from test_kafka import numbered, read_up_to, values
from waiting import eventually

HALF: Final = 500


def test_a_leaf_that_was_set_back_takes_no_push_from_beyond_its_position(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    """Leases outlast the restarts and nobody compares positions, so pushes alone tell."""
    deployment = cluster(
        tmp_path,
        {},
        leaves=1,
        tailers=1,
        controller_settings={"lease_s": 120.0},
        tailer_settings={"audit_interval_s": 3_600.0},
    )
    leaf, older = deployment.processes["leaf-0"], tmp_path / "older"
    deployment.start()
    try:
        topic = kafka.new_topic()
        with deployment.connect() as connection:
            connection.create_collection("set_back", source_urls=[kafka.url(topic)])
            kafka.produce(topic, numbered(range(HALF)))
            eventually(read_up_to(connection, "set_back", HALF), "reading one half")
            leaf.kill()
            shutil.copytree(tmp_path / "leaf-0", older)
            leaf.start()
            kafka.produce(topic, numbered(range(HALF, 2 * HALF)))
            eventually(read_up_to(connection, "set_back", 2 * HALF), "reading the other half")
            leaf.kill()
            shutil.rmtree(tmp_path / "leaf-0")
            older.rename(tmp_path / "leaf-0")
            leaf.start()
            kafka.produce(topic, numbered(range(2 * HALF, 2 * HALF + 10)))
            end = 2 * HALF + 10
            eventually(read_up_to(connection, "set_back", end), "reading what came since")
            assert values(connection, "set_back") == list(range(end))
    finally:
        deployment.stop()
