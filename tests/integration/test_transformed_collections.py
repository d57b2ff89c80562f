"""A collection with a transformation: documents of it are queried, kept by key, and proven."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from deployment import standalone

from alder.catalog import CollectionSettings
from alder.client import Error

SQL = (
    "SELECT _doc->>'$.user.id' AS id, CAST(_doc->>'$.n' AS BIGINT) AS n "
    "FROM _input WHERE _doc->>'$.kind' = 'set'"
)
ROWS = 200
KEYS = 7


def record(number: int) -> str:
    kind = "other" if number % 5 == 0 else "set"
    value = "x" if number % 31 == 7 else number
    return json.dumps({"kind": kind, "user": {"id": f"u{number % KEYS}"}, "n": value, "secret": 1})


def test_a_collection_has_what_its_transformation_makes(tmp_path: Path) -> None:
    deployment = standalone(tmp_path, {"seal_rows": 40, "seal_rows_min": 1, "seal_age_s": 0.2})
    deployment.start()
    good = [n for n in range(ROWS) if n % 5 and n % 31 != 7]
    bad = [n for n in range(ROWS) if n % 5 and n % 31 == 7]
    try:
        with deployment.connect() as connection:
            settings = CollectionSettings(transform_sql="SELECT random() AS r FROM _input")
            with pytest.raises(Error, match="random is not available"):
                connection.create_collection("never", settings=settings)
            settings = CollectionSettings(transform_sql=SQL)
            for name, key in (("plain", ""), ("keyed", "id")):
                connection.create_collection(
                    name, shards=2, key_path=key, log_partitions=1, settings=settings
                )
                for begin in range(0, ROWS, 50):
                    lines = [record(number) for number in range(begin, begin + 50)]
                    token = connection.append(name, lines, partition=0)
                connection.execute(f"SELECT count(*) FROM {name}", min_positions=token).fetchall()
                assert [entry.offset for entry in connection.quarantine(name)] == bad
        deployment.restart("serve")
        with deployment.connect() as connection:
            rows = connection.execute("SELECT _offset, n, id FROM plain ORDER BY n").fetchall()
            assert rows == [(n, n, f"u{n % KEYS}") for n in good]
            (described,) = {tuple(c.path for c in connection.describe("plain").columns)}
            assert {"id", "n"} <= set(described)
            assert "secret" not in described
            rows = connection.execute("SELECT id, n FROM keyed ORDER BY id").fetchall()
            last = {f"u{n % KEYS}": n for n in good}
            assert rows == sorted(last.items())
        for name in ("plain", "keyed"):
            command = [sys.executable, "-m", "alder.cli.main", "verify", name]
            command += ["--server", deployment.target]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    finally:
        deployment.stop()
