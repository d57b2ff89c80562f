"""Whether a log still reaches back to its beginning, so that a replica can be built from it."""

from typing import Final, Protocol

from alder.catalog import LOG_SOURCE, Collection
from alder.interfaces import LogClient, SourceReach
from alder.v1 import log_pb2

ASK_TIMEOUT_S: Final = 10.0
REACH_TIMEOUT_S: Final = 60.0
"""Each of a collection's files may have to be looked at."""


class History(Protocol):
    """What is known of the sources of collections."""

    async def missing(self, collection: Collection) -> str:
        """What can't be read from its beginning any more; empty if all can.

        Raises AlderError where the sources can't be asked.
        """
        ...


class WholeHistory:
    """For sources that are never cut off."""

    async def missing(self, collection: Collection) -> str:
        """Nothing."""
        return ""


class SourceHistory:
    """Asks the log for its bounds, and others about topics and files."""

    def __init__(self, log: LogClient, reach: SourceReach) -> None:
        self._log = log
        self._reach = reach

    async def missing(self, collection: Collection) -> str:
        """See :class:`History`."""
        for source in collection.sources:
            if source.url != LOG_SOURCE:
                continue
            request = log_pb2.OffsetsRequest(topic=collection.log_topic)
            offsets = await self._log.offsets(request, ASK_TIMEOUT_S)
            if offsets.topic_id != source.topic_id:
                return f"the log of {collection.name} is another one by now"
            for bounds in offsets.partitions:
                if bounds.begin_offset > 0:
                    return (
                        f"the log of {collection.name} begins at offset {bounds.begin_offset} in "
                        f"partition {bounds.partition}"
                    )
        if all(source.url == LOG_SOURCE for source in collection.sources):
            return ""
        return await self._reach.missing(collection, REACH_TIMEOUT_S)
