"""A cluster of processes for a benchmark: a controller, leaves, a tailer, an aggregator."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

READY_S_MAX: Final = 60
STOP_S_MAX: Final = 30


@contextmanager
def cluster(folder: Path, leaves: int) -> Iterator[str]:
    """The target of an aggregator over so many leaf processes, all ended afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    controller, target = _address(), _address()
    roles = [("controller", controller), *(("leaf", _address()) for _ in range(leaves))]
    roles += [("tailer", _address()), ("aggregator", target)]
    with ExitStack() as stack:
        for number, (role, listen) in enumerate(roles):
            values = {
                "node_id": f"{role}-{number}",
                "listen": listen,
                "data": str(folder / f"{role}-{number}"),
            }
            if role != "controller":
                values["controller"] = controller
            config = folder / f"{role}-{number}.toml"
            config.write_text("".join(f'{name} = "{value}"\n' for name, value in values.items()))
            stack.callback(_stop, _started(role, config))
        yield target


def _started(role: str, config: Path) -> subprocess.Popen[str]:
    """A process that is ready; the benchmark ends where it does not start."""
    command = [sys.executable, "-m", "alder.cli.main", role, "--config", str(config)]
    log = config.with_suffix(".log")
    with log.open("a") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    if process.stdout is None:
        raise AssertionError("its output is a pipe")
    watchdog = threading.Timer(READY_S_MAX, process.kill)
    watchdog.start()
    if " ready on " not in process.stdout.readline():
        process.kill()
        raise RuntimeError(f"the {role} did not start:\n" + log.read_text()[-2000:])
    watchdog.cancel()
    return process


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S_MAX)
    finally:
        process.kill()


def _address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
