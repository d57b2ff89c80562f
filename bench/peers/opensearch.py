"""OpenSearch over HTTP on loopback: a real server from Maven's registry, in a JVM of its own."""

import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Final

import orjson

from bench.peers.base import NO_LIMIT_S, MissingError, Terms

_LAUNCHER: Final = Path(__file__).parent / "opensearch_launcher"
_START_S_MAX: Final = 300
_STOP_S_MAX: Final = 30
_FETCH_S_MAX: Final = 300
_BULK_DOCUMENTS: Final = 5_000
_CALL_S_MAX: Final = 600
_ACTION: Final = b'{"index":{}}\n'
_KEYWORDS: Final = [{"text": {"match_mapping_type": "string", "mapping": {"type": "keyword"}}}]
_EVENTS: Final = {
    "did": {"type": "keyword"},
    "kind": {"type": "keyword"},
    "time_us": {"type": "long"},
    "commit": {"properties": {"record": {"type": "flat_object"}}},
}


class OpenSearch:
    """One node, one shard per index, no replica; the translog is synced by every request."""

    name: ClassVar[str] = "opensearch"
    indexes_every_field: ClassVar[bool] = True
    note: ClassVar[str] = "strings as keywords, records as flat_object, translog synced, 2 GB heap"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "opensearch"
        self._folder.mkdir()
        self._local = threading.local()
        self._port, transport = _free_port(), _free_port()
        library = _fetched(folder)
        command = ["java", "-Xms2g", "-Xmx2g", "-cp", f"{library}/*", _LAUNCHER / "Launcher.java"]
        command += [self._folder / "node", str(self._port), str(transport)]
        with (self._folder / "output").open("w") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )
        self._await_start()
        for index, properties in (("bluesky", _EVENTS), ("stream", {})):
            mappings = {"dynamic_templates": _KEYWORDS, "properties": properties}
            settings = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": -1}
            self._call("PUT", f"/{index}", {"settings": settings, "mappings": mappings})

    def load(self, path: Path, seconds_max: float = NO_LIMIT_S) -> int:
        """Bulk requests, two at a time, without refreshes until the last."""
        with ThreadPoolExecutor(2) as pool:
            waiting = []
            for body in _bulks(path, seconds_max):
                waiting.append(pool.submit(self._bulk, "bluesky", body))
                if len(waiting) >= 4:
                    waiting.pop(0).result()
            for future in waiting:
                future.result()
        self._call("POST", "/bluesky/_refresh")
        return self._call("GET", "/bluesky/_count")["count"]

    def count(self, terms: Terms) -> int:
        """Filters, which are not scored."""
        return self._call("POST", "/bluesky/_count", {"query": _filter(terms)})["count"]

    def newest(self, terms: Terms, limit: int) -> list[int]:
        """With the documents."""
        body = {"query": _filter(terms), "size": limit, "sort": [{"time_us": "desc"}]}
        body["track_total_hits"] = False
        hits = self._call("POST", "/bluesky/_search", body)["hits"]["hits"]
        return [hit["_source"]["time_us"] for hit in hits]

    def append(self, documents: Sequence[bytes]) -> None:
        """One bulk request that refreshes, so that a search sees it."""
        body = b"".join(_ACTION + text + b"\n" for text in documents)
        self._bulk("stream", body, "?refresh=true")

    def appended(self) -> int:
        """Counts."""
        return self._call("GET", "/stream/_count")["count"]

    def size_bytes(self) -> int:
        """The store of the index, flushed."""
        self._call("POST", "/bluesky/_flush")
        stats = self._call("GET", "/bluesky/_stats/store")
        return stats["_all"]["total"]["store"]["size_in_bytes"]

    def close(self) -> None:
        """Ends the JVM."""
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _bulk(self, index: str, body: bytes, query: str = "") -> None:
        answer = self._call("POST", f"/{index}/_bulk{query}", body)
        if answer["errors"]:
            failed = next(item for item in answer["items"] if "error" in item["index"])
            raise RuntimeError(f"a document was refused: {failed!s:.300}")

    def _call(self, method: str, path: str, body: object = None) -> dict:
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        if not hasattr(self._local, "http"):
            self._local.http = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=_CALL_S_MAX
            )
        headers = {"Content-Type": "application/x-ndjson" if data is body else "application/json"}
        self._local.http.request(method, path, data, headers)
        response = self._local.http.getresponse()
        text = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:300]!r}")
        return orjson.loads(text)

    def _await_start(self) -> None:
        deadline = time.monotonic() + _START_S_MAX
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._call("GET", "/")
            except OSError:
                del self._local.http
                time.sleep(0.25)
            else:
                return
        self._process.kill()
        raise MissingError(f"it did not start:\n{(self._folder / 'output').read_text()[-500:]}")


def _fetched(folder: Path) -> Path:
    """The server's libraries, fetched through Maven."""
    for program in ("mvn", "java"):
        if shutil.which(program) is None:
            raise MissingError(f"there is no {program} here: apt-get install maven openjdk-17-jdk")
    library = folder / "opensearch" / "lib"
    done = subprocess.run(
        ["mvn", "-B", "-q", "-f", _LAUNCHER / "pom.xml", "dependency:copy-dependencies",
         f"-DoutputDirectory={library}"],
        capture_output=True, text=True, timeout=_FETCH_S_MAX, check=False,
    )  # fmt: skip
    if done.returncode:
        raise MissingError(f"mvn: {(done.stdout + done.stderr).strip()[-300:]}")
    return library


def _bulks(path: Path, seconds_max: float) -> Iterator[bytes]:
    """Bodies of bulk requests, until the time is over."""
    begun = time.perf_counter()
    body: list[bytes] = []
    with path.open("rb") as lines:
        for line in lines:
            body += (_ACTION, line)
            if len(body) == 2 * _BULK_DOCUMENTS:
                yield b"".join(body)
                body = []
                if time.perf_counter() - begun > seconds_max:
                    return
    if body:
        yield b"".join(body)


def _filter(terms: Terms) -> dict[str, object]:
    return {"bool": {"filter": [{"term": {path: value}} for path, value in terms]}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
