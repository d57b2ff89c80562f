"""B8: the thirteen queries of the Star Schema Benchmark, flat, hot."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import duckdb

from bench import statistics
from bench.alder import MERGED_S, SEAL_ROWS_MIN, Alder, await_settled
from bench.generators import ssb as generator
from bench.peers.base import Rows
from bench.peers.chdb import ChDb
from bench.questions import plain, same
from bench.report import Row, at_most
from bench.world import World

_CITIES: Final = "'UNITED KI1', 'UNITED KI5'"
_SUM: Final = "SELECT sum(lo_extendedprice * lo_discount) AS revenue FROM lines WHERE"
_BRANDS: Final = "SELECT sum(lo_revenue) AS revenue, {year} AS y, p_brand FROM lines WHERE"
_BY_BRAND: Final = "GROUP BY y, p_brand ORDER BY y, p_brand"
_PROFIT: Final = "sum(lo_revenue - lo_supplycost) AS profit FROM lines WHERE"


def _flow(place: str, condition: str) -> str:
    """The queries of the third group: revenue between places, by year."""
    return (
        f"SELECT c_{place}, s_{place}, {{year}} AS y, sum(lo_revenue) AS revenue FROM lines WHERE "
        f"{condition} GROUP BY c_{place}, s_{place}, y ORDER BY y, revenue DESC"
    )


QUERIES: Final = {
    "Q1.1": f"{_SUM} {{year}} = 1993 AND lo_discount BETWEEN 1 AND 3 AND lo_quantity < 25",
    "Q1.2": f"{_SUM} {{month}} = 199401 AND lo_discount BETWEEN 4 AND 6 "
    "AND lo_quantity BETWEEN 26 AND 35",
    "Q1.3": f"{_SUM} {{week}} = 6 AND {{year}} = 1994 AND lo_discount BETWEEN 5 AND 7 "
    "AND lo_quantity BETWEEN 26 AND 35",
    "Q2.1": f"{_BRANDS} p_category = 'MFGR#12' AND s_region = 'AMERICA' {_BY_BRAND}",
    "Q2.2": f"{_BRANDS} p_brand >= 'MFGR#2221' AND p_brand <= 'MFGR#2228' "
    f"AND s_region = 'ASIA' {_BY_BRAND}",
    "Q2.3": f"{_BRANDS} p_brand = 'MFGR#2239' AND s_region = 'EUROPE' {_BY_BRAND}",
    "Q3.1": _flow(
        "nation",
        "c_region = 'ASIA' AND s_region = 'ASIA' AND {year} >= 1992 AND {year} <= 1997",
    ),
    "Q3.2": _flow(
        "city",
        "c_nation = 'UNITED STATES' AND s_nation = 'UNITED STATES' "
        "AND {year} >= 1992 AND {year} <= 1997",
    ),
    "Q3.3": _flow(
        "city",
        f"c_city IN ({_CITIES}) AND s_city IN ({_CITIES}) "
        "AND {year} >= 1992 AND {year} <= 1997",
    ),
    "Q3.4": _flow(
        "city", f"c_city IN ({_CITIES}) AND s_city IN ({_CITIES}) AND {{month}} = 199712"
    ),
    "Q4.1": f"SELECT {{year}} AS y, c_nation, {_PROFIT} c_region = 'AMERICA' "
    "AND s_region = 'AMERICA' AND p_mfgr IN ('MFGR#1', 'MFGR#2') "
    "GROUP BY y, c_nation ORDER BY y, c_nation",
    "Q4.2": f"SELECT {{year}} AS y, s_nation, p_category, {_PROFIT} c_region = 'AMERICA' "
    "AND s_region = 'AMERICA' AND {year} IN (1997, 1998) AND p_mfgr IN ('MFGR#1', 'MFGR#2') "
    "GROUP BY y, s_nation, p_category ORDER BY y, s_nation, p_category",
    "Q4.3": f"SELECT {{year}} AS y, s_city, p_brand, {_PROFIT} s_nation = 'UNITED STATES' "
    "AND {year} IN (1997, 1998) AND p_category = 'MFGR#14' "
    "GROUP BY y, s_city, p_brand ORDER BY y, s_city, p_brand",
}
"""After ClickHouse's documentation of the benchmark; the functions of a date are the dialect's."""
_STANDARD: Final = {
    "year": "year(lo_orderdate)",
    "month": "(year(lo_orderdate) * 100 + month(lo_orderdate))",
    "week": "week(lo_orderdate)",
}
_CLICKHOUSE: Final = {
    "year": "toYear(lo_orderdate)",
    "month": "toYYYYMM(lo_orderdate)",
    "week": "toISOWeek(lo_orderdate)",
}
_LOW: Final = (
    "lo_orderpriority", "lo_shipmode", "c_city", "c_nation", "c_region", "s_city", "s_nation",
    "s_region", "p_mfgr", "p_category", "p_brand", "p_color",
)  # fmt: skip
_NARROW: Final = ("lo_linenumber", "lo_quantity", "lo_discount", "lo_tax", "p_size")


def ssb(world: World) -> Row:
    """B8: loads the table into ours, DuckDB and chDB, then asks in turns."""
    scale = world.options.ssb_scale
    rows = generator.lines(scale)
    row = Row("B8", f"SSB flat, {rows:,} rows, 13 queries, hot")
    world.say(f"writing {rows:,} rows")
    file = generator.write(world.files / f"ssb-{scale:g}.parquet", scale)
    world.release_all()
    alder = Alder(world.scratch / "ssb-alder")
    systems: dict[str, Callable[[str], Rows]] = {}
    closing: list[Callable[[], None]] = [alder.stop]
    try:
        load = alder.load_file(file, rows, "lines", ("lo_orderdate",))
        await_settled(alder.plain, "lines", SEAL_ROWS_MIN, MERGED_S)
        world.say(f"alder: {rows / load.visible_s:,.0f} rows/s")
        row.compare("load", "rows/s", rows / load.visible_s)
        systems["alder"] = lambda name: plain(
            alder.plain.execute(QUERIES[name].format(**_STANDARD)).fetchall()
        )
        connection = _duckdb(world.scratch, file)
        closing.append(connection.close)
        systems["duckdb"] = lambda name: plain(
            connection.execute(QUERIES[name].format(**_STANDARD)).fetchall()
        )
        chdb = world.fresh_peer("chdb", world.scratch / "ssb-chdb")
        if isinstance(chdb, ChDb):
            closing.append(chdb.close)
            _fill(chdb, file)
            systems["chdb"] = lambda name: plain(
                _numbers(chdb.run(_in_clickhouse(QUERIES[name].format(**_CLICKHOUSE))))
            )
        _measure(world, row, systems)
    finally:
        for close in closing:
            close()
        shutil.rmtree(world.scratch / "ssb-alder", ignore_errors=True)
    row.notes.append(
        "ours: --cluster-by lo_orderdate; duckdb: sorted by it; "
        "chdb: ORDER BY (lo_orderdate, lo_orderkey)"
    )
    return row


def _measure(world: World, row: Row, systems: dict[str, Callable[[str], Rows]]) -> None:
    taken: dict[str, list[float]] = {name: [] for name in systems}
    for query in QUERIES:
        tasks = [query] * world.options.runs
        runs = statistics.interleaved(systems, tasks, world.options.budget_s, warm_up=True)
        expected = runs["duckdb"].answers[0]
        for name, run in runs.items():
            taken[name].append(run.p50_ms)
            wrong = [answer for answer in run.answers if not same(answer, expected)]
            if wrong:
                row.differ(name, query, wrong[0], expected)
        p50 = {name: run.p50_ms for name, run in runs.items()}
        row.compare(query, "ms", p50.pop("alder"), p50)
    means = {name: statistics.geometric_mean(values) for name, values in taken.items()}
    ours = means.pop("alder")
    better = min(means.values())
    row.compare(
        "geometric mean", "ms", ours, means, [at_most("<= 0.9 x better peer", ours, better, 0.9)]
    )


def _duckdb(scratch: Path, file: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(scratch / "ssb.duckdb"))
    connection.execute(
        f"CREATE TABLE lines AS SELECT * FROM read_parquet('{file}') ORDER BY lo_orderdate"
    )
    connection.execute("CHECKPOINT")
    return connection


def _fill(chdb: ChDb, file: Path) -> None:
    """Sorted and typed as ClickHouse's documentation has it."""
    chdb.run("CREATE DATABASE IF NOT EXISTS ssb")
    described = chdb.run(f"DESCRIBE TABLE file('{file}', 'Parquet')")
    columns = ", ".join(_column(str(name), str(kind)) for name, kind, *_ in described)
    chdb.run(
        f"CREATE TABLE ssb.lines ({columns}) ENGINE = MergeTree "
        "ORDER BY (lo_orderdate, lo_orderkey) SETTINGS fsync_after_insert = 1"
    )
    chdb.run(f"INSERT INTO ssb.lines SELECT * FROM file('{file}', 'Parquet')")
    chdb.run("OPTIMIZE TABLE ssb.lines FINAL")


def _column(name: str, kind: str) -> str:
    if name in _LOW:
        return f"{name} LowCardinality(String)"
    if name in _NARROW:
        return f"{name} UInt8"
    return f"{name} {'Date' if 'Date' in kind else 'UInt32'}"


def _in_clickhouse(sql: str) -> str:
    """Sums of products in 64 bits, since columns are 32 bits wide there, and signed profits."""
    return (
        sql.replace("FROM lines", "FROM ssb.lines")
        .replace("lo_extendedprice * lo_discount", "toUInt64(lo_extendedprice) * lo_discount")
        .replace("lo_revenue - lo_supplycost", "toInt64(lo_revenue) - lo_supplycost")
    )


def _numbers(rows: Rows) -> Rows:
    """64-bit numbers are text in ClickHouse's JSON."""
    return [
        tuple(int(v) if isinstance(v, str) and v.lstrip("-").isdigit() else v for v in row)
        for row in rows
    ]
