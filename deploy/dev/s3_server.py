"""A real S3-compatible server on loopback, for development and tests: S3Proxy over a directory.

Needs Java 17 and Maven. Run it as a script for a server until Ctrl-C; buckets are directories in
DIR/buckets:

    python deploy/dev/s3_server.py --port 9000 --data DIR
"""

import argparse
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from jvm import ServerError, command, free_port, prepared, start

VERSION: Final = "2.6.0"
ACCESS_KEY_ID: Final = "local-identity"
SECRET_ACCESS_KEY: Final = "local-credential"
REGION: Final = "us-east-1"
STOP_S_MAX: Final = 20.0


class S3Server:
    """One server whose buckets lie in ``directory``, which outlives kills and restarts."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.port = port or free_port()
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
        home = prepared(f"s3proxy-{VERSION}", [f"org.gaul:s3proxy:{VERSION}"])
        (self._directory / "buckets").mkdir(parents=True, exist_ok=True)
        config = self._directory / "s3proxy.conf"
        config.write_text(self._properties())
        options = ["-DLOG_LEVEL=warn"]
        line = command(home, options, "org.gaul.s3proxy.Main", "--properties", str(config))
        self._process = start(line, self.port, self._directory / "server.out")

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
        try:
            server.start()
            print(
                *(f"export {name}={value}" for name, value in server.environment.items()), sep="\n"
            )
            signal.pause()
        except ServerError as error:
            raise SystemExit(f"no server: {error}") from error
        except KeyboardInterrupt:
            pass
        finally:
            server.kill()


if __name__ == "__main__":
    main()
