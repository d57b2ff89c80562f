"""The Kafka broker and the S3 server of a test run, and a loud word where there is none."""

import os
from collections.abc import Iterator
from typing import Final

import pytest
from kafka_broker import Broker, BrokerError, missing_tools
from kafka_cluster import KafkaCluster
from s3_server import S3Server, ServerError

BOOTSTRAP_VARIABLE: Final = "KAFKA_BOOTSTRAP"
_absent = pytest.StashKey[set[str]]()
_no_s3 = pytest.StashKey[set[str]]()


@pytest.fixture(scope="session")
def kafka(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[KafkaCluster]:
    """A real Kafka: the one that KAFKA_BOOTSTRAP names, else one of our own."""
    bootstrap = os.environ.get(BOOTSTRAP_VARIABLE)
    if bootstrap:
        yield KafkaCluster(bootstrap)
        return
    try:
        broker = _started(tmp_path_factory)
    except BrokerError as error:
        _skip(pytestconfig, f"there is no Kafka broker: {error}")
    try:
        yield KafkaCluster(broker.bootstrap, broker)
    finally:
        broker.kill()


@pytest.fixture
def kafka_broker(kafka: KafkaCluster, pytestconfig: pytest.Config) -> Broker:
    """The broker as a process that can be killed; tests leave it running."""
    if kafka.broker is None:
        _skip(pytestconfig, f"the broker of {BOOTSTRAP_VARIABLE} is not ours to kill")
    return kafka.broker


@pytest.fixture(scope="session")
def s3_server(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[S3Server]:
    """A real S3-compatible server of our own."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
    except ServerError as error:
        pytestconfig.stash.setdefault(_no_s3, set()).add(f"there is no S3 server: {error}")
        pytest.skip(str(error))
    try:
        yield server
    finally:
        server.kill()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in sorted(terminalreporter.config.stash.get(_absent, set())):
        terminalreporter.section("KAFKA TESTS SKIPPED", sep="!", red=True, bold=True)
        terminalreporter.line(
            f"{reason}. Install Java 17 and Maven, or set {BOOTSTRAP_VARIABLE}=host:port."
        )
    for reason in sorted(terminalreporter.config.stash.get(_no_s3, set())):
        terminalreporter.section("S3 TESTS SKIPPED", sep="!", red=True, bold=True)
        terminalreporter.line(f"{reason}. Install Java 17 and Maven.")


def _started(factory: pytest.TempPathFactory) -> Broker:
    missing = missing_tools()
    if missing:
        raise BrokerError(missing)
    broker = Broker(factory.mktemp("kafka"))
    broker.start()
    return broker


def _skip(config: pytest.Config, reason: str) -> None:
    config.stash.setdefault(_absent, set()).add(reason)
    pytest.skip(reason)
