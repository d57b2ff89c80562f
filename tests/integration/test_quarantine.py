"""Redriving what was bad by yesterday's limits, with kill -9 between: nothing lost or twice."""

import json
import subprocess
import sys
from pathlib import Path

from deployment import Deployment, standalone

SMALL = "[tailer.decode]\ndocument_size_bytes_max = 200\n"
ROWS = 120
KEYS = 9


def document(number: int) -> str:
    """Every fourth is beyond the first limit."""
    return json.dumps({"k": f"k{number % KEYS}", "n": number, "s": "x" * (300 * (number % 4 == 0))})


def limited(root: Path, extra: str) -> Deployment:
    made = standalone(root, {"seal_rows": 25, "seal_rows_min": 1, "seal_age_s": 0.2})
    config = root / "serve.toml"
    (root / "leaf.toml").write_text(config.read_text())
    config.write_text(config.read_text() + extra)
    return made


def test_redriven_records_make_a_log_that_was_never_bad(tmp_path: Path) -> None:
    deployment = limited(tmp_path, SMALL)
    names = ("plain", "keyed")
    deployment.start()
    try:
        with deployment.connect() as connection:
            connection.create_collection("plain", shards=3, log_partitions=1)
            connection.create_collection("keyed", shards=3, key_path="k", log_partitions=1)
            for name in names:
                for begin in range(0, ROWS, 10):
                    lines = [document(number) for number in range(begin, begin + 10)]
                    token = connection.append(name, lines, partition=0)
                count = f"SELECT count(*) FROM {name}"
                connection.execute(count, min_positions=token).fetchall()
                waiting = list(connection.quarantine(name))
                assert [record.offset for record in waiting] == list(range(0, ROWS, 4))
                applied = [entry for entry in connection.redrive(name) if not entry.reason]
                assert applied == []
                whole = connection.quarantined(name, waiting[3].position)
                assert whole.value.decode() == document(12)[: len(whole.value)]
        (tmp_path / "serve.toml").write_text((tmp_path / "leaf.toml").read_text())
        deployment.restart("serve")
        with deployment.connect() as connection:
            for name in names:
                waiting = list(connection.quarantine(name))
                some = [record.position for record in waiting[::3]]
                assert [entry.reason for entry in connection.redrive(name, some)] == [""] * len(
                    some
                )
        deployment.restart("serve")
        with deployment.connect() as connection:
            for name in names:
                waiting = list(connection.quarantine(name))
                assert len(waiting) == 20
                assert not any(entry.reason for entry in connection.redrive(name))
        deployment.restart("serve")
        with deployment.connect() as connection:
            for name in names:
                assert list(connection.quarantine(name)) == []
                assert list(connection.redrive(name)) == []
            rows = connection.execute("SELECT n, _id FROM plain ORDER BY n").fetchall()
            assert rows == [(n, f"log/0/{n}") for n in range(ROWS)]
            rows = connection.execute("SELECT k, n FROM keyed ORDER BY k").fetchall()
            assert rows == [(f"k{key}", ROWS - KEYS + (key - ROWS) % KEYS) for key in range(KEYS)]
        for name in names:
            command = [sys.executable, "-m", "alder.cli.main", "verify", name]
            command += ["--server", deployment.target]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    finally:
        deployment.stop()


def test_dropped_records_stay_dropped(tmp_path: Path) -> None:
    deployment = standalone(tmp_path, {})
    deployment.start()
    try:
        with deployment.connect() as connection:
            connection.create_collection("bad", log_partitions=1)
            token = connection.append("bad", ['{"n": 0}', "{", "[", '{"n": 3}'], partition=0)
            connection.execute("SELECT count(*) FROM bad", min_positions=token).fetchall()
            waiting = [record.position for record in connection.quarantine("bad")]
            assert [str(position) for position in waiting] == ["log/0/1", "log/0/2"]
            assert list(connection.drop_quarantined("bad", waiting[:1])) == waiting[:1]
        deployment.restart("serve")
        with deployment.connect() as connection:
            assert [record.position for record in connection.quarantine("bad")] == waiting[1:]
            dropped = connection.quarantine("bad", dropped=True)
            assert [(record.position, record.value) for record in dropped] == [(waiting[0], b"{")]
            assert connection.status().quarantined("bad") == 1
            assert [entry.position for entry in connection.redrive("bad")] == waiting[1:]
    finally:
        deployment.stop()
