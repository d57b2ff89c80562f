"""The kernels as the leaf's fragments use them: a result like the engine's, or None.

None means that the engine must do it; a fragment that the kernels could not do is remembered, so
that the attempt isn't paid for again.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa

from alder.recent import Recent
from alder.v1 import leaf_pb2
from leaf.bindings import Projection, engine_names
from leaf.cache import CacheUsage
from leaf.engine import Engine
from leaf.kernels.aggregation import Aggregated, Aggregation
from leaf.kernels.columns import Columns, Reading
from leaf.kernels.computing import Computing
from leaf.kernels.livetail import Work
from leaf.kernels.plan import KernelPlan, kernel_plan
from leaf.kernels.remembering import Memory, Remembering
from leaf.kernels.top import NO_MORE, Wanted
from leaf.kernels.unsupported import Unsupported
from leaf.partials import Partials

_PLANS_MAX: Final = 512


class Kernels:
    """Aggregates fragments on codes. Thread-safe; calls may block on the store and the engine."""

    def __init__(
        self, engine: Engine, partials: Partials, codes_bytes: int, dictionary_bytes: int
    ) -> None:
        self._engine = engine
        self._partials = partials
        self._columns = Columns(engine, codes_bytes, dictionary_bytes)
        self._plans: Recent[bytes, KernelPlan | Unsupported] = Recent(_PLANS_MAX)

    def cache_usage(self) -> Mapping[str, CacheUsage]:
        """What the kernels keep, by what it is."""
        return self._columns.usage()

    def aggregate(
        self,
        fragment: leaf_pb2.Fragment,
        name: bytes,
        projected: Projection,
        works: Sequence[Work],
        reading: Reading,
        memoise: bool,
        wanted: Wanted = NO_MORE,
    ) -> Aggregated | None:
        """The result of a fragment over pieces, which it marks; ``name`` is its fingerprint.

        Raises AlderError: CORRUPT, DEADLINE.
        """
        if not fragment.HasField("aggregation") or projected.watched:
            return None
        try:
            plan = self._plan(fragment, name, projected, reading)
            memory = Memory(self._partials, name) if memoise else None
            aggregation = Aggregation(plan, self._columns, reading, self._engine, wanted)
            return aggregation.run(works, memory)
        except (Unsupported, pa.ArrowException):
            self._plans.put(name, Unsupported())
            return None

    def remembers(self, name: bytes, works: Sequence[Work], reading: Reading) -> bool:
        """True if the partials of all sealed segments among the pieces are in memory."""
        plan = self._plans.get(name)
        if not isinstance(plan, KernelPlan):
            return False
        try:
            computing = Computing(plan, self._columns, reading)
        except Unsupported:
            return False
        return Remembering(computing, Memory(self._partials, name)).remembers(works)

    def _plan(
        self,
        fragment: leaf_pb2.Fragment,
        name: bytes,
        projected: Projection,
        reading: Reading,
    ) -> KernelPlan:
        known = self._plans.get(name)
        if isinstance(known, Unsupported):
            raise Unsupported
        if known is None:
            nothing = projected.needs.schema().empty_table()
            nothing = nothing.rename_columns(engine_names(nothing.num_columns))
            result = self._engine.run(nothing, projected.sql, fragment.sql, reading.cancellation)
            known = kernel_plan(fragment, result.schema)
            self._plans.put(name, known)
        return known
