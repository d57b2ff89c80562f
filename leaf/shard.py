"""One shard replica: applies pushes exactly once and hands out immutable views.

Rows, deaths, key map, quarantine and position of a push are one RocksDB batch (I2), which for large
pushes comes with their seal (``leaf.held``). There is one writer at a time; readers take
:attr:`Shard.view`, which is replaced only after the commit, so they never wait and never see a part
of a push. A failed commit leaves the view as it was.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from alder.catalog import CollectionSettings
from alder.interfaces import DocumentColumns
from alder.positions import PositionVector
from alder.rocks import Batch, StoreMemory
from leaf import layout
from leaf.births import Streams
from leaf.cache import PageCache
from leaf.change import Change, change_of, put_quarantined, stream_record
from leaf.compaction import Compaction
from leaf.core import Decision, PushHeader, ShardState, applied, decide
from leaf.held import HeldWrites
from leaf.layout import StreamRecord
from leaf.logtime import LogTime
from leaf.patches import Patches
from leaf.quarantine import Position, Quarantine
from leaf.recovery import open_replica, stream_numbers
from leaf.redrive import OF_PATCHES, check_redrive, late_parts, put_redrive, redrive_of
from leaf.replica import Replica
from leaf.rows import PushedRows, parse_quarantine, parse_rows
from leaf.scrub import Scrub
from leaf.seal import SealedSegment
from leaf.sealing import SealPlan, published, remove_tail, tail_to_seal
from leaf.segments import SegmentFiles
from leaf.settings import LeafSettings
from leaf.stored import StoredPartials
from leaf.tail import TailChunk, appended
from leaf.view import ShardView


class Shard:
    """A shard on its own store. Methods block; they belong on worker threads."""

    def __init__(
        self,
        path: Path,
        collection_id: int,
        keyed: bool,
        settings: LeafSettings,
        cache: PageCache,
        memory: StoreMemory | None = None,
        clock: Callable[[], float] = time.monotonic,
        kept: CollectionSettings | None = None,
        documents: Callable[[Iterable[str]], DocumentColumns] | None = None,
    ) -> None:
        """Opens or creates the replica.

        ``kept`` says how the collection's rows are kept; with ``documents``, which gets the paths
        that have columns, they are patched. ``clock`` gives seconds, and decides only
        when the live tail is sealed. Raises as :func:`leaf.recovery.open_replica`.
        """
        self._keyed = keyed
        self._settings = settings
        self._cache = cache
        self._kept = kept or CollectionSettings()
        self._clock = clock
        self._name = f"{path.parent.name}/{path.name}"
        store, recovered = open_replica(path, self._name, cache, memory)
        segments = SegmentFiles(store, self._name, cache, recovered.manifest.segment_next)
        self._records = list(recovered.streams)
        self._numbers = stream_numbers(recovered.streams)
        self._unwritten: set[int] = set()
        self._held = HeldWrites(clock)
        self._rebuild_to = recovered.rebuild_to
        self._sealed_to_block = recovered.manifest.sealed_to_block
        self._seal: SealPlan | None = None
        self._tail_since_s = clock()
        self._state = ShardState(
            collection_id,
            0,
            PositionVector({key: self._records[n].next_offset for key, n in self._numbers.items()}),
            {key: self._records[n].identity for key, n in self._numbers.items()},
            {key: self._records[n].leader_epoch for key, n in self._numbers.items()},
        )
        view = ShardView(
            streams=Streams(self._numbers, self._kept.ordinal_bits),
            positions=self._state.positions,
            segments=recovered.segments,
            tail=recovered.tail,
            tombstones=recovered.tombstones,
            schema=recovered.schema,
            counters=recovered.counters,
            log_time=LogTime.of(self._kept, [record.marks for record in recovered.streams]),
            leader_epochs=self._state.leader_epochs,
        )
        self._replica = Replica(store, segments, recovered.manifest, view)
        self._patches: Patches | None = None
        if documents is not None:
            read = partial(store.get_many, layout.LIVING)
            self._patches = Patches(documents(recovered.schema.fields), read)
        self.stored = StoredPartials(store, keyed)
        self.quarantine = Quarantine(self._replica, self._records, self._write_out)
        self.compaction = Compaction(self._replica, self._name, self._kept, settings, clock)
        for entry, segment in zip(recovered.manifest.segments, recovered.segments, strict=True):
            segments.watch(segment, entry.segment)

    @property
    def view(self) -> ShardView:
        """What readers take: immutable, replaced after each commit."""
        return self._replica.view

    @property
    def keyed(self) -> bool:
        """True if its rows have keys."""
        return self._keyed

    @property
    def failing(self) -> bool:
        """True from a write that failed on to the next one that does not."""
        return self._replica.failing

    def apply(
        self,
        push: PushHeader,
        epoch: int,
        rows: bytes | memoryview,
        quarantine: bytes | memoryview,
        overflow: bool,
        assignment: int = 0,
    ) -> Decision:
        """Takes a push, or says why not. ``epoch`` and ``assignment`` are those known here.

        Raises AlderError: INVALID_ARGUMENT, CORRUPT or LIMIT for rows that can't be taken,
        UNAVAILABLE where the store can't write; nothing is applied then.
        """
        with self._replica.lock:
            self._state = self._state.informed(epoch, assignment, push)
            early = decide(self._state, push)
        if not early.accepted:
            return early
        parsed = self._parsed(rows, push)
        quarantined = parse_quarantine(quarantine, push)
        with self._replica.lock:
            decision = decide(self._state, push)
            if decision.accepted:
                self._take(push, parsed, quarantined, overflow)
        return decision

    def sync(self) -> None:
        """Brings all that was applied to disk, positions without rows included.

        Raises AlderError(UNAVAILABLE) where the store can't write.
        """
        self._sync(hold=False)

    def _sync(self, *, hold: bool) -> None:
        """With ``hold``, pushes that wait for their seal go on waiting if one is near."""
        with self._replica.lock:
            if self.failing or not (hold and self._seal_is_near):
                self._write_out()
            mark = self._replica.mark()
        self._replica.flush(mark)

    def tend(self) -> None:
        """What is to be done now and then: syncs, and deletes what nobody needs any more.

        Raises AlderError(UNAVAILABLE) where the store can't write.
        """
        self._sync(hold=True)
        self.collect()
        if self._rebuild_to.offsets and not self.rebuilding:
            self.rebuild_to(PositionVector())

    def rebuild_to(self, target: PositionVector) -> None:
        """Makes the replica incomplete until it has reached these positions, also after a restart.

        Raises AlderError(UNAVAILABLE) where the store can't write.
        """
        batch = self._replica.store.batch()
        batch.put(layout.META, layout.REBUILD_KEY, layout.encode_positions(target))
        with self._replica.lock:
            self._replica.commit(batch)
            self._rebuild_to = target

    @property
    def rebuilding(self) -> bool:
        """True while the replica is behind where it stood before it was emptied."""
        return not self.view.positions.reaches(self._rebuild_to)

    def damage(self) -> str:
        """What of the store is damaged; empty if nothing is. Reads all of it."""
        return next(self.scrub().damages(), "")

    def scrub(self, check: Callable[[], None] = lambda: None) -> Scrub:
        """A reading of all that is stored; ``check`` is called between blocks, and may end it."""
        with self._replica.lock:
            manifest = self._replica.manifest
        return Scrub(self._replica.store, manifest, self._name, check)

    @property
    def seal_due(self) -> bool:
        """True if the live tail is large or old enough for a segment and none is being made."""
        view = self.view
        if self._seal is not None:
            return False
        return (
            view.tail_rows >= self._settings.seal_rows
            or view.tail_bytes >= self._settings.seal_bytes
            or (view.tail_rows >= self._settings.seal_rows_min and self._tail_is_old())
        )

    def begin_seal(self) -> SealPlan | None:
        """Sets live tail aside for sealing, as much as makes a segment; None where there is none.

        Must be followed by :meth:`end_seal`, whether or not it was published.
        """
        with self._replica.lock:
            view = self.view
            if self._seal is not None or not view.tail_rows:
                return None
            tail, to_block = tail_to_seal(view, self._settings.seal_rows, self._settings.seal_bytes)
            number, kept = self._replica.segments.new_number(), self._kept
            self._seal = SealPlan(number, to_block, tail, kept.cluster_by_paths, kept.indexes)
            self._tail_since_s = self._clock()
            return self._seal

    def publish_seal(self, plan: SealPlan, sealed: SealedSegment) -> None:
        """Stores a segment and puts it in the place of the rows that it was made of.

        The blocks are on disk before the one commit that makes them count. Raises
        AlderError(UNAVAILABLE) where the store can't write.
        """
        self._replica.segments.write(plan.segment, sealed.blocks)
        segment = self._replica.segments.open(plan.segment)
        with self._replica.lock:
            manifest = published(self._replica.manifest, plan, sealed)
            batch = self._replica.store.batch()
            batch.delete_range(
                layout.TAIL,
                layout.number_key(self._replica.manifest.sealed_to_block),
                layout.number_key(plan.to_block),
            )
            self._held.put_sealed(batch, plan.to_block)
            segments = (*self.view.segments, segment)
            view = replace(self.view, segments=segments, tail=self.view.tail[len(plan.tail) :])
            self._replica.publish(batch, manifest, view)
            self._held.drop_sealed(plan.to_block)
            self._seal = None

    def end_seal(self, plan: SealPlan) -> None:
        """Ends a seal, published or not; what it set aside unpublished is live tail again."""
        with self._replica.lock:
            if self._seal is plan:
                self._seal = None
                self._replica.segments.discard(plan.segment)

    def collect(self) -> None:
        """Frees the room of segments that nobody can read any more, and of sealed live tail.

        Raises AlderError(UNAVAILABLE) where the store can't write; it is tried again then.
        """
        self._replica.segments.collect()
        if self._sealed_to_block != self._replica.manifest.sealed_to_block:
            end = self._replica.manifest.sealed_to_block
            remove_tail(self._replica.store, self._sealed_to_block, end)
            self._sealed_to_block = end

    def redrive(
        self,
        push: PushHeader,
        epoch: int,
        rows: bytes | memoryview,
        settled: Sequence[int],
        quarantine: bytes | memoryview,
        overflow: bool,
        assignment: int = 0,
    ) -> dict[int, str]:
        """Applies records that were in quarantine where they were born, once; on disk afterwards.

        ``settled`` are the offsets that leave the quarantine here, ``quarantine`` has the records
        that wait on. Returns the offsets of refused rows with the reason; their records wait on.

        Raises AlderError as :meth:`apply`, and as :func:`leaf.redrive.check_redrive`.
        """
        parsed = self._parsed(rows, push)
        waiting = parse_quarantine(quarantine, push)
        refused: dict[int, str] = {}
        with self._replica.lock:
            self._state = self._state.informed(epoch, assignment, push)
            check_redrive(self._state, push)
            self._write_out()
            stream = self._numbers[push.key]
            if parsed is not None and self._patches is not None:
                refused = dict.fromkeys(parsed.offsets.tolist(), OF_PATCHES)
            elif parsed is not None:
                redriven = self.quarantine.redriven(stream, parsed.places.tolist())
                for part in late_parts(self.view, stream, parsed, redriven):
                    refused |= self._redrive_part(push, part, overflow)
            gone = self.quarantine.waiting(stream, [at for at in settled if at not in refused])
            here = set(self.quarantine.waiting(stream, waiting.column("offset").to_pylist()))
            batch = self._replica.store.batch()
            self.quarantine.put_gone(batch, stream, gone)
            put_quarantined(batch, stream, [r for r in waiting.to_pylist() if r["offset"] in here])
            self._commit_fewer_waiting(batch, len(gone))
        self.sync()
        return refused

    def drop_quarantined(self, positions: Sequence[Position]) -> list[Position]:
        """Drops those of the records that wait here, and returns them; on disk afterwards.

        Raises AlderError(UNAVAILABLE) where the store can't write.
        """
        with self._replica.lock:
            self._write_out()
            batch = self._replica.store.batch()
            dropped = self.quarantine.put_dropped(batch, positions)
            self._commit_fewer_waiting(batch, len(dropped))
        self.sync()
        return dropped

    def size_bytes(self) -> int:
        """Bytes on disk."""
        return self._replica.store.size_bytes()

    def close(self) -> None:
        """Syncs and closes. Nothing may be running on the shard."""
        try:
            self.collect()
            self.sync()
        finally:
            self._replica.store.close()

    def _take(
        self, push: PushHeader, parsed: PushedRows | None, quarantined: pa.Table, overflow: bool
    ) -> None:
        stream, record = stream_record(self._records, self._numbers, push, self._kept.ordinal_bits)
        state = applied(self._state, push)
        streams = self.view.streams
        view = replace(
            self.view,
            streams=streams if push.key in self._numbers else streams.with_key(push.key),
            positions=state.positions,
            leader_epochs=state.leader_epochs,
        )
        if parsed is None and not quarantined.num_rows:
            self._unwritten.add(stream)
        else:
            lookup = self._lookup if self._keyed else None
            change = change_of(
                view, record, push, parsed, quarantined, overflow, lookup, self._patches
            )
            self._keep(change)
            record, view = change.record, self._with_rows(change)
        self._set_record(stream, record)
        self._state, self._replica.view = state, view

    def _parsed(self, rows: bytes | memoryview, push: PushHeader) -> PushedRows | None:
        rows_max = self._settings.rows_per_push_max
        return parse_rows(rows, push, self._keyed, rows_max, self._kept.ordinal_bits)

    def _redrive_part(
        self, push: PushHeader, rows: PushedRows, overflow: bool
    ) -> Mapping[int, str]:
        """Applies late rows, of which no two have one key; those that are refused."""
        replica, stream = self._replica, self._numbers[push.key]
        lookup = self._lookup if self._keyed else None
        late = redrive_of(self.view, self._records[stream], push, rows, overflow, lookup)
        if not late.places:
            return late.refused
        batch = replica.store.batch()
        change, manifest = put_redrive(batch, replica, late)
        self.quarantine.put_redriven(batch, stream, late.places)
        replica.publish(batch, manifest, self._with_rows(change))
        self._set_record(stream, change.record)
        return late.refused

    def _commit_fewer_waiting(self, batch: Batch, count: int) -> None:
        counters = self.view.counters
        counters = replace(counters, quarantined=counters.quarantined - count)
        batch.put(layout.META, layout.COUNTERS_KEY, layout.encode_counters(counters))
        self._replica.commit(batch)
        self._replica.view = replace(self.view, counters=counters)

    def _keep(self, change: Change) -> None:
        write = change.write(self.view)
        # Where rows die, what was removed must not be older in the store than what it died of.
        deathless = not self._keyed and not change.view.log_time.step_us
        if deathless and not self.failing and self._held.takes(write):
            self._held.add(write)
            return
        self._write_held()
        batch = self._replica.store.batch()
        self._put_unwritten(batch)
        change.put(batch, self.view)
        self._replica.commit(batch)
        self._unwritten.clear()

    @property
    def _seal_is_near(self) -> bool:
        if self._seal is not None:
            return bool(self._held)
        few = self.view.tail_rows < self._settings.seal_rows_min
        return self._held.large and not (few and self._held.due)

    def _write_out(self) -> None:
        """Writes what is in memory only; also, to find out whether that is possible again."""
        self._write_held()
        if self._unwritten or self.failing:
            batch = self._replica.store.batch()
            self._put_unwritten(batch)
            self._replica.commit(batch)
            self._unwritten.clear()

    def _write_held(self) -> None:
        """One push after the other, since a write keeps other threads from running."""
        while self._held:
            batch = self._replica.store.batch()
            self._held.put_first(batch)
            self._replica.commit(batch)
            self._held.drop_first()

    def _with_rows(self, change: Change) -> ShardView:
        if not change.block.table.num_rows:
            return change.view
        chunk = TailChunk(self.view.counters.block_next, change.block.table)
        if not self.view.tail:
            self._tail_since_s = self._clock()
        sealing_to_block = 0 if self._seal is None else self._seal.to_block
        return replace(change.view, tail=appended(self.view.tail, chunk, sealing_to_block))

    def _tail_is_old(self) -> bool:
        return self._held.due or self._clock() - self._tail_since_s >= self._settings.seal_age_s

    def _lookup(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._replica.store.get_many(layout.KEYS, keys)

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
