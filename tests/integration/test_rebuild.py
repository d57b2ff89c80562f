"""Building a collection anew while it is queried and appended to, with kill -9 in between."""

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from deployment import Deployment, cluster, standalone

from alder.catalog import next_name
from alder.client import Connection, Token
from alder.errors import AlderError
from alder.v1 import catalog_pb2

SQL = "SELECT _doc->>'$.k' AS k, CAST(_doc->'$.n' AS BIGINT) * 10 AS n FROM _input"
ROWS = 2_000
WAIT_S = 120.0


def append(connection: Connection, begin: int, end: int) -> Token:
    lines = [json.dumps({"k": f"k{n % 50}", "n": n}) for n in range(begin, end)]
    token = connection.append("ev", lines, partition=0)
    connection.execute("SELECT count(*) FROM ev", min_positions=token).fetchall()
    return token


def total(connection: Connection, token: Token) -> int:
    """The sum over all rows, those of the token included, which a crash may have set back."""
    rows = connection.execute("SELECT sum(n) FROM ev", min_positions=token).fetchall()
    return int(rows[0][0])


def alder(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alder.cli.main", *arguments, "--server", deployment.target]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_a_rebuild_swaps_whole_collections(tmp_path: Path) -> None:
    deployment = standalone(tmp_path, {"seal_rows": 300, "seal_rows_min": 1, "seal_age_s": 0.2})
    deployment.start()
    try:
        with deployment.connect() as connection:
            connection.create_collection("ev", shards=2, log_partitions=1)
            token = append(connection, 0, ROWS)
            old = sum(range(ROWS))
            assert total(connection, token) == old
            connection.rebuild("ev", catalog_pb2.REBUILD_STEP_BEGIN, transform_sql=SQL)
        deployment.restart("serve")
        with deployment.connect() as connection:
            assert total(connection, token) == old
            assert alder(deployment, "rebuild", "ev", "--abort").returncode == 0
            assert [one.name for one in connection.collections()] == ["ev"]
            seen: set[tuple[int, int]] = set()
            over = threading.Event()

            def watch() -> None:
                with deployment.connect() as other:
                    while not over.is_set():
                        rows = other.execute("SELECT count(*), sum(n) FROM ev").fetchall()
                        seen.add((int(rows[0][0]), int(rows[0][1])))

            watching = threading.Thread(target=watch)
            watching.start()
            try:
                done = alder(deployment, "rebuild", "ev", "--transform", SQL)
                assert done.returncode == 0, done.stderr
                deadline = time.monotonic() + WAIT_S
                while (ROWS, 10 * old) not in seen and watching.is_alive():
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            finally:
                over.set()
                watching.join()
            assert seen == {(ROWS, old), (ROWS, 10 * old)}
            token = append(connection, ROWS, ROWS + 10)
        deployment.restart("serve")
        with deployment.connect() as connection:
            assert total(connection, token) == 10 * sum(range(ROWS + 10))
            assert [one.name for one in connection.collections()] == ["ev"]
            assert next_name("ev") not in connection.status().catalog.collections
            append(connection, ROWS + 10, ROWS + 20)
        assert len(list((tmp_path / "data" / "leaf-0").glob("*-ev"))) == 1
        done = alder(deployment, "verify", "ev")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        deployment.stop()


def test_a_rebuild_goes_on_whichever_process_of_a_cluster_is_killed(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    leaf_settings = {"seal_rows": 3_000, "seal_rows_min": 1, "seal_age_s": 0.2}
    # Small pushes, so that kills come between the first and the last.
    deployment = cluster(
        tmp_path,
        leaf_settings,
        leaves=2,
        tailers=1,
        tailer_settings={"batch_rows_max": 100},
    )
    deployment.start()
    try:
        with deployment.connect() as connection:
            connection.create_collection("ev", shards=4, log_partitions=1)
            token = append(connection, 0, 10 * ROWS)
        old = sum(range(10 * ROWS))
        with deployment.connect() as connection:
            connection.rebuild("ev", catalog_pb2.REBUILD_STEP_BEGIN, transform_sql=SQL)
        victims = ["controller", "leaf-0", "leaf-1", "tailer-0", "aggregator"]
        chance.shuffle(victims)
        for victim in victims:
            time.sleep(chance.random() / 2)
            deployment.restart(victim)
            assert answered(deployment, token) == old, (seed, victim)
        done = alder(deployment, "rebuild", "ev", "--transform", SQL)
        assert done.returncode == 0, (seed, done.stderr)
        assert answered(deployment, token) == 10 * old, seed
        verified = alder(deployment, "verify", "ev")
        assert verified.returncode == 0, (seed, verified.stdout + verified.stderr)
    finally:
        deployment.stop()


def answered(deployment: Deployment, token: Token) -> int:
    """The sum over all rows, as soon as the cluster answers again."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            with deployment.connect() as connection:
                return total(connection, token)
        except AlderError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
