"""A server of its own for a benchmark: `alder serve` on a free port of loopback."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

READY_S_MAX: Final = 60
STOP_S_MAX: Final = 30


class Server:
    """A server over the directory ``data``; the same address each time it is started."""

    def __init__(self, data: Path, arguments: Sequence[str] = ()) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.target = f"127.0.0.1:{probe.getsockname()[1]}"
        self._log = data.parent / "server.log"
        self._command = [sys.executable, "-m", "alder.cli.main", "serve"]
        self._command += ["--data", str(data), "--listen", self.target, *arguments]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> int:
        """Returns its process id once it is ready; ends the benchmark where it does not start."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        watchdog = threading.Timer(READY_S_MAX, self._process.kill)
        watchdog.start()
        if " ready on " not in self._process.stdout.readline():
            raise RuntimeError("the server did not start:\n" + self._log.read_text()[-2000:])
        watchdog.cancel()
        return self._process.pid

    def stop(self) -> None:
        """Drains it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S_MAX)
            finally:
                self._process.kill()
        self._process = None


@contextmanager
def server(data: Path, arguments: Sequence[str] = ()) -> Iterator[str]:
    """The target of a server over the directory ``data``, drained at the end."""
    running = Server(data, arguments)
    try:
        running.start()
        yield running.target
    finally:
        running.stop()
