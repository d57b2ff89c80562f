"""Real deployments on loopback for tests: one process group, or every tier as its own processes.

Both give the same view: a target to connect to, and processes that can be killed and restarted by
name. Every wait is bounded; only processes started here are ended, by their id.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from alder.client import Connection, connect

READY_S_MAX = 60.0
STOP_S_MAX = 30.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class ManagedProcess:
    """One `alder` process, or ``program`` in its place, that prints a ready line."""

    name: str
    arguments: list[str]
    log_path: Path
    program: tuple[str, ...] = ("-m", "alder.cli.main")
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it and waits for its ready line. Raises AssertionError with its output."""
        command = [sys.executable, *self.program, *self.arguments]
        log = self.log_path.open("a")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
        log.close()
        ready = threading.Event()
        threading.Thread(target=self._watch, args=(self.process, ready), daemon=True).start()
        deadline = time.monotonic() + READY_S_MAX
        while not ready.wait(0.05):
            died = self.process.poll() is not None
            assert not died, f"{self.name} ended: {self.log_path.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"{self.name} never got ready"

    def _watch(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if " ready on " in line:
                ready.set()

    def kill(self) -> None:
        """kill -9, with its worker processes, and waits until it is gone."""
        if self.process is not None:
            with _gone_is_fine():
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_S_MAX)

    def pause(self) -> None:
        """The process does nothing until :meth:`resume`; its connections stay."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Ends :meth:`pause`."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM; returns the exit code, killing it where it does not end in time."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return -int(signal.SIGKILL)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return


@dataclass
class Deployment:
    """Processes by name, and where to connect."""

    target: str
    processes: dict[str, ManagedProcess] = field(default_factory=dict)

    def start(self) -> None:
        """Starts every process in order."""
        for process in self.processes.values():
            process.start()

    def connect(self) -> Connection:
        """A new connection."""
        return connect(self.target)

    def restart(self, name: str) -> None:
        """kill -9, then start."""
        self.processes[name].kill()
        self.processes[name].start()

    def stop(self) -> dict[str, int]:
        """Ends all processes in reverse order; their exit codes by name."""
        return {name: self.processes[name].stop() for name in reversed(self.processes)}


def _toml(values: Mapping[str, object]) -> str:
    def text(value: object) -> str:
        return f'"{value}"' if isinstance(value, str) else str(value).lower()

    return "".join(f"{name} = {text(value)}\n" for name, value in values.items())


def standalone(
    root: Path,
    leaf_settings: Mapping[str, object],
    leaves: int = 1,
    tailer_settings: Mapping[str, object] | None = None,
) -> Deployment:
    """`alder serve` with everything in one process."""
    port = free_port()
    config = root / "serve.toml"
    tailer = "\n[tailer]\n" + _toml(tailer_settings or {})
    config.write_text("[leaf]\n" + _toml(leaf_settings) + tailer)
    arguments = ["serve", "--data", str(root / "data"), "--listen", f"127.0.0.1:{port}"]
    arguments += ["--leaves", str(leaves), "--config", str(config)]
    serve = ManagedProcess("serve", arguments, root / "serve.log")
    return Deployment(f"127.0.0.1:{port}", {"serve": serve})


def cluster(
    root: Path,
    leaf_settings: Mapping[str, object],
    leaves: int = 3,
    tailers: int = 2,
    aggregator_settings: Mapping[str, object] | None = None,
    controller_settings: Mapping[str, object] | None = None,
    tailer_settings: Mapping[str, object] | None = None,
) -> Deployment:
    """One controller, one aggregator, and that many leaves and tailers, each its own process."""
    controller = f"127.0.0.1:{free_port()}"
    deployment = Deployment(f"127.0.0.1:{free_port()}")

    def add(role: str, name: str, listen: str, settings: Mapping[str, object]) -> None:
        process = node(root, role, name, listen, controller, settings)
        deployment.processes[name] = process

    add("controller", "controller", controller, controller_settings or {})
    for index in range(leaves):
        add("leaf", f"leaf-{index}", f"127.0.0.1:{free_port()}", leaf_settings)
    for index in range(tailers):
        add("tailer", f"tailer-{index}", f"127.0.0.1:{free_port()}", tailer_settings or {})
    add("aggregator", "aggregator", deployment.target, aggregator_settings or {})
    return deployment


def node(
    root: Path,
    role: str,
    name: str,
    listen: str,
    controller: str,
    settings: Mapping[str, object],
) -> ManagedProcess:
    """A node of a cluster whose controller listens at ``controller``, not started yet."""
    values = {"node_id": name, "listen": listen, "data": str(root / name)}
    values |= {} if role == "controller" else {"controller": controller}
    path = root / f"{name}.toml"
    path.write_text(_toml(values) + "[settings]\n" + _toml(settings))
    return ManagedProcess(name, [role, "--config", str(path)], root / f"{name}.log")
