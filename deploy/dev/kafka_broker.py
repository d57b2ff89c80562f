"""A real Apache Kafka broker on loopback, for development and tests: KRaft, one node, small heap.

Needs Java 17 and Maven. The broker's jars come through Maven, as it is configured on this machine,
once per version; they and a formatted, empty storage are kept in the user's cache directory, so a
broker starts in a few seconds. Run it as a script for a broker until Ctrl-C:

    python deploy/dev/kafka_broker.py --port 9092
"""

import argparse
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

VERSION: Final = "4.1.1"
SCALA_VERSION: Final = "2.13"
LOGGER_VERSION: Final = "1.7.36"
HEAP: Final = "-Xmx256m"
CLUSTER_ID: Final = "YWxkZXItZGV2LWNsdXN0ZQ"
FETCH_S_MAX: Final = 300.0
READY_S_MAX: Final = 60.0
STOP_S_MAX: Final = 20.0
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>alder.dev</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_{SCALA_VERSION}</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>{LOGGER_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class BrokerError(Exception):
    """Why there is no broker, and what to do."""


def missing_tools() -> str:
    """What this machine lacks to run a broker; empty if nothing."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    return f"{' and '.join(missing)} not found on the PATH" if missing else ""


def cache_directory() -> Path:
    """Where jars and formatted storage of this version are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "alder" / f"kafka_{SCALA_VERSION}-{VERSION}"


class Broker:
    """One broker with its storage in ``directory``, which outlives kills and restarts."""

    def __init__(self, directory: Path, port: int = 0, settings: dict[str, str] | None = None):
        self.port = port or _free_port()
        self._controller_port = _free_port()
        self._directory = directory
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def log_directory(self) -> Path:
        """Where the segments of topics lie, one directory per partition."""
        return self._directory / "data"

    @property
    def output(self) -> Path:
        """What the broker prints."""
        return self._directory / "broker.out"

    def start(self) -> None:
        """Starts the broker and waits until it takes connections. Raises BrokerError."""
        jars = prepared_jars()
        self._directory.mkdir(parents=True, exist_ok=True)
        if not self.log_directory.exists():
            shutil.copytree(jars.parent / "formatted", self.log_directory)
        config = self._directory / "server.properties"
        config.write_text(
            _properties(self.port, self._controller_port, self.log_directory, self._settings)
        )
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [*_java(jars), "kafka.Kafka", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._wait_until_ready(self._process)

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """An orderly stop; a broker that does not end in time is killed."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """The broker answers nothing until :meth:`resume`; its connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends :meth:`pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def cut_log(self, topic: str, keep_batches: int, partition: int = 0) -> None:
        """Loses all but the first batches of a log, as an unclean election does; needs a stop."""
        directory = self.log_directory / f"{topic}-{partition}"
        (segment,) = directory.glob("*.log")
        data = segment.read_bytes()
        end = 0
        for _ in range(keep_batches):
            end += 12 + int.from_bytes(data[end + 8 : end + 12])
        segment.write_bytes(data[:end])
        for derived in (*directory.glob("*.*index"), *directory.glob("*.snapshot")):
            derived.unlink()

    def wait(self) -> int:
        """Until the broker ends; its exit code."""
        assert self._process is not None
        return self._process.wait()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S_MAX)
        self._process = None

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_S_MAX
        while not _takes_connections(self.port):
            if process.poll() is not None:
                tail = self.output.read_text(errors="replace")[-2000:]
                raise BrokerError(f"the broker ended with code {process.returncode}: {tail}")
            if time.monotonic() > deadline:
                self.kill()
                raise BrokerError(f"the broker took no connection within {READY_S_MAX:.0f} s")
            time.sleep(0.05)


def prepared_jars() -> Path:
    """The directory of the jars; beside it lies ``formatted``. Fetched once. Raises BrokerError."""
    home = cache_directory()
    home.parent.mkdir(parents=True, exist_ok=True)
    with _locked(home.with_suffix(".lock")):
        if not (home / "formatted").exists():
            with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
                made = Path(scratch) / "made"
                _fetch(made)
                _format(made)
                shutil.rmtree(home, ignore_errors=True)
                made.rename(home)
    return home / "lib"


def _fetch(home: Path) -> None:
    home.mkdir()
    (home / "pom.xml").write_text(_POM)
    command = ["mvn", "-q", "-B", _PLUGIN, "-DincludeScope=runtime", "-DoutputDirectory=lib"]
    _run(command, home, "Maven could not fetch Kafka; is it configured for a registry?")


def _format(home: Path) -> None:
    config = home / "format.properties"
    config.write_text(_properties(9092, 9093, home / "formatted", {}))
    command = [*_java(home / "lib"), "kafka.tools.StorageTool", "format"]
    _run([*command, "-t", CLUSTER_ID, "-c", str(config)], home, "the storage can't be formatted")


def _run(command: list[str], directory: Path, what: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=FETCH_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerError(f"{what}: {error}") from error
    if done.returncode:
        raise BrokerError(f"{what}: {(done.stdout + done.stderr)[-2000:]}")


def _java(jars: Path) -> list[str]:
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
    log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", HEAP, *quick, log, "-cp", f"{jars}/*"]


def _properties(port: int, controller_port: int, logs: Path, settings: dict[str, str]) -> str:
    values = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(logs),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        # After a kill the controller waits this long before it lets the broker come back.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "200",
        "log.cleaner.backoff.ms": "200",
        "log.retention.check.interval.ms": "200",
        "log.segment.delete.delay.ms": "200",
        "log.initial.task.delay.ms": "200",
    }
    return "".join(f"{name}={value}\n" for name, value in {**values, **settings}.items())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Runs a broker until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="A Kafka broker on loopback, for development.")
    parser.add_argument("--port", type=int, default=9092, help="Port for clients.")
    parser.add_argument("--data", type=Path, help="Keeps topics here (default: for this run only).")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        broker = Broker(options.data or Path(scratch), options.port)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: broker.stop())
        try:
            broker.start()
        except BrokerError as error:
            raise SystemExit(f"no broker: {error}") from error
        print(f"kafka ready on {broker.bootstrap}", flush=True)
        broker.wait()


if __name__ == "__main__":
    main()
