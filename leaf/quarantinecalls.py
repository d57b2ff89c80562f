"""What callers ask of the quarantine of a leaf's shards; see quarantine.proto."""

from collections.abc import AsyncIterator
from concurrent.futures import Executor
from functools import partial

from alder.errors import AlderError, Reason
from alder.v1 import common_pb2, quarantine_pb2
from leaf.core import PushHeader
from leaf.ownership import Shards
from leaf.presence import Presence
from leaf.quarantine import Page, Position, position_of
from leaf.repair import check_complete
from leaf.settings import LeafSettings
from leaf.shard import Shard
from leaf.threads import uninterrupted


class QuarantineCalls:
    """Runs them on the threads of the leaf."""

    def __init__(
        self, shards: Shards, presence: Presence, threads: Executor, settings: LeafSettings
    ) -> None:
        self._shards = shards
        self._presence = presence
        self._threads = threads
        self._settings = settings

    async def list(
        self, request: quarantine_pb2.ShardQuarantineRequest
    ) -> AsyncIterator[common_pb2.QuarantinedRecord]:
        """The records of a page, of each shard on its own."""
        settings = self._settings
        page = Page.of(
            request.page, settings.quarantine_list_max, settings.quarantine_listed_bytes_max
        )
        keys = await self._presence.keys(request.collection_id, [])
        with self._shards.using(keys) as shards:
            for shard in shards.values():
                call = partial(shard.quarantine.page, page)
                for record in await uninterrupted(self._threads, call):
                    yield record

    async def redrive(
        self, request: quarantine_pb2.LeafRedriveRequest
    ) -> quarantine_pb2.LeafRedriveResponse:
        """Applies redriven records. Raises AlderError: NOT_OWNER, and as the shards do."""
        keys = [(request.collection_id, part.shard) for part in request.shards]
        await self._presence.keys(request.collection_id, [number for _, number in keys])
        collection = self._presence.collection(request.collection, request.collection_id)
        assignment = self._presence.assignment
        with self._shards.using(keys) as shards:
            if collection is None or len(shards) < len(keys):
                raise self._shards.refusal(keys) or self._presence.not_owner(request.collection)
            check_complete(shards)

            def apply() -> dict[int, str]:
                refused: dict[int, str] = {}
                for key, part in zip(keys, request.shards, strict=True):
                    refused |= _redrive(request, part, shards[key], collection.epoch, assignment)
                return refused

            refused = await uninterrupted(self._threads, apply)
        self._presence.changed()
        return quarantine_pb2.LeafRedriveResponse(
            refused=[
                quarantine_pb2.RefusedRow(offset=offset, reason=reason)
                for offset, reason in sorted(refused.items())
            ]
        )

    async def drop(
        self, request: quarantine_pb2.LeafDropRequest
    ) -> quarantine_pb2.LeafDropResponse:
        """Drops records. Raises AlderError: LIMIT for too many, UNAVAILABLE, NOT_OWNER."""
        limit = self._settings.quarantine_list_max
        if len(request.records) > limit:
            raise AlderError(Reason.LIMIT, f"one call drops {limit} records; name fewer at once")
        wanted = list(map(position_of, request.records))
        keys = await self._presence.keys(request.collection_id, [])
        with self._shards.using(keys) as shards:
            check_complete(shards)
            dropped: list[Position] = []
            for shard in shards.values():
                call = partial(shard.drop_quarantined, wanted)
                dropped += await uninterrupted(self._threads, call)
        return quarantine_pb2.LeafDropResponse(
            records=[
                quarantine_pb2.RecordPosition(source=source, partition=partition, offset=offset)
                for source, partition, offset in sorted(dropped)
            ]
        )


def _redrive(
    request: quarantine_pb2.LeafRedriveRequest,
    part: quarantine_pb2.ShardRedrive,
    shard: Shard,
    epoch: int,
    assignment: int,
) -> dict[int, str]:
    push = PushHeader(
        request.collection_id,
        request.epoch,
        request.source,
        request.partition,
        request.source_identity,
        request.from_offset,
        request.to_offset,
        assignment=request.assignment,
    )
    settled = list(part.settled_offsets)
    return shard.redrive(
        push, epoch, part.rows, settled, part.quarantine, request.overflow, assignment
    )
