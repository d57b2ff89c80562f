"""A rehearsal of one query, so that the first real one waits for nothing that happens once.

The engine opens a connection and reads its catalog of functions with its first statement, libraries
import what they need when they need it: tens of milliseconds in a fresh process. The rows are made
up; nothing of a shard is read.
"""

from typing import Final

import pyarrow as pa

from alder.positions import PositionVector
from alder.schema import Schema
from alder.v1 import leaf_pb2
from leaf.births import Streams
from leaf.engine import Cancellation
from leaf.fragment import run_fragment
from leaf.fragmentmodel import FragmentMode, FragmentResult, FragmentTools
from leaf.layout import Counters
from leaf.rows import column_type
from leaf.tail import TailChunk
from leaf.view import ShardView
from leaf.visibility import Tombstones

_COLUMNS: Final = {
    "_birth": [0, 1],
    "_time": [0, 1],
    "string:key": ["one", None],
    "int:number": [1, 2],
}
_MODES: Final = (FragmentMode(), FragmentMode(memoise=False, kernels=False))


def rehearse(tools: FragmentTools) -> list[FragmentResult]:
    """Runs an aggregation by the kernels, then by the engine; what they gave."""
    table = pa.table({name: pa.array(c, column_type(name)) for name, c in _COLUMNS.items()})
    view = ShardView(
        streams=Streams([("rehearsal", 0)]),
        positions=PositionVector({("rehearsal", 0): table.num_rows}),
        segments=(),
        tail=(TailChunk(0, table),),
        tombstones=Tombstones(),
        schema=Schema().with_columns(["string:key", "int:number"]),
        counters=Counters(),
    )
    return [
        run_fragment({0: view}, _fragment(), None, False, tools, Cancellation(), mode)
        for mode in _MODES
    ]


def _fragment() -> leaf_pb2.Fragment:
    key = leaf_pb2.ColumnBinding(name="k", path="key", sql_type="VARCHAR", types=["string"])
    number = leaf_pb2.ColumnBinding(name="n", path="number", sql_type="BIGINT", types=["int"])
    condition, plain = "(k = 'one')", leaf_pb2.RowValue(columns=["n"])
    aggregation = leaf_pb2.Aggregation(
        keys=[
            leaf_pb2.GroupKey(
                name="g", value=leaf_pb2.RowValue(columns=["n"], sql="hour(make_timestamp(n))")
            )
        ],
        aggregates=[
            leaf_pb2.AggregateCall(name="rows", function="count_star"),
            leaf_pb2.AggregateCall(name="least", function="min", argument=plain),
            leaf_pb2.AggregateCall(name="total", function="sum", argument=plain),
        ],
        conditions=[
            leaf_pb2.RowCondition(value=leaf_pb2.RowValue(columns=["k"], sql=condition)),
        ],
    )
    return leaf_pb2.Fragment(
        sql="SELECT hour(make_timestamp(n)) AS g, count_star() EXPORT_STATE AS rows, "
        "min(n) EXPORT_STATE AS least, sum(n) EXPORT_STATE AS total "
        f"FROM rows WHERE {condition} GROUP BY 1",
        columns=[key, number],
        partial_aggregate=True,
        aggregation=aggregation,
    )
