"""Which nodes live: those whose leases run, and the catalog says so of every node.

A node renews its lease with each heartbeat; one whose lease ran out is reported as not live.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from alder.errors import AlderError
from controller.catalog import Catalog
from controller.changes import CatalogState, Change, PutNode
from controller.leases import Leases

logger = logging.getLogger(__name__)
SWEEPS_PER_LEASE: Final = 10


class Liveness:
    """Leases by a clock. Belongs to one event loop."""

    def __init__(self, lease_s: float, monotonic_s: Callable[[], float]) -> None:
        """``monotonic_s`` is the clock of the leases."""
        self._lease_s = lease_s
        self._monotonic_s = monotonic_s
        self._leases = Leases(lease_s)

    def holds(self, node_id: str) -> bool:
        """True if the node has a lease that was not swept yet."""
        return self._leases.holds(node_id)

    def renew(self, node_ids: Iterable[str]) -> None:
        """Lets the leases of these nodes run anew from now."""
        self._leases = self._leases.renewed(node_ids, self._monotonic_s())

    def end(self, node_id: str) -> None:
        """Ends the lease of a node that left."""
        self._leases = self._leases.ended(node_id)

    async def expire(self, catalog: Catalog) -> None:
        """Makes the catalog say of every node what its lease says."""
        self._leases = self._leases.swept(self._monotonic_s())

        def decide(state: CatalogState) -> Sequence[Change]:
            return [
                PutNode(replace(node, live=not node.live))
                for node in state.snapshot.nodes.values()
                if node.live != self.holds(node.node_id)
            ]

        while decide(catalog.state):
            await catalog.change(decide)

    async def run_forever(self, catalog: Catalog) -> None:
        """Expires leases in time. What the event loop slept is not held against the nodes."""
        pause_s = self._lease_s / SWEEPS_PER_LEASE
        before_s = self._monotonic_s()
        while True:
            await asyncio.sleep(pause_s)
            now_s = self._monotonic_s()
            overslept_s = now_s - before_s - pause_s
            if overslept_s > pause_s:
                self._leases = self._leases.postponed(overslept_s)
            before_s = now_s
            try:
                await self.expire(catalog)
            except AlderError as error:
                logger.error("the catalog could not be told of expired leases: %s", error)
