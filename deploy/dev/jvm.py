"""Servers that run in a JVM of their own on loopback, with jars that come through Maven.

The jars are fetched as Maven is configured on this machine, once per version, and kept in the
user's cache directory.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

FETCH_S_MAX: Final = 300.0
READY_S_MAX: Final = 60.0
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class ServerError(Exception):
    """Why there is no server, and what to do."""


class ToolsMissing(ServerError):
    """This machine has nothing to fetch or run a server with."""


def prepared(
    name: str, artifacts: Sequence[str], further: Callable[[Path], None] = lambda home: None
) -> Path:
    """The directory ``name`` of the cache: jars in ``lib``, and what ``further`` made beside it.

    ``artifacts`` are ``group:artifact:version``; what they depend on comes along. Made once.
    Raises ToolsMissing where there is no Java or no Maven, and ServerError.
    """
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise ToolsMissing(f"{' and '.join(missing)} not found on the PATH")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alder" / name
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
                made = Path(scratch) / "made"
                _fetch(made, artifacts)
                further(made)
                (made / "complete").touch()
                shutil.rmtree(home, ignore_errors=True)
                made.rename(home)
    return home


def command(home: Path, options: Sequence[str], main: str, *arguments: str) -> list[str]:
    """How to run a class of the jars: soon ready, small."""
    quick = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
    return ["java", *quick, *options, "-cp", f"{home}/lib/*", main, *arguments]


def run(line: Sequence[str], directory: Path, what: str) -> None:
    """Runs a command to its end. Raises ServerError with ``what`` went wrong."""
    try:
        done = subprocess.run(
            line, cwd=directory, capture_output=True, text=True, timeout=FETCH_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"{what}: {error}") from error
    if done.returncode:
        raise ServerError(f"{what}: {(done.stdout + done.stderr)[-2000:]}")


def start(line: Sequence[str], port: int, output: Path) -> subprocess.Popen[bytes]:
    """Starts a server and waits until it takes connections. Raises ServerError."""
    with output.open("ab") as written:
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_S_MAX
    while not _takes_connections(port):
        code = process.poll()
        if code is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            said = output.read_text(errors="replace")[-2000:]
            raise ServerError(f"the server took no connection (exit code {code}): {said}")
        time.sleep(0.05)
    return process


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _fetch(home: Path, artifacts: Sequence[str]) -> None:
    home.mkdir()
    dependencies = ""
    for artifact in artifacts:
        group, name, version = artifact.split(":")
        dependencies += (
            f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
            f"<version>{version}</version></dependency>"
        )
    (home / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>alder.dev</groupId><artifactId>server</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )
    line = ["mvn", "-q", "-B", _PLUGIN, "-DincludeScope=runtime", "-DoutputDirectory=lib"]
    run(line, home, "Maven could not fetch the server; is it configured for a registry?")


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
