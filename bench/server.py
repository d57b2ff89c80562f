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


@contextmanager
def server(data: Path, arguments: Sequence[str] = ()) -> Iterator[str]:
    """The target of a server over the directory ``data``, drained at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "alder.cli.main", "serve"]
    command += ["--data", str(data), "--listen", target, *arguments]
    with (data.parent / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        watchdog = threading.Timer(READY_S_MAX, process.kill)
        watchdog.start()
        if " ready on " not in process.stdout.readline():
            sys.exit("the server did not start:\n" + (data.parent / "server.log").read_text())
        watchdog.cancel()
        yield target
    finally:
        process.terminate()
        process.wait(STOP_S_MAX)
