"""The records of a collection in quarantine, over all of its leaves: listed, redriven, dropped.

Each call is about one page, so that its size and time are bounded; a client goes on after the last
record that it was told of. What a call has done stays, and the next one begins with what is left.
"""

from dataclasses import dataclass

from aggregator.execution.leafcalls import gather
from alder.catalog import Collection, Snapshot
from alder.errors import AlderError, Reason
from alder.interfaces import NodeDirectory
from alder.v1 import catalog_pb2, common_pb2, quarantine_pb2

Record = common_pb2.QuarantinedRecord


@dataclass(frozen=True, slots=True)
class Quarantine:
    """That of one collection, as it stands in a snapshot of the catalog.

    ``records_max`` bounds a page, ``timeout_s`` each call to a node.
    """

    snapshot: Snapshot
    collection: Collection
    directory: NodeDirectory
    records_max: int
    timeout_s: float

    async def page(self, request: quarantine_pb2.QuarantineRequest) -> list[Record]:
        """The records that a request asks for. Raises AlderError if a leaf does not answer."""
        count = min(request.records_max or self.records_max, self.records_max)
        asked = quarantine_pb2.ShardQuarantineRequest(
            collection_id=self.collection.collection_id, page=request
        )
        asked.page.records_max = count

        async def ask(leaf: str) -> list[Record]:
            stream = self.directory.leaf(leaf).list_quarantine(asked, timeout_s=self.timeout_s)
            return [record async for record in stream]

        found = await gather([ask(leaf) for leaf in self.collection.shards_by_leaf()])
        records = [record for answer in found for record in answer]
        records.sort(key=lambda record: (record.source, record.partition, record.offset))
        return records[:count]

    async def redrive(
        self, request: quarantine_pb2.QuarantineRequest
    ) -> quarantine_pb2.RedriveResponse:
        """Has a tailer redrive the page that a request asks for.

        Raises AlderError: INVALID_ARGUMENT for dropped records, UNAVAILABLE without a tailer.
        """
        if request.dropped:
            raise AlderError(
                Reason.INVALID_ARGUMENT, "a dropped record is never redriven; append it again"
            )
        positions = list(map(_position, await self.page(request)))
        if not positions:
            return quarantine_pb2.RedriveResponse()
        tailers = self.snapshot.live_nodes(catalog_pb2.NODE_ROLE_TAILER)
        if not tailers:
            raise AlderError(
                Reason.UNAVAILABLE, "no tailer is running, and only a tailer reads records again"
            )
        asked = quarantine_pb2.TailerRedriveRequest(
            collection=self.collection.name,
            collection_id=self.collection.collection_id,
            records=positions,
        )
        return await self.directory.tailer(tailers[0].node_id).redrive(asked, self.timeout_s)

    async def drop(
        self, request: quarantine_pb2.QuarantineRequest
    ) -> quarantine_pb2.DropQuarantinedResponse:
        """Drops the page that a request asks for. Raises AlderError as :meth:`page`."""
        positions = list(map(_position, await self.page(request)))
        if not positions or request.dropped:
            return quarantine_pb2.DropQuarantinedResponse()
        asked = quarantine_pb2.LeafDropRequest(
            collection_id=self.collection.collection_id, records=positions
        )
        answers = await gather(
            [
                self.directory.leaf(leaf).drop_quarantined(asked, self.timeout_s)
                for leaf in self.collection.shards_by_leaf()
            ]
        )
        dropped = [record for answer in answers for record in answer.records]
        dropped.sort(key=lambda record: (record.source, record.partition, record.offset))
        return quarantine_pb2.DropQuarantinedResponse(records=dropped)


def _position(record: Record) -> quarantine_pb2.RecordPosition:
    return quarantine_pb2.RecordPosition(
        source=record.source, partition=record.partition, offset=record.offset
    )
