"""A real S3-compatible server on loopback, for development and tests: S3Proxy over a directory.

Needs Java 17 and Maven. Its jars come through Maven, as it is configured on this machine, once per
version, and are kept in the user's cache directory. Run it as a script for a server until Ctrl-C;
buckets are directories of its own:

    python deploy/dev/s3_server.py --port 9000 --data DIR
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
from pathlib import Path
from typing import Final

VERSION: Final = "2.6.0"
ACCESS_KEY_ID: Final = "local-identity"
SECRET_ACCESS_KEY: Final = "local-credential"
REGION: Final = "us-east-1"
HEAP: Final = "-Xmx256m"
FETCH_S_MAX: Final = 300.0
READY_S_MAX: Final = 60.0
STOP_S_MAX: Final = 20.0
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>alder.dev</groupId><artifactId>s3</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.gaul</groupId><artifactId>s3proxy</artifactId><version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class ServerError(Exception):
    """Why there is no server, and what to do."""


class S3Server:
    """One server whose buckets lie in ``directory``, which outlives kills and restarts."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.port = port or _free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        }

    def bucket(self, name: str) -> Path:
        """Makes a bucket; returns the directory of its objects."""
        path = self._directory / "buckets" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(self) -> None:
        """Starts it and waits until it takes connections. Raises ServerError."""
        jars = prepared_jars()
        (self._directory / "buckets").mkdir(parents=True, exist_ok=True)
        config = self._directory / "s3proxy.conf"
        config.write_text(self._properties())
        quick = [HEAP, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-DLOG_LEVEL=warn"]
        main = ["org.gaul.s3proxy.Main", "--properties", str(config)]
        output_path = self._directory / "server.out"
        with output_path.open("ab") as output:
            self._process = subprocess.Popen(
                ["java", *quick, "-cp", f"{jars}/*", *main],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_S_MAX
        while not _takes_connections(self.port):
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                self.kill()
                said = output_path.read_text(errors="replace")[-2000:]
                raise ServerError(f"S3Proxy took no connection (exit code {ended}): {said}")
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S_MAX)
        self._process = None

    def _properties(self) -> str:
        values = {
            "s3proxy.endpoint": f"http://127.0.0.1:{self.port}",
            "s3proxy.authorization": "aws-v2-or-v4",
            "s3proxy.identity": ACCESS_KEY_ID,
            "s3proxy.credential": SECRET_ACCESS_KEY,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.identity": "unused",
            "jclouds.credential": "unused",
            "jclouds.filesystem.basedir": str(self._directory / "buckets"),
        }
        return "".join(f"{name}={value}\n" for name, value in values.items())


def prepared_jars() -> Path:
    """The directory of the jars, which are fetched once. Raises ServerError."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise ServerError(f"{' and '.join(missing)} not found on the PATH")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = Path(base) / "alder" / f"s3proxy-{VERSION}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
                _fetch(Path(scratch))
                (Path(scratch) / "lib").rename(home)
    return home


def _fetch(directory: Path) -> None:
    (directory / "pom.xml").write_text(_POM)
    command = ["mvn", "-q", "-B", _PLUGIN, "-DincludeScope=runtime", "-DoutputDirectory=lib"]
    what = "Maven could not fetch S3Proxy; is it configured for a registry?"
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=FETCH_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"{what}: {error}") from error
    if done.returncode:
        raise ServerError(f"{what}: {(done.stdout + done.stderr)[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Runs a server until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="An S3-compatible server on loopback.")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument(
        "--data", type=Path, help="Keeps buckets here (default: for this run only)."
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as scratch:
        server = S3Server(options.data or Path(scratch), options.port)
        server.start()
        try:
            print(
                *(f"export {name}={value}" for name, value in server.environment.items()), sep="\n"
            )
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            server.kill()


if __name__ == "__main__":
    main()
