"""Tells leaves which fragments accelerated views consist of, so that they keep their partials.

What a view asks of leaves depends on the schemas of its collections, so it is planned here, as any
query over it is, and told to the leaves again and again: after a change of the catalog at once,
and now and then in case a schema changed or a leaf came. Telling it twice changes nothing.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aggregator.execution.leafcalls import gather
from aggregator.execution.model import Prepared, Run
from aggregator.execution.queries import Queries
from aggregator.statement.tablename import TableName
from alder.catalog import Collection, Snapshot
from alder.definitions import Definition
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from alder.interfaces import NodeDirectory
from alder.membership import CatalogFollower
from alder.v1 import leaf_pb2, query_pb2

logger = logging.getLogger(__name__)
TELL_EVERY_S: Final = 10.0
TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Pairs of a sealed segment and a fragment of a view: those that are kept, and all."""

    segments_ready: int = 0
    segments_total: int = 0


class Accelerator:
    """Plans accelerated views and tells leaves. Its methods belong to one event loop."""

    def __init__(
        self, queries: Queries, directory: NodeDirectory, follower: CatalogFollower
    ) -> None:
        self._queries = queries
        self._directory = directory
        self._follower = follower

    async def run_forever(self) -> None:
        """Keeps leaves told until cancelled."""
        while True:
            for view in list(self._follower.snapshot.definitions.values()):
                if view.is_view and view.accelerate:
                    try:
                        await self.keep(view, TIMEOUT_S)
                    except AlderError as error:
                        logger.warning("the view %s is not accelerated: %s", view.name, error)
            await self._follower.wait_until(_newer_than(self._follower.snapshot), TELL_EVERY_S)

    async def check(self, view: Definition, left_s: float) -> None:
        """Raises AlderError(UNSUPPORTED) where there is nothing to keep of a view."""
        prepared = await self._prepared(view, left_s)
        if not any(_fragments(prepared).values()):
            raise AlderError(
                Reason.UNSUPPORTED,
                f"the view {view.name} can't be accelerated: only aggregates whose partial results "
                "can be put together are kept, and no part of it is one over a single collection; "
                "EXPLAIN tells the class of what it reads",
            )

    async def keep(self, view: Definition, left_s: float) -> Progress:
        """Has leaves keep what the newest version gives, and tells how far they are."""
        revision = self._follower.snapshot.revision
        prepared = await self._prepared(view, left_s)
        asked = [
            (leaf, collection, fragments)
            for collection, fragments in _collections(prepared)
            for leaf in collection.shards_by_leaf()
        ]

        async def ask(
            leaf: str, collection: Collection, fragments: list[leaf_pb2.Fragment]
        ) -> leaf_pb2.KeepPartialsResponse:
            number = view.newest.number
            request = leaf_pb2.KeepPartialsRequest(
                collection=collection.name,
                collection_id=collection.collection_id,
                view=view.name,
                kept=[
                    leaf_pb2.KeptFragment(
                        view=view.name, version=number, revision=revision, fragment=one
                    )
                    for one in fragments
                ],
            )
            return await self._directory.leaf(leaf).keep_partials(request, timeout_s=left_s)

        answers = await gather([ask(*one) for one in asked])
        return Progress(
            sum(answer.segments_ready for answer in answers),
            sum(answer.segments_total for answer in answers),
        )

    async def _prepared(self, view: Definition, left_s: float) -> Prepared:
        sql = f"SELECT * FROM {quote(TableName(view.name, view.newest.number).encode())}"
        request = query_pb2.ExecuteRequest()
        run = Run("accelerate", request, sql, time.monotonic() + left_s)
        return await self._queries.prepare(run)


def _newer_than(seen: Snapshot) -> Callable[[Snapshot], bool]:
    return lambda snapshot: snapshot.revision > seen.revision


def _fragments(prepared: Prepared) -> dict[str, list[leaf_pb2.Fragment]]:
    """What may be kept of a plan's reads, by the names of their collections in it."""
    found: dict[str, list[leaf_pb2.Fragment]] = {}
    for read in prepared.plan.reads:
        kept = found.setdefault(read.collection, [])
        now = TableName.decode(read.collection).as_of is None
        if read.read_class == "a" and read.fragment.partial_aggregate and now:
            kept.append(read.fragment)
    return found


def _collections(prepared: Prepared) -> list[tuple[Collection, list[leaf_pb2.Fragment]]]:
    by_id: dict[int, tuple[Collection, list[leaf_pb2.Fragment]]] = {}
    for name, fragments in _fragments(prepared).items():
        collection = prepared.at.collections[name]
        by_id.setdefault(collection.collection_id, (collection, []))[1].extend(fragments)
    return list(by_id.values())
