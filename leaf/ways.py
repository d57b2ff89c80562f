"""The ways in which a leaf may run the same fragment, beside each other: for CHECK INDEX.

One condition is counted by a scan of the engine, and then in every way that queries may take: rows
narrowed by indexes, partials of sealed segments from memory, kernels on dictionary codes, direct
lookups. All see the shard as queries do, with its live tail, its dead rows and what is cached.
"""

from collections.abc import Iterator
from typing import Final

import pyarrow.compute as pc

from alder.v1 import leaf_pb2
from leaf.engine import Cancellation
from leaf.fragment import run_fragment
from leaf.fragmentmodel import FragmentMode, FragmentResult, FragmentTools
from leaf.probes import Probe
from leaf.view import ShardView

NARROWED: Final = "narrowed scan"
PARTIALS: Final = "partials"
KERNELS: Final = "kernels"
DIRECT: Final = "direct lookup"
_COUNT: Final = "n"
_SCAN: Final = FragmentMode(memoise=False, kernels=False, direct=False)
_MEMOISED: Final = FragmentMode(memoise=True, kernels=False, direct=False)
_DIRECTLY: Final = FragmentMode(memoise=False, kernels=False, direct=True)
_BY_KERNELS: Final = FragmentMode(memoise=False, kernels=True, direct=False)


def counts(
    view: ShardView,
    keyed: bool,
    binding: leaf_pb2.ColumnBinding,
    probe: Probe,
    tools: FragmentTools,
    cancellation: Cancellation,
) -> Iterator[tuple[str, int, int]]:
    """For each way that can be taken: its name, the rows that it finds, and those of the scan.

    Raises AlderError as :func:`leaf.fragment.run_fragment`.
    """
    fragment = _counting(binding, probe)

    def run(asked: leaf_pb2.Fragment, mode: FragmentMode) -> FragmentResult:
        return run_fragment({0: view}, asked, None, keyed, tools, cancellation, mode)

    def counted(result: FragmentResult) -> int:
        # The state of a count is the count, and states of parts add up.
        return pc.sum(result.table.column(_COUNT)).as_py() or 0

    plain = leaf_pb2.Fragment()
    plain.CopyFrom(fragment)
    plain.ClearField("terms")
    expected = counted(run(plain, _SCAN))
    narrowed = run(fragment, _SCAN)
    if narrowed.scans[0].access_paths:
        yield NARROWED, counted(narrowed), expected
    run(fragment, _MEMOISED)
    from_memory = run(fragment, _MEMOISED)
    if from_memory.scans[0].partials_hits:
        yield PARTIALS, counted(from_memory), expected
    by_kernels = run(fragment, _BY_KERNELS)
    if by_kernels.scans[0].engine == leaf_pb2.FRAGMENT_ENGINE_KERNELS:
        yield KERNELS, counted(by_kernels), expected
    directly = run(fragment, _DIRECTLY)
    if directly.scans[0].engine == leaf_pb2.FRAGMENT_ENGINE_DIRECT:
        yield DIRECT, counted(directly), expected


def _counting(binding: leaf_pb2.ColumnBinding, probe: Probe) -> leaf_pb2.Fragment:
    condition = leaf_pb2.RowCondition(
        value=leaf_pb2.RowValue(columns=[binding.name], sql=probe.sql),
        terms=[probe.term] if probe.exact else [],
    )
    return leaf_pb2.Fragment(
        sql=f"SELECT count_star() EXPORT_STATE AS {_COUNT} FROM rows WHERE {probe.sql}",
        columns=[binding],
        terms=[probe.term],
        terms_exact=probe.exact,
        partial_aggregate=True,
        aggregation=leaf_pb2.Aggregation(
            aggregates=[leaf_pb2.AggregateCall(name=_COUNT, function="count_star")],
            conditions=[condition],
        ),
    )
