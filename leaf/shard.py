"""One shard replica: applies pushes exactly once and hands out immutable views.

Rows, deaths, key map, quarantine and position of a push are one RocksDB batch (I2). There is one
writer at a time; readers take :attr:`Shard.view`, which is replaced only after the commit, so they
never wait and never see a part of a push. A failed commit leaves the view as it was.
"""

import logging
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.rocks import Batch, Store
from alder.v1 import common_pb2
from leaf import layout
from leaf.cache import PageCache
from leaf.change import Change, change_of, stream_record
from leaf.core import Decision, PushHeader, ShardState, applied, decide
from leaf.layout import Manifest, StreamRecord
from leaf.recovery import Recovered, recover, stream_numbers
from leaf.rows import PushedRows, parse_quarantine, parse_rows
from leaf.seal import SealedSegment
from leaf.sealing import SealPlan, published, segment_batches
from leaf.segment import Segment
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
        cache: PageCache,
    ) -> None:
        """Opens or creates the replica; one that lost the middle of its log starts empty again.

        Raises AlderError(UNAVAILABLE) where another process has it open.
        """
        self._keyed = keyed
        self._settings = settings
        self._cache = cache
        self._lock = threading.Lock()
        self._name = f"{path.parent.name}/{path.name}"
        self._store, recovered = _open(path, self._name, cache)
        self._records = list(recovered.streams)
        self._numbers = stream_numbers(recovered.streams)
        self._unwritten: set[int] = set()
        self._unsynced = False
        self._manifest: Manifest = recovered.manifest
        self._seal: SealPlan | None = None
        self._state = ShardState(
            collection_id,
            0,
            PositionVector({key: self._records[n].next_offset for key, n in self._numbers.items()}),
            {key: self._records[n].identity for key, n in self._numbers.items()},
        )
        self.view = ShardView(
            streams=tuple(self._numbers),
            positions=self._state.positions,
            segments=recovered.segments,
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
            unsynced, self._unsynced = self._unsynced, False
        if unsynced:
            self._flush()

    @property
    def seal_due(self) -> bool:
        """True if the live tail is large enough for a segment and none is being made."""
        view = self.view
        large = (
            view.tail_rows >= self._settings.seal_rows
            or view.tail_bytes >= self._settings.seal_bytes
        )
        return large and self._seal is None

    def begin_seal(self) -> SealPlan | None:
        """Sets the live tail aside for sealing; None where nothing is to be sealed.

        Must be followed by :meth:`end_seal`, whether or not it was published.
        """
        with self._lock:
            view = self.view
            if self._seal is not None or not view.tail_rows:
                return None
            self._seal = SealPlan(self._manifest.segment_next, view.counters.block_next, view.tail)
            return self._seal

    def publish_seal(self, plan: SealPlan, sealed: SealedSegment) -> None:
        """Stores a segment and puts it in the place of the rows that it was made of.

        The blocks are on disk before the one commit that makes them count. Raises
        AlderError(UNAVAILABLE) where the store can't write.
        """
        for batch in segment_batches(self._store, plan.segment, sealed):
            self._commit(batch)
        self._flush()
        segment = Segment(self._store, self._name, plan.segment, self._cache)
        with self._lock:
            manifest = published(self._manifest, plan, sealed)
            batch = self._store.batch()
            batch.put(layout.META, layout.MANIFEST_KEY, layout.encode_manifest(manifest))
            batch.delete_range(
                layout.TAIL,
                layout.number_key(self._manifest.sealed_to_block),
                layout.number_key(plan.to_block),
            )
            self._commit(batch)
            self._manifest = manifest
            self._seal = None
            view = self.view
            self.view = replace(
                view,
                segments=(*view.segments, segment),
                tail=view.tail[len(plan.tail) :],
            )

    def end_seal(self, plan: SealPlan) -> None:
        """Ends a seal, published or not; what it set aside unpublished is live tail again."""
        with self._lock:
            if self._seal is plan:
                self._seal = None

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
        chunk = TailChunk(self.view.counters.block_next, change.block.table)
        sealing_to_block = 0 if self._seal is None else self._seal.to_block
        return replace(change.view, tail=appended(self.view.tail, chunk, sealing_to_block))

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
        self._unsynced = True
        try:
            self._store.write(batch)
        except Exception as error:
            raise _cannot_write(error) from error

    def _flush(self) -> None:
        try:
            self._store.sync()
        except Exception as error:
            self._unsynced = True
            raise _cannot_write(error) from error


def _cannot_write(error: Exception) -> AlderError:
    return AlderError(
        Reason.UNAVAILABLE,
        f"the shard can't be written ({error}); queries go on, free disk space if it is full and "
        "restart the leaf",
    )


def _open(path: Path, name: str, cache: PageCache) -> tuple[Store, Recovered]:
    """Opens a store; one that can't be trusted is replaced by an empty one."""
    try:
        return _recovered(path, name, cache)
    except AlderError as error:
        if error.reason is not Reason.CORRUPT:
            raise
        logger.error("the replica %s is emptied and built again from the log: %s", name, error)
    shutil.rmtree(path)
    return _recovered(path, name, cache)


def _recovered(path: Path, name: str, cache: PageCache) -> tuple[Store, Recovered]:
    store = Store(path, layout.FAMILIES)
    try:
        return store, recover(store, name, cache)
    except AlderError:
        store.close()
        raise
    except Exception as error:
        store.close()
        raise AlderError(Reason.CORRUPT, f"the store can't be read: {error}") from error
