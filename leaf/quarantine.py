"""The records in quarantine of a shard: read in pages, dropped, and let go once they are applied.

What became of a record by a command is kept beside it, in the same write batch: a dropped one stays
where it is and is only marked, so that it can still be seen, and compared with the log; of a
redriven one the mark alone is left, where its row is, so that no repetition applies it twice.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from alder.positions import PartitionKey
from alder.rocks import Batch
from alder.v1 import common_pb2, quarantine_pb2
from leaf import layout
from leaf.layout import StreamRecord
from leaf.replica import Replica

Position = tuple[str, int, int]
"""Source, partition and offset of a record."""


@dataclass(frozen=True, slots=True)
class Page:
    """At most ``records_max`` records after a position, or the one at a position.

    ``dropped``: those that were dropped, instead of those that wait. Values are cut to
    ``value_bytes_max``, but not that of ``only``.
    """

    records_max: int
    value_bytes_max: int
    after: Position | None = None
    only: Position | None = None
    dropped: bool = False

    @classmethod
    def of(
        cls, request: quarantine_pb2.QuarantineRequest, records_max: int, value_bytes_max: int
    ) -> "Page":
        """What a request asks for, within these limits."""
        return cls(
            min(request.records_max or records_max, records_max),
            value_bytes_max,
            position_of(request.after) if request.HasField("after") else None,
            position_of(request.only) if request.HasField("only") else None,
            request.dropped,
        )

    def offsets(self, key: PartitionKey) -> tuple[int, int | None]:
        """The offsets ``[begin, end)`` of a partition that can be in the page; None: no end."""
        if self.only is not None:
            offset = self.only[2]
            return (offset, offset + 1) if key == self.only[:2] else (0, 0)
        if self.after is None or key > self.after[:2]:
            return 0, None
        return (self.after[2] + 1, None) if key == self.after[:2] else (0, 0)


def position_of(message: quarantine_pb2.RecordPosition) -> Position:
    """A position as it came."""
    return message.source, message.partition, message.offset


class Quarantine:
    """That of one shard. Methods that put into a batch, or drop, are for who holds the lock."""

    def __init__(
        self, replica: Replica, records: Sequence[StreamRecord], write_out: Callable[[], None]
    ) -> None:
        """``records`` grows with the shard's streams.

        ``write_out`` brings what was applied to the store; the lock is held then.
        """
        self._replica = replica
        self._records = records
        self._write_out = write_out

    def page(self, page: Page) -> list[common_pb2.QuarantinedRecord]:
        """The records of a page, by source, partition and offset."""
        found: list[common_pb2.QuarantinedRecord] = []
        for key, stream in sorted(self._streams().items()):
            begin, end = page.offsets(key)
            if end is not None and begin >= end:
                continue
            records = (
                record
                for record in self._scanned(stream, begin, end)
                if self._is_dropped(stream, record.offset) == page.dropped
            )
            found.extend(islice(records, page.records_max - len(found)))
            if len(found) >= page.records_max:
                break
        if page.only is None:
            for record in found:
                record.value = record.value[: page.value_bytes_max]
        return found

    def between(
        self, key: PartitionKey, begin: int, end: int
    ) -> Iterator[common_pb2.QuarantinedRecord]:
        """The records of offsets ``[begin, end)`` of a partition, ascending, dropped ones too."""
        stream = self._streams().get(key)
        return iter(()) if stream is None else self._scanned(stream, begin, end)

    def waiting(self, stream: int, offsets: Iterable[int]) -> list[int]:
        """Those of the offsets whose records wait here."""
        store = self._replica.store
        return [
            offset
            for offset in offsets
            if store.get(layout.QUARANTINE, layout.quarantine_key(stream, offset)) is not None
            and not self._is_dropped(stream, offset)
        ]

    def redriven(self, stream: int, places: Iterable[int]) -> list[bool]:
        """Whether the row of each place was applied here by a redrive."""
        keys = [layout.settled_key(stream, place) for place in places]
        return [mark == layout.REDRIVEN for mark in self._replica.store.get_many(layout.META, keys)]

    def put_gone(self, batch: Batch, stream: int, offsets: Iterable[int]) -> None:
        """Has a batch take records that wait out of quarantine."""
        for offset in offsets:
            batch.delete(layout.QUARANTINE, layout.quarantine_key(stream, offset))

    def put_redriven(self, batch: Batch, stream: int, places: Iterable[int]) -> None:
        """Has a batch remember that the rows of these places are applied with it."""
        for place in places:
            batch.put(layout.META, layout.settled_key(stream, place), layout.REDRIVEN)

    def put_dropped(self, batch: Batch, positions: Iterable[Position]) -> list[Position]:
        """Has a batch drop those of the records that wait here; they are returned."""
        dropped = []
        streams = self._streams()
        for source, partition, offset in positions:
            stream = streams.get((source, partition))
            if stream is not None and self.waiting(stream, [offset]):
                batch.put(layout.META, self._dropped_key(stream, offset), layout.DROPPED)
                dropped.append((source, partition, offset))
        return dropped

    def _streams(self) -> dict[PartitionKey, int]:
        return {
            (record.source, record.partition): n for n, record in enumerate(tuple(self._records))
        }

    def _is_dropped(self, stream: int, offset: int) -> bool:
        key = self._dropped_key(stream, offset)
        return self._replica.store.get(layout.META, key) == layout.DROPPED

    def _dropped_key(self, stream: int, offset: int) -> bytes:
        """A record is dropped whole: what became of it is kept where its first document's is."""
        return layout.settled_key(stream, offset << self._replica.view.streams.ordinal_bits)

    def _scanned(
        self, stream: int, begin: int, end: int | None
    ) -> Iterator[common_pb2.QuarantinedRecord]:
        with self._replica.lock:
            self._write_out()
        first = layout.quarantine_key(stream, begin)
        last = layout.quarantine_key(*((stream + 1, 0) if end is None else (stream, end)))
        for key, value in self._replica.store.scan(layout.QUARANTINE, first, last):
            yield layout.decode_quarantined(self._records[stream], key, value)
