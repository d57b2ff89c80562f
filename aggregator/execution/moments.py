"""Moments: which cut of a collection's log ``AS OF`` names.

A position names a cut itself. A time names, of each log partition, the records up to the first that
is later; the log tells its offset, since it gave out the times. So a time stands for the same cut
whoever asks and whenever, once the log is past it; one that is still to come is waited for, as
positions are. A file is of one time, and counts as far as it has been read.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aggregator.statement.tablename import POSITION, AsOf
from alder.catalog import LOG_SOURCE, Collection
from alder.errors import AlderError, Reason
from alder.interfaces import LogClient
from alder.positions import EVERY_COLLECTION, PartitionKey, PositionVector, vectors_of_text
from alder.v1 import log_pb2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """A cut: ``positions``, and ``files`` that are in it as far as they are read.

    ``unless``: another one, where only rows are read that are not in the answer there.
    """

    positions: PositionVector
    files: frozenset[PartitionKey] = frozenset()
    unless: PositionVector | None = None

    @property
    def reached(self) -> PositionVector:
        """What shards must have reached to answer."""
        return self.positions if self.unless is None else self.positions.merged(self.unless)

    def cut(self, reached: PositionVector) -> PositionVector:
        """The cut where all shards have reached these positions."""
        return self.positions.merged(PositionVector({key: reached[key] for key in self.files}))


async def moment_of(
    as_of: AsOf, collection: Collection, log: LogClient, deadline_s: float
) -> Moment:
    """The cut of a collection that AS OF names; ``deadline_s`` is of the monotonic clock.

    Raises AlderError: INVALID_ARGUMENT for a text that names none, DEADLINE for a time that is not
    over by then, OUT_OF_RANGE for one before what is left of the log.
    """
    if as_of.kind == POSITION:
        unless = None
        if as_of.unless is not None:
            unless = positions_of(vectors_of_text(as_of.unless), collection)
        return Moment(positions_of(vectors_of_text(as_of.text), collection), unless=unless)
    moment_us = _microseconds(as_of.text)
    files = frozenset(
        (source.name, entry.partition)
        for source in collection.sources
        if source.name != LOG_SOURCE
        for entry in source.partitions
        if _file_time_us(entry.identity) <= moment_us
    )
    if all(source.name != LOG_SOURCE for source in collection.sources):
        return Moment(PositionVector(), files)
    return Moment(await _log_positions(moment_us, collection, log, deadline_s), files)


def positions_of(vectors: Mapping[str, PositionVector], collection: Collection) -> PositionVector:
    """The vector of a collection among those of some.

    Raises AlderError(INVALID_ARGUMENT) where there is none, or it names an unknown partition.
    """
    found = vectors.get(collection.name, vectors.get(EVERY_COLLECTION))
    if found is None:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"the positions are those of {', '.join(sorted(vectors))}, and {collection.name} is "
            f"read, too; add {collection.name}=... to them, with a ; between",
        )
    known = {
        (source.name, entry.partition)
        for source in collection.sources
        for entry in source.partitions
    }
    for key, offset in sorted(found.offsets.items()):
        if offset and key not in known:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"{collection.name} has no partition {key[0]}/{key[1]}; take the positions from a "
                "result or token of this collection",
            )
    return found


async def _log_positions(
    moment_us: int, collection: Collection, log: LogClient, deadline_s: float
) -> PositionVector:
    while True:
        left_s = deadline_s - time.monotonic()
        request = log_pb2.OffsetsRequest(topic=collection.log_topic, at_timestamp_us=moment_us)
        answer = await log.offsets(request, timeout_s=max(left_s, 0.001))
        if not answer.ahead_us:
            return PositionVector(
                {(LOG_SOURCE, one.partition): one.at_offset for one in answer.partitions}
            )
        ahead_s = answer.ahead_us / _US_PER_S
        if ahead_s > deadline_s - time.monotonic():
            raise AlderError(
                Reason.DEADLINE,
                f"the time that {collection.name} is to be read at is {ahead_s:.1f} s ahead of its "
                "log; ask for an earlier one, or with a longer timeout",
            )
        await asyncio.sleep(ahead_s)


def _microseconds(text: str) -> int:
    """Microseconds since 1970 UTC of a time in ISO 8601, which is in UTC unless it says more."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{text[:80]!r} is no time; write AS OF TIMESTAMP '2026-01-31 12:00:00.123456', in UTC "
            "or with an offset as +02:00",
        ) from error
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    passed = zoned - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * _US_PER_S + passed.microseconds


def _file_time_us(identity: str) -> int:
    """The time of a file, as the tailer gives it to the file's records."""
    return int(identity.partition(":")[2] or 0) // 1_000
