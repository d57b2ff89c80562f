"""One shard replica: applies pushes exactly once and hands out immutable views.

Rows, deaths, key map, quarantine and position of a push are one RocksDB batch (I2). There is one
writer at a time; readers take :attr:`Shard.view`, which is replaced only after the commit, so they
never wait and never see a part of a push. A failed commit leaves the view as it was.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.rocks import Batch, Store, destroy
from alder.v1 import common_pb2
from leaf import layout
from leaf.cache import PageCache
from leaf.change import Change, change_of, stream_record
from leaf.core import Decision, PushHeader, ShardState, applied, decide
from leaf.layout import Manifest, StreamRecord
from leaf.recovery import Recovered, recover, stream_numbers
from leaf.rows import PushedRows, parse_quarantine, parse_rows
from leaf.settings import LeafSettings
from leaf.tail import TailChunk, appended
from leaf.view import ShardView

logger = logging.getLogger(__name__)


class Shard:
    """A shard on its own store. Methods block; they belong on worker threads."""

    def __init__(
        self,
        path: Path,
        collection_id: int,
        keyed: bool,
        settings: LeafSettings,
        cache: PageCache[pa.Array],
    ) -> None:
        """Opens or creates the replica; one that lost the middle of its log starts empty again.

        Raises AlderError(UNAVAILABLE) where another process has it open.
        """
        self._keyed = keyed
        self._settings = settings
        self._cache = cache
        self._lock = threading.Lock()
        self._store, recovered = _open(path)
        self._records = list(recovered.streams)
        self._numbers = stream_numbers(recovered.streams)
        self._unwritten: set[int] = set()
        self._manifest: Manifest = recovered.manifest
        self._sealing_to_block = 0
        self._state = ShardState(
            collection_id,
            0,
            PositionVector({key: self._records[n].next_offset for key, n in self._numbers.items()}),
            {key: self._records[n].identity for key, n in self._numbers.items()},
        )
        self.view = ShardView(
            streams=tuple(self._numbers),
            positions=self._state.positions,
            segments=(),
            tail=recovered.tail,
            tombstones=recovered.tombstones,
            schema=recovered.schema,
            counters=recovered.counters,
        )

    def apply(
        self, push: PushHeader, epoch: int, rows: bytes, quarantine: bytes, overflow: bool
    ) -> Decision:
        """Takes a push, or says why not. ``epoch`` is that of the shard map known here.

        Raises AlderError: INVALID_ARGUMENT, CORRUPT or LIMIT for rows that can't be taken,
        UNAVAILABLE where the store can't write; nothing is applied then.
        """
        with self._lock:
            self._state = replace(self._state, epoch=epoch)
            early = decide(self._state, push)
        if not early.accepted:
            return early
        parsed = parse_rows(rows, push, self._keyed, self._settings.rows_per_push_max)
        quarantined = parse_quarantine(quarantine, push)
        with self._lock:
            decision = decide(self._state, push)
            if decision.accepted:
                self._take(push, parsed, quarantined, overflow)
        return decision

    def sync(self) -> None:
        """Brings all that was applied to disk, positions without rows included."""
        with self._lock:
            if self._unwritten:
                batch = self._store.batch()
                self._put_unwritten(batch)
                self._commit(batch)
                self._unwritten.clear()
        self._store.sync()

    def quarantined(self, records_max: int) -> list[common_pb2.QuarantinedRecord]:
        """The first quarantined records, by partition and offset."""
        found = []
        for key, value in self._store.scan(layout.QUARANTINE):
            record = self._records[layout.stream_of_quarantined(key)]
            found.append(layout.decode_quarantined(record, key, value))
            if len(found) == records_max:
                break
        return found

    def size_bytes(self) -> int:
        """Bytes on disk."""
        return self._store.size_bytes()

    def close(self) -> None:
        """Syncs and closes. Nothing may be running on the shard."""
        try:
            self.sync()
        finally:
            self._store.close()

    def _take(
        self, push: PushHeader, parsed: PushedRows | None, quarantined: pa.Table, overflow: bool
    ) -> None:
        stream, record = stream_record(self._records, self._numbers, push)
        state = applied(self._state, push)
        streams = self.view.streams if push.key in self._numbers else (*self.view.streams, push.key)
        view = replace(self.view, streams=streams, positions=state.positions)
        if parsed is None and not quarantined.num_rows:
            self._unwritten.add(stream)
        else:
            lookup = self._lookup if self._keyed else None
            change = change_of(view, record, push, parsed, quarantined, overflow, lookup)
            batch = self._store.batch()
            self._put_unwritten(batch)
            change.put(batch, self.view)
            self._commit(batch)
            self._unwritten.clear()
            record, view = change.record, self._with_rows(change)
        self._set_record(stream, record)
        self._state, self.view = state, view

    def _with_rows(self, change: Change) -> ShardView:
        if not change.block.table.num_rows:
            return change.view
        chunk = TailChunk.of(self.view.counters.block_next, change.block.table)
        return replace(change.view, tail=appended(self.view.tail, chunk, self._sealing_to_block))

    def _lookup(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._store.get_many(layout.KEYS, keys)

    def _set_record(self, stream: int, record: StreamRecord) -> None:
        if stream == len(self._records):
            self._records.append(record)
            self._numbers[record.source, record.partition] = stream
        else:
            self._records[stream] = record

    def _put_unwritten(self, batch: Batch) -> None:
        """Positions that moved without rows, with the counters that say what came before them.

        Without the counters a position could outlive the rows before it unnoticed.
        """
        for stream in self._unwritten:
            record = layout.encode_stream(self._records[stream])
            batch.put(layout.META, layout.stream_key(stream), record)
        counters = layout.encode_counters(self.view.counters)
        batch.put(layout.META, layout.COUNTERS_KEY, counters)

    def _commit(self, batch: Batch) -> None:
        try:
            self._store.write(batch)
        except Exception as error:
            raise AlderError(
                Reason.UNAVAILABLE,
                f"the shard can't be written ({error}); queries go on, free disk space if it is "
                "full and restart the leaf",
            ) from error


def _open(path: Path) -> tuple[Store, Recovered]:
    store = Store(path, layout.FAMILIES)
    try:
        return store, recover(store)
    except AlderError as error:
        if error.reason is not Reason.CORRUPT:
            store.close()
            raise
        logger.error(
            "the replica in %s is emptied and built again from the log: %s", path.name, error
        )
    store.close()
    destroy(path)
    store = Store(path, layout.FAMILIES)
    return store, recover(store)
