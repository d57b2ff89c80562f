"""What a fragment runs with and gives, whichever way is taken.

Values only, which all ways share: that every way fills the same result is what lets one stand in
for another, and tests compare them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from alder.fragments import FixedRows
from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf.engine import Engine
from leaf.kernels.aggregation import Apart, LeftOut
from leaf.kernels.kernels import Kernels
from leaf.partials import Partials
from leaf.view import ShardView


@dataclass(frozen=True, slots=True)
class FragmentTools:
    """What fragments run with.

    ``scan_bytes_max`` bounds the rows that one may gather, ``input_bytes_max`` the tables that may
    come with one.
    """

    engine: Engine
    kernels: Kernels
    partials: Partials
    scan_bytes_max: int
    input_bytes_max: int = 32 << 20


@dataclass(frozen=True, slots=True)
class FragmentMode:
    """Which of the ways that give the same rows may be taken; ``without`` as that of Scope.

    ``unfinished``: rows may be the answer, over which the caller runs the fragment.
    """

    memoise: bool = True
    kernels: bool = True
    direct: bool = True
    without: frozenset[str] = frozenset()
    unfinished: bool = False


@dataclass(frozen=True, slots=True)
class FragmentResult:
    """The rows of the answer, how each shard was read, and what is known of groups left out.

    ``apart``: which of the rows are groups of sealed segments, where these are told apart.
    ``projection`` and ``fixed`` are those of :class:`alder.fragments.FragmentAnswer`. ``joined``
    is how the shards of joined rows were read. ``size_bytes`` are those of the rows, if known.
    """

    table: pa.Table
    scans: tuple[leaf_pb2.ShardScan, ...]
    left_out: LeftOut | None = None
    projection: str = ""
    joined: tuple[leaf_pb2.ShardScan, ...] = ()
    apart: Apart | None = None
    fixed: tuple[FixedRows, ...] = ()
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """Rows of another collection that a fragment reads as one more table."""

    message: leaf_pb2.JoinedRows
    views: Mapping[int, ShardView]
    cut: PositionVector | None
    keyed: bool
