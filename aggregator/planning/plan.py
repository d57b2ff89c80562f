"""A plan: what the leaves run and what is left to do here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aggregator.planning.direct import Direct
from aggregator.planning.joins import Reduction
from aggregator.planning.spread import TopSearch
from alder.v1 import leaf_pb2

COUNT_COLUMN: Final = "n"
"""The only column of a fragment that counts: a state, which is the count itself."""


@dataclass(frozen=True, slots=True)
class Read:
    """What one reference to a collection asks of the leaves, and the class of that.

    ``table`` is the name of the gathered table, ``columns`` are the names and SQL types of its
    columns ("": as it arrives). ``whole_key``: groups with a value in this column are on one leaf
    each. ``search``: how the first groups are found where they are not. ``counted``: the table is
    to be the number of distinct values of this column. ``count`` asks how many rows there are, for
    the choice of a strategy; ``inputs`` are the gathered tables that go along,
    ``joined`` is the table of the read whose rows the leaves have themselves.
    """

    collection: str
    table: str
    read_class: str
    fragment: leaf_pb2.Fragment
    columns: tuple[tuple[str, str], ...]
    whole_key: str = ""
    search: TopSearch | None = None
    count: leaf_pb2.Fragment | None = None
    inputs: tuple[str, ...] = ()
    joined: str = ""
    counted: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The reads of a statement and the SQL that finishes it over the gathered tables.

    ``direct`` and the SQL types of its columns: how it is finished without the engine; in class a
    only where leaves have given one row per group. ``constant``: it reads nothing and gives the
    same rows every time.

    ``reductions`` are those that its reads allow. ``broadcasts``: other plans for the same
    statement, each by the table whose rows its leaves join with what goes along. ``colocated``:
    those in which they read one of the other collections themselves.
    """

    plan_class: str
    reads: tuple[Read, ...]
    sql: str
    user_names: Mapping[str, str]
    direct: tuple[Direct, tuple[str, ...]] | None = None
    constant: bool = False
    reductions: tuple[Reduction, ...] = ()
    broadcasts: tuple[tuple[str, "Plan"], ...] = ()
    colocated: tuple[tuple[str, "Plan"], ...] = ()
