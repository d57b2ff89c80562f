"""The cut of a query: which shards it reads, up to where, and with which fields (I4, I6).

Schema and positions come in the same answers of the leaves, so a plan always knows every field of
the rows in its cut, and a new field needs no second try.
"""

import time
from collections.abc import Callable, Mapping

from aggregator.execution import core
from aggregator.execution.coverage import leaf_of
from aggregator.execution.gathered import State
from aggregator.execution.leafcalls import gather
from aggregator.execution.model import AggregatorSettings, Cut, Run, left_s, since_us
from aggregator.execution.moments import Moment, moment_of, positions_of
from aggregator.execution.scatter import Scatter
from aggregator.execution.staleness import Witnesses, leave_out_stale
from aggregator.protection.killers import Killers
from aggregator.statement.tablename import TableName
from alder.catalog import Collection
from alder.interfaces import LogClient
from alder.positions import PositionVector
from alder.v1 import query_pb2


class Cuts:
    """Asks leaves where they are. Belongs to one event loop."""

    def __init__(
        self,
        scatter: Scatter,
        log: LogClient,
        killers: Killers,
        settings: AggregatorSettings,
        wall_clock_us: Callable[[], int],
        witnesses: Callable[[], Witnesses],
    ) -> None:
        """``witnesses`` gives those who tell at this moment how far behind positions are."""
        self._scatter = scatter
        self._log = log
        self._killers = killers
        self._settings = settings
        self._wall_clock_us = wall_clock_us
        self._witnesses = witnesses

    async def cut(self, run: Run, collections: Mapping[str, Collection]) -> Cut:
        """What a query of these collections reads, which are by name as written.

        Raises AlderError: UNAVAILABLE, DEADLINE, and what a moment raises.
        """
        begin = time.monotonic()
        found = None
        while found is None:
            found = await self._found(run, collections)
        run.scatter_us += since_us(begin)
        return found

    async def _found(self, run: Run, collections: Mapping[str, Collection]) -> Cut | None:
        """The cut; None if shards are to be left out that were asked."""
        moments = await self._moments(run, collections)
        unique = {entry.collection_id: entry for entry in collections.values()}
        wanted = _wanted(run.request, collections, moments)
        states = dict(
            zip(
                unique,
                await gather([self._state(run, one, wanted[key]) for key, one in unique.items()]),
                strict=True,
            )
        )
        lags_us: dict[int, float] = {}
        if run.coverage.policy.staleness_us_max is not None:
            now_us, left = self._wall_clock_us(), left_s(run, self._settings.margin_s)
            for key, one in unique.items():
                lags_us[key] = await leave_out_stale(
                    self._witnesses(), one, states[key].positions, run.coverage, now_us, left
                )
            if any(states[key].missing != set(run.coverage.of(one)) for key, one in unique.items()):
                return None
        missing = {key: run.coverage.of(one) for key, one in unique.items()}
        covered = {name: run.coverage.covered(one) for name, one in collections.items()}
        by_id = {entry.collection_id: entry for entry in covered.values()}
        self._killers.answered(leaf_of(one.leaf) for key in by_id.values() for one in key.shards)
        newest = {
            key: core.choose_cut([shard.shard for shard in one.shards], states[key].positions)
            for key, one in by_id.items()
        }
        positions = {
            name: moments[name].cut(newest[one.collection_id])
            if name in moments
            else newest[one.collection_id]
            for name, one in covered.items()
        }
        return Cut(covered, states, positions, missing, lags_us)

    async def _moments(self, run: Run, collections: Mapping[str, Collection]) -> dict[str, Moment]:
        """The moment of each name that has one: its own, or that of the request."""
        vectors = {
            entry.collection: PositionVector.from_proto(entry.positions)
            for entry in run.request.as_of
        }

        async def moment(name: str, collection: Collection) -> Moment | None:
            as_of = TableName.decode(name).as_of
            if as_of is not None:
                deadline_s = time.monotonic() + left_s(run, self._settings.margin_s)
                return await moment_of(as_of, collection, self._log, deadline_s)
            return Moment(positions_of(vectors, collection)) if vectors else None

        found = await gather([moment(name, one) for name, one in collections.items()])
        return {name: one for name, one in zip(collections, found, strict=True) if one is not None}

    async def _state(self, run: Run, collection: Collection, wanted: PositionVector) -> State:
        left = left_s(run, self._settings.margin_s)
        wait_s = left - self._settings.margin_s if wanted.offsets else 0.0
        return await self._scatter.state(collection, wanted, left, wait_s, run.coverage)


def _wanted(
    request: query_pb2.ExecuteRequest,
    collections: Mapping[str, Collection],
    moments: Mapping[str, Moment],
) -> dict[int, PositionVector]:
    """What the shards of each collection must have reached, by id.

    A moment is read as it was, so what its reader must see of later ones is not asked for.
    """
    least = {
        entry.collection: PositionVector.from_proto(entry.positions)
        for entry in request.min_positions
    }
    wanted = {one.collection_id: PositionVector() for one in collections.values()}
    for name, one in collections.items():
        moment = moments.get(name)
        vector = least.get(one.name, PositionVector()) if moment is None else moment.reached
        wanted[one.collection_id] = wanted[one.collection_id].merged(vector)
    return wanted
