"""Whether a collection's topics and files still have their beginning, asked of a tailer.

Tailers have the logins of brokers and stores; other nodes need none.
"""

from alder.catalog import Collection
from alder.errors import AlderError, Reason
from alder.interfaces import NodeDirectory
from alder.membership import CatalogFollower
from alder.v1 import catalog_pb2, tailer_pb2


class TailersReach:
    """Implements :class:`alder.interfaces.SourceReach`."""

    def __init__(self, follower: CatalogFollower, directory: NodeDirectory) -> None:
        self._follower = follower
        self._directory = directory

    async def missing(self, collection: Collection, timeout_s: float | None) -> str:
        """See the protocol. Raises AlderError(UNAVAILABLE) without a tailer."""
        tailers = self._follower.snapshot.live_nodes(catalog_pb2.NODE_ROLE_TAILER)
        if not tailers:
            raise AlderError(
                Reason.UNAVAILABLE,
                f"no tailer is running that could tell whether the sources of {collection.name} "
                "have their beginning; start one",
            )
        request = tailer_pb2.ReachRequest(
            collection=collection.name, collection_id=collection.collection_id
        )
        answer = await self._directory.tailer(tailers[0].node_id).reach(request, timeout_s)
        return answer.missing
