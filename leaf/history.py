"""Whether a log still reaches back to its beginning, so that a replica can be built from it."""

import asyncio
import os
from collections.abc import Sequence
from typing import Final, Protocol

from alder.catalog import Collection, SourcePartition
from alder.files import identity_of
from alder.interfaces import LogClient
from alder.v1 import log_pb2

LOG_URL: Final = "log"
_OBJECT: Final = "s3://"
ASK_TIMEOUT_S: Final = 10.0


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
    """Asks the log for its bounds, and looks for files where they are named."""

    def __init__(self, log: LogClient) -> None:
        self._log = log

    async def missing(self, collection: Collection) -> str:
        """See :class:`History`."""
        for source in collection.sources:
            if source.url == LOG_URL:
                request = log_pb2.OffsetsRequest(topic=collection.log_topic)
                offsets = await self._log.offsets(request, ASK_TIMEOUT_S)
                if offsets.topic_id != source.topic_id:
                    return f"the log of {collection.name} is another one by now"
                for bounds in offsets.partitions:
                    if bounds.begin_offset > 0:
                        return (
                            f"the log of {collection.name} begins at offset "
                            f"{bounds.begin_offset} in partition {bounds.partition}"
                        )
                continue
            if source.is_topic:
                return f"a leaf can't ask whether the topic of {source.url} has its beginning"
            why = await asyncio.to_thread(_first_missing, source.partitions)
            if why:
                return why
        return ""


def _first_missing(files: Sequence[SourcePartition]) -> str:
    return next((why for entry in files if (why := _missing(entry))), "")


def _missing(file: SourcePartition) -> str:
    """Why a file is not there as it was read; empty if it is."""
    if file.name.startswith(_OBJECT):
        return f"a leaf can't ask whether {file.name} is still there"
    try:
        found = identity_of(os.stat(file.name))
    except OSError:
        return f"the file {file.name} can't be seen from the leaf"
    return "" if found == file.identity else f"the file {file.name} has changed"
