"""The sizes of a run, and which rows it has."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

from bench.peers.kinds import KINDS

RESULTS: Final = Path(__file__).parent / "results"
ROWS: Final = (
    *(f"B{number}" for number in range(1, 12)),
    *(f"A{number}" for number in range(1, 6)),
    *(f"T{number}" for number in range(1, 6)),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The full run; each field is a flag."""

    events: int = 1_000_000
    """events of JSONBench for all rows but B6, and for what T5 appends"""
    search_events: int = 10_000_000
    """events of JSONBench for B6"""
    load_rounds: int = 2
    """loads of ours and of chdb in B1; other peers load once; and rounds of T1 and T5"""
    peer_load_s: float = 180.0
    """time for the load of a peer that indexes every field in B6; then it has the first events"""
    runs: int = 11
    """runs of each query of B3, B8 and A3"""
    cold_runs: int = 3
    """restarts per query and system in B5"""
    budget_s: float = 5.0
    """time that one system may spend on one query before it gets fewer runs"""
    slot_s: float = 10.0
    """one uninterrupted stretch of ingest in B4 and B10; three each"""
    stream_s: float = 60.0
    """ingest at 2,000 documents/s in B2"""
    peer_stream_s: float = 10.0
    """the same for each peer"""
    step_s: float = 8.0
    """one step of the search for the highest rate in B2"""
    searches: int = 40
    """conditions per number of terms in B6"""
    lookups: int = 1000
    """documents asked one at a time in B7"""
    cluster_by: str = ""
    """paths, as in kind,did, that our segments are ordered by in all rows but B6 and B8"""
    ssb_scale: float = 1.0
    """scale factor of B8: 6 million rows at 1"""
    tpch_scale: float = 0.1
    """scale factor of A3: 600,000 lines of orders at 0.1"""
    groups: int = 1_000_000
    """distinct values in A2, which has four times as many rows"""
    upsert_keys: int = 1_000_000
    """keys in T3, and as many upserts"""
    parquet_events: int = 10_000_000
    """events of JSONBench in the Parquet file of T5"""
    clients_s: float = 60.0
    """time that the clients of A4 ask; A5 takes four thirds of it"""


SHORT: Final = Options(
    events=60_000,
    search_events=120_000,
    load_rounds=1,
    peer_load_s=10.0,
    runs=3,
    cold_runs=1,
    budget_s=0.5,
    slot_s=2.0,
    stream_s=4.0,
    peer_stream_s=2.0,
    step_s=2.0,
    searches=6,
    lookups=100,
    ssb_scale=0.02,
    tpch_scale=0.01,
    groups=20_000,
    upsert_keys=60_000,
    parquet_events=60_000,
    clients_s=3.0,
)
"""A few minutes, to see that everything works; its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line."""

    options: Options
    rows: tuple[str, ...]
    peers: tuple[str, ...]
    scratch: Path | None
    results: Path | None


def parse(arguments: Sequence[str] | None = None) -> Arguments:
    """Reads the command line; a flag wins over --short."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--only", default=",".join(ROWS), help="rows to run, as in B3,B6")
    parser.add_argument("--short", action="store_true", help=(SHORT.__doc__ or "").lower())
    parser.add_argument("--peers", default=",".join(KINDS), help="peers that take part")
    parser.add_argument("--scratch", type=Path, help="keep generated files in this directory")
    for field in fields(Options):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(field.default), default=None)
    parser.add_argument(
        "--results",
        type=Path,
        help=f"where each row's JSON goes; {RESULTS} unless --short, then nowhere",
    )
    given = parser.parse_args(arguments)
    chosen = tuple(name.strip().upper() for name in given.only.split(","))
    if unknown := sorted(set(chosen) - set(ROWS)):
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    peers = tuple(name.strip() for name in given.peers.split(","))
    if unknown := sorted(set(peers) - set(KINDS)):
        parser.error(f"there is no peer {', '.join(unknown)}; there are {', '.join(KINDS)}")
    sizes = {field.name: getattr(given, field.name) for field in fields(Options)}
    changes = {name: value for name, value in sizes.items() if value is not None}
    options = replace(SHORT if given.short else Options(), **changes)
    rows = tuple(name for name in ROWS if name in chosen)
    results = given.results or (None if given.short else RESULTS)
    return Arguments(options, rows, peers, given.scratch, results)
