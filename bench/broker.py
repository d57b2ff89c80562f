"""A Kafka topic for a benchmark, at the cluster that ``KAFKA_BOOTSTRAP`` names or one of its own.

The broker is the script of `deploy/dev`, in a process beside the ones that are measured.
"""

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bench.peers.base import MissingError

BOOTSTRAP_VARIABLE: Final = "KAFKA_BOOTSTRAP"
SCRIPT: Final = Path(__file__).parent.parent / "deploy" / "dev" / "kafka_broker.py"
READY_S_MAX: Final = 400
"""The first start fetches the broker."""
STOP_S_MAX: Final = 30
ANSWER_S_MAX: Final = 30
FLUSH_S_MAX: Final = 300
_READY: Final = "kafka ready on "


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """host:port of a cluster. Raises MissingError where there is none."""
    named = os.environ.get(BOOTSTRAP_VARIABLE)
    if named:
        yield named
        return
    folder.mkdir(parents=True)
    command = [sys.executable, str(SCRIPT), "--port", "0", "--data", str(folder / "data")]
    log = folder / "broker.log"
    with log.open("a") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        yield _ready(process, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        finally:
            process.kill()


def _ready(process: "subprocess.Popen[str]", log: Path) -> str:
    if process.stdout is None:
        raise AssertionError("its output is a pipe")
    watchdog = threading.Timer(READY_S_MAX, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    if not line.startswith(_READY):
        raise MissingError(f"no Kafka broker: {log.read_text()[-2000:]}")
    return line.removeprefix(_READY).strip()


@contextmanager
def topic(bootstrap: str, path: Path, partitions: int) -> Iterator[str]:
    """The URL of a topic with the lines of a file, dealt to its partitions in turns."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    name = f"bench-{uuid.uuid4().hex[:12]}"
    wanted = NewTopic(name, partitions, 1, config={"retention.ms": "-1"})
    admin.create_topics([wanted])[name].result(ANSWER_S_MAX)
    try:
        _produce(bootstrap, name, path, partitions)
        yield f"kafka://{bootstrap}/{name}"
    finally:
        admin.delete_topics([name])[name].result(ANSWER_S_MAX)


def _produce(bootstrap: str, name: str, path: Path, partitions: int) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "linger.ms": 50,
            "batch.size": 1 << 20,
            "acks": "all",
        }
    )
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            document = line.rstrip(b"\n")
            while True:
                try:
                    producer.produce(name, document, partition=number % partitions)
                    break
                except BufferError:
                    producer.poll(1.0)
    if left := producer.flush(FLUSH_S_MAX):
        raise RuntimeError(f"{left} events were not taken by the broker")
