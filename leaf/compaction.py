"""Compaction of a shard: merges of its segments, and the purge of what no answer needs.

Both end in one commit that names the segments that are there afterwards. Views that hold others go
on with them; their blocks are deleted once nobody does.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from alder.catalog import CollectionSettings
from leaf.layout import SegmentEntry
from leaf.merge import MergePolicy, choose_merges
from leaf.merging import Compute, MergePlan, merge_stored, merged_entries
from leaf.purge import Survey, put_deaths, rows_dropped
from leaf.replica import Replica
from leaf.settings import LeafSettings


class Compaction:
    """One merge at a time. Methods block; they belong on worker threads."""

    def __init__(
        self,
        replica: Replica,
        name: str,
        kept: CollectionSettings,
        settings: LeafSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``name`` is that of the shard, for errors; ``kept`` says how its rows are kept.

        ``clock`` gives seconds, and decides only when segments are merged.
        """
        self._replica = replica
        self._name = name
        self._kept = kept
        self._policy = MergePolicy(
            settings.merge_factor, settings.segment_rows_max, settings.segment_bytes_max
        )
        self._survey = Survey()
        self._merge: MergePlan | None = None
        self._rest_s = settings.merge_rest_s
        self._clock = clock
        self._rows_born = replica.view.counters.rows_born
        self._born_s = clock()

    @property
    def due(self) -> bool:
        """True if there is something to be purged or merged and nothing is being merged."""
        return self._merge is None and (
            self._survey.due(self._replica.view) or bool(self._chosen())
        )

    def purge(self) -> None:
        """Removes what no answer needs: whole segments, and deaths; finds out what merges may.

        Raises AlderError: CORRUPT for a damaged block, UNAVAILABLE where the store can't write.
        """
        replica = self._replica
        replaced, view = replica.deaths_replaced, replica.view
        if not self._survey.due(view):
            return
        gone, kept = self._survey.look(view)
        if not gone and kept is None:
            return
        with replica.lock:
            gone = gone.difference(self._merge.inputs if self._merge else ())
            entries = tuple(e for e in replica.manifest.segments if e.segment not in gone)
            manifest = replace(replica.manifest, segments=entries)
            batch = replica.store.batch()
            tombstones = replica.view.tombstones
            if kept is not None and replaced == replica.deaths_replaced:
                numbers = manifest.tombstone_from, view.counters.tombstone_next
                number_next = replica.view.counters.tombstone_next
                first, tombstones = put_deaths(replica.store, batch, kept, *numbers, number_next)
                manifest = replace(manifest, tombstone_from=first)
            segments = tuple(s for s in replica.view.segments if s.number not in gone)
            after = replace(replica.view, segments=segments, tombstones=tombstones)
            replica.publish(batch, manifest, after)

    def begin(self) -> MergePlan | None:
        """The next segments to be merged; None where none are, or some are being merged already.

        Must be followed by :meth:`end`, whether or not it was published. Raises
        AlderError(CORRUPT) for a damaged block.
        """
        replica = self._replica
        view, chosen = replica.view, self._chosen()
        if not chosen:
            return None
        inputs = tuple(entry.segment for entry in chosen[0])
        dropped = rows_dropped(view, inputs)
        with replica.lock:
            here = {entry.segment for entry in replica.manifest.segments}
            if self._merge is not None or not here.issuperset(inputs):
                return None
            number, cluster_by = replica.segments.new_number(), self._kept.cluster_by_paths
            self._merge = MergePlan(number, inputs, cluster_by, dropped, self._kept.indexes)
            return self._merge

    def merge(self, plan: MergePlan, compute: Compute) -> None:
        """Merges segments and puts the result, if a row is left, in their place.

        Raises AlderError: CORRUPT for a damaged block, UNAVAILABLE where the store can't write, and
        what ``compute`` raises. Nothing has changed then.
        """
        replica = self._replica
        writer = replica.segments.writer(plan.segment)
        entry = merge_stored(replica.store, self._name, plan, writer, compute)
        segment = None if entry is None else replica.segments.open(plan.segment)
        with replica.lock:
            old = replica.manifest.segments
            entries = merged_entries(old, plan.inputs, entry)
            number_next = max(replica.manifest.segment_next, plan.segment + 1)
            manifest = replace(replica.manifest, segment_next=number_next, segments=entries)
            opened = {
                entry.segment: segment
                for entry, segment in zip(old, replica.view.segments, strict=True)
            }
            if segment is not None:
                opened[plan.segment] = segment
            segments = tuple(opened[entry.segment] for entry in entries)
            view = replace(replica.view, segments=segments)
            replica.publish(replica.store.batch(), manifest, view)
            self._merge = None

    def end(self, plan: MergePlan) -> None:
        """Ends a merge, published or not."""
        with self._replica.lock:
            if self._merge is plan:
                self._merge = None
                self._replica.segments.discard(plan.segment)

    def _chosen(self) -> list[tuple[SegmentEntry, ...]]:
        segments, droppable = self._replica.manifest.segments, self._survey.droppable
        return choose_merges(segments, self._policy, droppable, self._is_at_rest())

    def _is_at_rest(self) -> bool:
        """True if no rows have come for a while, as far as those who asked this before saw."""
        rows_born = self._replica.view.counters.rows_born
        if rows_born != self._rows_born:
            self._rows_born, self._born_s = rows_born, self._clock()
        return self._clock() - self._born_s >= self._rest_s
