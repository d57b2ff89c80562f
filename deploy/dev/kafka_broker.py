"""A real Apache Kafka broker on loopback, for development and tests: KRaft, one node, small heap.

Needs Java 17 and Maven. The jars and a formatted, empty storage are kept in the user's cache
directory, so a broker starts in a few seconds. Run it as a script for a broker until Ctrl-C:

    python deploy/dev/kafka_broker.py --port 9092
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from jvm import ServerError, command, free_port, prepared, run, start

VERSION: Final = "4.1.1"
SCALA_VERSION: Final = "2.13"
LOGGER_VERSION: Final = "1.7.36"
_OPTIONS: Final = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)
USER: Final = "alder"
CLUSTER_ID: Final = "YWxkZXItZGV2LWNsdXN0ZQ"
STOP_S_MAX: Final = 20.0
_ARTIFACTS: Final = (
    f"org.apache.kafka:kafka_{SCALA_VERSION}:{VERSION}",
    f"org.slf4j:slf4j-simple:{LOGGER_VERSION}",
)


class Broker:
    """One broker with its storage in ``directory``, which outlives kills and restarts.

    With a ``password`` it also listens where SASL (PLAIN) lets :data:`USER` in. With a
    ``key_store``, a PEM file with a key (PKCS #8) and its certificates, it also listens with TLS,
    and where there is a password too, with both.
    """

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        password: str = "",
        key_store: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self._tls_port = free_port()
        self._key_store = key_store
        self._login_port = free_port()
        self._tls_login_port = free_port()
        self._controller_port = free_port()
        self._directory = directory
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def login_bootstrap(self) -> str:
        """host:port for clients that log in."""
        return f"127.0.0.1:{self._login_port}"

    @property
    def tls_bootstrap(self) -> str:
        """host:port for clients that use TLS."""
        return f"127.0.0.1:{self._tls_port}"

    @property
    def tls_login_bootstrap(self) -> str:
        """host:port for clients that log in over TLS."""
        return f"127.0.0.1:{self._tls_login_port}"

    @property
    def log_directory(self) -> Path:
        """Where the segments of topics lie, one directory per partition."""
        return self._directory / "data"

    @property
    def output(self) -> Path:
        """What the broker prints."""
        return self._directory / "broker.out"

    def start(self) -> None:
        """Starts the broker and waits until it takes connections. Raises ServerError."""
        home = prepared_kafka()
        self._directory.mkdir(parents=True, exist_ok=True)
        if not self.log_directory.exists():
            shutil.copytree(home / "formatted", self.log_directory)
        config = self._directory / "server.properties"
        further = self._further_listeners()
        config.write_text(
            _properties(self.port, self._controller_port, self.log_directory, further)
        )
        line = command(home, _OPTIONS, "kafka.Kafka", str(config))
        self._process = start(line, self.port, self.output)

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

    def _further_listeners(self) -> dict[str, str]:
        """What is to be added for listeners with a login or TLS; nothing without them."""
        wanted: dict[str, tuple[int, str]] = {}
        if self._password:
            wanted["LOGIN"] = self._login_port, "SASL_PLAINTEXT"
        if self._key_store is not None:
            wanted["TLS"] = self._tls_port, "SSL"
        if self._password and self._key_store is not None:
            wanted["TLSLOGIN"] = self._tls_login_port, "SASL_SSL"
        if not wanted:
            return {}
        open_to_all = f"PLAINTEXT://127.0.0.1:{self.port}"
        listeners = [f"{name}://127.0.0.1:{port}" for name, (port, _) in wanted.items()]
        protocols = [f"{name}:{protocol}" for name, (_, protocol) in wanted.items()]
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        entry = f'{module} required user_{USER}="{self._password}";'
        logins = {
            f"listener.name.{name.lower()}.plain.sasl.jaas.config": entry
            for name, (_, protocol) in wanted.items()
            if protocol.startswith("SASL")
        }
        return {
            "listeners": ",".join(
                [open_to_all, *listeners, f"CONTROLLER://127.0.0.1:{self._controller_port}"]
            ),
            "advertised.listeners": ",".join([open_to_all, *listeners]),
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": ",".join(
                ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT", *protocols]
            ),
            "sasl.enabled.mechanisms": "PLAIN",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._key_store or ""),
            **logins,
        }

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


def prepared_kafka() -> Path:
    """The jars in ``lib``, beside them a ``formatted`` storage; made once. Raises ServerError."""
    return prepared(f"kafka_{SCALA_VERSION}-{VERSION}", _ARTIFACTS, _format)


def _format(home: Path) -> None:
    config = home / "format.properties"
    config.write_text(_properties(9092, 9093, home / "formatted", {}))
    arguments = ["format", "-t", CLUSTER_ID, "-c", str(config)]
    line = command(home, _OPTIONS, "kafka.tools.StorageTool", *arguments)
    run(line, home, "the storage can't be formatted")


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


def main() -> None:
    """Runs a broker until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="A Kafka broker on loopback, for development.")
    parser.add_argument("--port", type=int, default=9092, help="Port for clients.")
    parser.add_argument("--data", type=Path, help="Keeps topics here (default: for this run only).")
    options = parser.parse_args()
    # From within a wait for the process nobody can wait for its end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory() as scratch:
        broker = Broker(options.data or Path(scratch), options.port)
        try:
            broker.start()
            print(f"kafka ready on {broker.bootstrap}", flush=True)
            broker.wait()
        except ServerError as error:
            raise SystemExit(f"no broker: {error}") from error
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
