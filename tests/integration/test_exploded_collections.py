"""Records that become several documents: whole or not at all, each once, through kills and late."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from deployment import Deployment, standalone

from alder.catalog import CollectionSettings
from alder.client import Error, Token

SQL = (
    "SELECT t.item->>'$.sku' AS sku, CAST(t.item->>'$.n' AS BIGINT) AS n, t.place AS place, "
    "t.item->>'$.s' AS s, _offset AS born FROM _input, "
    "unnest(_doc->'$.items[*]') WITH ORDINALITY AS t(item, place) UNION ALL "
    "SELECT 'order', CAST(_doc->>'$.id' AS BIGINT), 0, NULL, _offset FROM _input "
    "WHERE CAST(_doc->>'$.id' AS BIGINT) % 3 = 0"
)
RECORDS = 90
SMALL = "[tailer.decode]\ndocument_size_bytes_max = 2000\n"
NAMES = {"keyed": ("sku", ""), "spread": ("", "sku")}
"""By name: what the key is, and what shards are chosen by."""


def record(number: int) -> str:
    """Every seventh has an item without a number, every ninth one that is too large at first."""
    chance = random.Random(number)
    items: list[dict[str, object]] = [
        {"sku": f"s{chance.randrange(12)}", "n": number * 100 + place, "s": "x" * 40}
        for place in range(number % 6)
    ]
    if items and number % 7 == 0:
        items[-1]["n"] = "many"
    if items and number % 9 == 1:
        items[0]["s"] = "y" * 1_900
        items[0]["t"] = "z" * 90
    return json.dumps({"id": number, "items": items})


def is_bad(number: int) -> bool:
    return number % 7 == 0 and number % 6 > 0


def is_large(number: int) -> bool:
    return number % 9 == 1 and number % 6 > 0


def expected(numbers: Iterator[int] | list[int]) -> list[tuple[object, ...]]:
    """What the engine makes of the raw records; ``born`` tells the records, ``place`` the items."""
    with duckdb.connect() as engine:
        engine.execute("CREATE TABLE _input (_doc JSON, _offset BIGINT)")
        engine.executemany("INSERT INTO _input VALUES (?, ?)", [(record(n), n) for n in numbers])
        return sorted(engine.execute(SQL).fetchall(), key=lambda row: (row[4], not row[2], row[2]))


def last_of_keys(rows: list[tuple[object, ...]]) -> dict[object, tuple[object, ...]]:
    return {row[0]: row for row in rows}


def verified(deployment: Deployment, name: str) -> None:
    command = [sys.executable, "-m", "alder.cli.main", "verify", name]
    command += ["--server", deployment.target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_records_become_documents_each_once(tmp_path: Path) -> None:
    deployment = standalone(tmp_path, {"seal_rows": 60, "seal_rows_min": 1, "seal_age_s": 0.2})
    config = tmp_path / "serve.toml"
    usual = config.read_text()
    config.write_text(usual + SMALL)
    deployment.start()
    try:
        chance = random.Random(3)
        tokens: dict[str, Token] = {}
        with deployment.connect() as connection:
            settings = CollectionSettings(transform_sql=SQL)
            for name, (key, shard_by) in NAMES.items():
                connection.create_collection(
                    name,
                    shards=3,
                    key_path=key,
                    shard_by_path=shard_by,
                    log_partitions=1,
                    settings=settings,
                )
            merged = CollectionSettings(transform_sql=SQL, merge=True)
            with pytest.raises(Error, match="refused whole"):
                connection.create_collection("never", key_path="sku", settings=merged)
        begin = 0
        while begin < RECORDS:
            end = min(begin + chance.randrange(1, 30), RECORDS)
            with deployment.connect() as connection:
                for name in NAMES:
                    lines = [record(number) for number in range(begin, end)]
                    tokens[name] = connection.append(name, lines, partition=0)
            if begin < RECORDS // 2 <= end:
                deployment.restart("serve")
            begin = end
        refused = [n for n in range(RECORDS) if is_bad(n) or is_large(n)]
        applied = [n for n in range(RECORDS) if n not in refused]
        check_answers(deployment, tokens, applied, refused)
        config.write_text(usual)
        deployment.restart("serve")
        redrive_all(deployment)
        late = [n for n in range(RECORDS) if not is_bad(n)]
        check_answers(deployment, tokens, late, [n for n in range(RECORDS) if is_bad(n)])
        for name in NAMES:
            verified(deployment, name)
    finally:
        deployment.stop()


def redrive_all(deployment: Deployment) -> None:
    """Half of it before a kill."""
    outcomes = {}
    with deployment.connect() as connection:
        for name in NAMES:
            waiting = [one.position for one in connection.quarantine(name)]
            outcomes[name] = list(connection.redrive(name, waiting[::2]))
    deployment.restart("serve")
    bad = set(filter(is_bad, range(RECORDS)))
    with deployment.connect() as connection:
        for name in NAMES:
            outcomes[name] += connection.redrive(name)
            reasons = {one.position.offset: one.reason for one in outcomes[name]}
            assert {offset for offset, reason in reasons.items() if reason} == bad


def check_answers(
    deployment: Deployment, tokens: dict[str, Token], applied: list[int], refused: list[int]
) -> None:
    rows = expected(applied)
    columns = "sku, n, place, s, born"
    with deployment.connect() as connection:
        for name in NAMES:
            counted = f"SELECT count(*) FROM {name}"
            connection.execute(counted, min_positions=tokens[name]).fetchall()
            waiting = sorted(entry.offset for entry in connection.quarantine(name))
            assert waiting == refused
        found = connection.execute(
            f"SELECT {columns} FROM spread ORDER BY born, place = 0, place"
        ).fetchall()
        assert found == rows
        ids = [row[0] for row in connection.execute("SELECT _id FROM spread ORDER BY born, place")]
        assert len(set(ids)) == len(rows)
        for offset in applied[:6]:
            own = [row for row in rows if row[4] == offset]
            for ordinal, row in enumerate(own):
                sql = f"SELECT {columns}, _offset FROM spread WHERE _id = ?"
                answer = connection.execute(sql, [f"log/0/{offset}/{ordinal}"]).fetchall()
                assert answer == [(*row, offset)]
        middle = RECORDS // 2
        earlier = connection.execute(
            f"SELECT count(*), sum(n) FROM spread AS OF POSITION 'log/0:{middle}'"
        ).fetchall()
        before = [row for row in rows if isinstance(row[4], int) and row[4] < middle]
        assert earlier == [(len(before), sum(int(str(row[1])) for row in before))]
        lasts = last_of_keys(rows)
        found = connection.execute(f"SELECT {columns} FROM keyed ORDER BY sku").fetchall()
        assert found == sorted(lasts.values(), key=lambda row: str(row[0]))
