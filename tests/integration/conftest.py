"""The Kafka broker and the S3 server of a test run.

Where this machine has no Java or no Maven their tests are skipped, which the end of the run tells
loudly. Where it has both, a server that does not start fails them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import pytest
from certificates import write_certificates
from jvm import ToolsMissing
from kafka_broker import Broker
from kafka_cluster import PASSWORD, KafkaCluster
from s3_server import S3Server

BOOTSTRAP_VARIABLE: Final = "KAFKA_BOOTSTRAP"
_SKIPPED: Final = " TESTS SKIPPED: "
"""Stands in the reason of a skipped test that the end of the run has to tell."""


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A real Kafka: the one that KAFKA_BOOTSTRAP names, else one of our own."""
    bootstrap = os.environ.get(BOOTSTRAP_VARIABLE)
    if bootstrap:
        yield KafkaCluster(bootstrap)
        return
    certificates = tmp_path_factory.mktemp("kafka")
    try:
        broker = _started(certificates)
    except ToolsMissing as error:
        _skip_kafka(f"there is no Kafka broker: {error}")
    try:
        yield KafkaCluster(broker.bootstrap, broker, certificates)
    finally:
        broker.kill()


@pytest.fixture
def kafka_broker(kafka: KafkaCluster) -> Broker:
    """The broker as a process that can be killed; tests leave it running."""
    if kafka.broker is None:
        _skip_kafka(f"the broker of {BOOTSTRAP_VARIABLE} is not ours to kill")
    return kafka.broker


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3-compatible server of our own."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
    except ToolsMissing as error:
        pytest.skip(f"S3{_SKIPPED}there is no S3 server: {error}. Install Java 17 and Maven.")
    try:
        yield server
    finally:
        server.kill()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells what was skipped for want of a server, in whichever worker it was."""
    skipped = {
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    }
    for text in sorted(skipped):
        what, mark, reason = text.partition(_SKIPPED)
        if mark:
            terminalreporter.section(f"{what} TESTS SKIPPED", sep="!", red=True, bold=True)
            terminalreporter.line(reason)


def _started(certificates: Path) -> Broker:
    key_store = write_certificates(certificates)
    broker = Broker(certificates / "broker", password=PASSWORD, key_store=key_store)
    broker.start()
    return broker


def _skip_kafka(reason: str) -> NoReturn:
    advice = f"Install Java 17 and Maven, or set {BOOTSTRAP_VARIABLE}=host:port."
    pytest.skip(f"KAFKA{_SKIPPED}{reason}. {advice}")
