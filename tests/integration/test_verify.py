"""`alder verify`: equal while rows keep coming, and whatever was done to a store is named."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from deployment import Deployment, cluster, standalone
from documents import generated
from tampering import flip_a_byte, offset_of, rewrite_segment, with_document, without_row

from alder.catalog import CollectionSettings
from alder.cli.proof.coverage import Wanted
from alder.cli.proof.model import EXIT_DIFFERS, EXIT_EQUAL, Kind, Report
from alder.cli.proof.prove import ProofSettings, prove
from alder.client import Connection

ROWS = 2_500
FILE_ROWS = 1_500
KEYS = 300
SETTLE_S_MAX = 60.0
BUSY = {"seal_rows": 400, "merge_factor": 3}
STILL = {"seal_rows": 700, "seal_age_s": 0.2, "seal_rows_min": 1, "merge_factor": 0}


def keyed(begin: int, end: int) -> list[str]:
    """Documents of keys that come again and again."""
    return [json.dumps({"k": f"k{n % KEYS}", "n": n, "s": f"t{n % 17}"}) for n in range(begin, end)]


def verified(target: str, name: str, wanted: Wanted | None = None, conditions: int = 0) -> Report:
    settings = ProofSettings(
        server=target,
        collection=name,
        wanted=wanted or Wanted(),
        at=None,
        scratch=None,
        scratch_bytes_max=1 << 30,
        conditions=conditions,
        timeout_s=60.0,
    )
    return asyncio.run(prove(settings, lambda what: None))


def bytes_of_blobs(shard: Path) -> int:
    return sum(path.stat().st_size for path in shard.glob("*.blob"))


def settled(connection: Connection) -> None:
    """Waits until everything is sealed."""
    deadline = time.monotonic() + SETTLE_S_MAX
    while True:
        shards = [shard for leaf in connection.status().leaves for shard in leaf.shards]
        if shards and all(shard.tail_rows == 0 for shard in shards):
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def appending(deployment: Deployment, names: list[str]) -> Iterator[None]:
    """Appends to collections all the while."""
    over = threading.Event()

    def run() -> None:
        with deployment.connect() as connection:
            number = 1_000_000
            while not over.wait(0.1):
                for name in names:
                    connection.append(name, keyed(number, number + 10))
                number += 10

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def files_in(directory: Path) -> str:
    """Three files of lines, the last of which is broken; the URL of all."""
    directory.mkdir()
    for part in range(3):
        lines = keyed(part * 500, part * 500 + 500)
        (directory / f"{part}.jsonl").write_text("\n".join([*lines, '{"broken']) + "\n")
    return f"file://{directory}/*.jsonl"


def filled(connection: Connection, url: str) -> None:
    """``plain`` from files and the log, and ``keyed`` with many versions; returns when all is seen.

    A position vector names no file that was not read yet, so only rows tell that files were read.
    """
    connection.create_collection("plain", shards=4, log_partitions=2, source_urls=[url])
    connection.create_collection("keyed", shards=4, log_partitions=3, key_path="k")
    token = connection.append("plain", [*generated(ROWS), "{bad"])
    for begin in range(0, ROWS, 500):
        token |= connection.append("keyed", keyed(begin, begin + 500))
    token |= connection.append("keyed", ['{"without": "a key"}'])
    for name in ("plain", "keyed"):
        connection.execute(f"SELECT count(*) FROM {name}", min_positions=token).fetchall()
    deadline = time.monotonic() + SETTLE_S_MAX
    while connection.execute("SELECT count(*) FROM plain").fetchone() != (ROWS + FILE_ROWS,):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def check_equal(report: Report, rows: int, quarantined: int | None = None) -> None:
    assert report.all_findings == []
    assert report.exit_code == EXIT_EQUAL
    assert sum(shard.rows for shard in report.shards) >= rows
    assert quarantined in {None, sum(shard.quarantined for shard in report.shards)}


def test_what_serves_is_what_the_log_makes_of_it_while_rows_keep_coming(tmp_path: Path) -> None:
    deployment = standalone(tmp_path, BUSY, leaves=2)
    try:
        deployment.start()
        with deployment.connect() as connection:
            filled(connection, files_in(tmp_path / "files"))
            kept = CollectionSettings(retain_us=3_600_000_000)
            connection.create_collection(
                "short", shards=2, key_path="k", time_path="t", settings=kept
            )
            old = [{"k": f"old{n}", "t": "2001-01-01T00:00:00Z"} for n in range(50)]
            connection.append("short", old)
        with appending(deployment, ["plain", "keyed", "short"]):
            plain = verified(deployment.target, "plain")
            by_key = verified(deployment.target, "keyed", conditions=6)
            short = verified(deployment.target, "short")
            part = verified(deployment.target, "plain", Wanted(fraction=0.01, seed=1))
            some = verified(deployment.target, "keyed", Wanted(shards=(1, 3)))
        check_equal(plain, ROWS + FILE_ROWS, quarantined=4)
        check_equal(by_key, ROWS, quarantined=1)
        check_equal(short, short.coverage.offsets, quarantined=0)
        check_equal(part, 1)
        check_equal(some, 1)
        assert sum(shard.deaths for shard in by_key.shards) > ROWS / 2
        assert all(shard.conditions for shard in by_key.shards)
        assert by_key.index_checks
        assert not part.coverage.whole
        assert [shard.shard for shard in some.shards] == [1, 3]
    finally:
        deployment.stop()


def test_a_cluster_is_proven_through_its_aggregator(tmp_path: Path) -> None:
    deployment = cluster(tmp_path, BUSY, leaves=2, tailers=1)
    try:
        deployment.start()
        with deployment.connect() as connection:
            filled(connection, files_in(tmp_path / "files"))
        check_equal(verified(deployment.target, "plain"), ROWS + FILE_ROWS, quarantined=4)
        check_equal(verified(deployment.target, "keyed"), ROWS, quarantined=1)
    finally:
        deployment.stop()


def test_whatever_was_done_to_a_store_is_named(tmp_path: Path) -> None:
    deployment = standalone(tmp_path, STILL)
    try:
        deployment.start()
        with deployment.connect() as connection:
            connection.create_collection("plain", shards=2, log_partitions=2)
            connection.create_collection("keyed", shards=4, key_path="k")
            token = connection.append("plain", generated(ROWS))
            token |= connection.append("keyed", keyed(0, ROWS))
            for name in ("plain", "keyed"):
                count = f"SELECT count(*) FROM {name}"
                connection.execute(count, min_positions=token).fetchall()
            settled(connection)
        deployment.stop()
        leaf = tmp_path / "data" / "leaf-0"
        named: dict[str, tuple[int, str]] = {}

        def lose(table: pa.Table) -> pa.Table:
            named["lost"] = offset_of(table, 11), table.column("_doc")[11].as_py()
            return without_row(table, 11)

        def alter(table: pa.Table) -> pa.Table:
            before = table.column("int:n")[5].as_py()
            changed = with_document(table, 5, "int:n", before, before + 1_000_000)
            named["altered"] = offset_of(table, 5), table.column("_doc")[5].as_py()
            return changed

        (plain,) = leaf.glob("*-plain")
        (by_key,) = leaf.glob("*-keyed")
        flip_a_byte(max(plain.iterdir(), key=bytes_of_blobs))
        rewrite_segment(by_key / "0", lose)
        rewrite_segment(by_key / "2", alter)
        deployment.start()
        command = [sys.executable, "-m", "alder.cli.main", "verify", "keyed"]
        command += ["--server", deployment.target, "--conditions", "0", "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == EXIT_DIFFERS, done.stderr
        found = {
            finding["kind"]: finding
            for shard in json.loads(done.stdout)["shards"]
            for finding in shard["findings"]
        }
        assert found.keys() == {"lost", "altered"}
        for kind, (offset, document) in named.items():
            assert found[kind]["row"].endswith(f"/{offset}")
            assert found[kind]["row_id"] == json.loads(document)["k"]
            assert found[kind]["log"] == document
        assert found["lost"]["serving"] is None
        altered = json.loads(found["altered"]["serving"])["n"]
        assert altered == json.loads(named["altered"][1])["n"] + 1_000_000
        report = verified(deployment.target, "plain", conditions=8)
        assert report.exit_code == EXIT_DIFFERS
        kinds = {finding.kind for finding in report.all_findings}
        assert kinds == {Kind.DAMAGED, Kind.UNREADABLE}
        (unreadable, *_) = [one for one in report.all_findings if one.kind is Kind.UNREADABLE]
        assert " rows can't be read (between log/" in unreadable.detail
        (damaged,) = [one for one in report.all_findings if one.kind is Kind.DAMAGED]
        assert damaged.detail.startswith("page ")
        assert "of column '" in damaged.detail
        assert "in segment " in damaged.detail
    finally:
        deployment.stop()
