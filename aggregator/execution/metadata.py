"""The catalog as queries see it: a name that is not known may be on its way here."""

from collections.abc import Sequence

from aggregator.execution.scatter import Schemas
from aggregator.statement import tables, views
from alder.catalog import Collection
from alder.errors import AlderError
from alder.membership import CatalogFollower


class Metadata:
    """Looks names up. Belongs to one event loop."""

    def __init__(self, follower: CatalogFollower, schemas: Schemas, wait_s: float) -> None:
        """``wait_s``: how long a newer catalog is waited for where a name is not known."""
        self._follower = follower
        self._schemas = schemas
        self._wait_s = wait_s
        self._revision = 0

    async def collections(self, names: Sequence[str]) -> dict[str, Collection]:
        """The collections by name as written. Raises AlderError(UNKNOWN_COLLECTION)."""
        snapshot = self._follower.snapshot
        if snapshot.revision != self._revision:
            self._revision = snapshot.revision
            self._schemas.keep(one.collection_id for one in snapshot.collections.values())
        try:
            return tables.collections_of(names, self._follower.snapshot.collections)
        except AlderError:
            await self.newer(self._wait_s)
            return tables.collections_of(names, self._follower.snapshot.collections)

    async def views(self, names: Sequence[str]) -> views.Views:
        """The versions of views that a query reads from its begin to its end."""
        try:
            return views.pinned(names, self._follower.snapshot)
        except AlderError:
            await self.newer(self._wait_s)
            return views.pinned(names, self._follower.snapshot)

    async def newer(self, timeout_s: float) -> None:
        """Waits for a newer snapshot, since a change may be on its way here."""
        known = self._follower.snapshot.revision
        await self._follower.wait_until(lambda snapshot: snapshot.revision > known, timeout_s)
