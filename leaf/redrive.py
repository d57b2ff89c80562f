"""Rows that come after those that follow them in the log: what they change, before it is written.

A record that was in quarantine and can be decoded by now becomes a row where it was born, and the
shard is afterwards what it would be had the record never been bad (I1): the same rows, deaths,
digest and log time. What later rows made of earlier ones by their order is made anew only as far as
the late row has a part in it. Where that is not enough, because the log time of others would depend
on it, the row is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.rocks import Batch
from leaf import births
from leaf.change import Change, Lookup
from leaf.core import PushHeader, ShardState
from leaf.digest import combined, digest_rows
from leaf.latekeys import Insertion, insert
from leaf.layout import Manifest, StreamRecord
from leaf.logtime import LogTime
from leaf.pieces import Piece, holders, stored_column
from leaf.purge import deaths_without, put_deaths
from leaf.replica import Replica
from leaf.rows import QUARANTINE_SCHEMA, PushedRows, is_marker
from leaf.tail import TailBlock
from leaf.view import ShardView
from leaf.visibility import is_member

OUT_OF_ORDER: Final = (
    "the order of records after it depends on its log time or its version; alder rebuild NAME "
    "builds the collection anew"
)
OF_PATCHES: Final = (
    "later records may be patches of what it makes; alder rebuild NAME builds the collection anew, "
    "by the settings of today"
)
_EARLIEST_US: Final = -(1 << 63)


@dataclass(frozen=True, slots=True)
class Redrive:
    """What some late rows change.

    ``replaced`` are deaths (victim, killer) that are there and are no more: the victim dies by a
    late row. ``places`` are those of the rows in the change, ``refused`` the offsets of those that
    are not, with the reason.
    """

    change: Change
    places: list[int]
    replaced: frozenset[tuple[int, int]]
    refused: Mapping[int, str]


def check_redrive(state: ShardState, push: PushHeader) -> None:
    """Raises AlderError unless the records are of this collection and the shard is past them."""
    if push.collection_id != state.collection_id or push.epoch != state.epoch:
        raise AlderError(
            Reason.NOT_OWNER, "the shards have changed hands meanwhile; redrive the records again"
        )
    if state.identities.get(push.key, push.source_identity) != push.source_identity:
        raise AlderError(
            Reason.IDENTITY_CHANGED,
            f"source {push.source} is another topic or file by now than the shard has read",
        )
    if push.assignment < state.assignment:
        raise AlderError(
            Reason.STALE_ASSIGNMENT,
            "partitions were shared out anew and this tailer does not know it yet; redrive again",
        )
    if push.to_offset > state.positions[push.key]:
        raise AlderError(
            Reason.UNAVAILABLE,
            f"a shard has not come as far as offset {push.to_offset - 1} yet; redrive again later",
        )


def late_parts(
    view: ShardView, stream: int, parsed: PushedRows, redriven: list[bool]
) -> Iterator[PushedRows]:
    """The rows that are not here yet, in parts in which no key is twice.

    ``redriven`` tells of each row whether it was applied by a redrive before.
    """
    numbers = births.pack(stream, parsed.places)
    rows = np.flatnonzero(~(np.asarray(redriven, dtype=bool) | _are_rows(view, numbers)))
    times_seen: dict[str, int] = {}
    parts: dict[int, list[int]] = {}
    keys = parsed.table.column("_key").to_pylist() if "_key" in parsed.table.column_names else None
    for row in rows.tolist():
        part = 0
        if keys is not None:
            part = times_seen.get(keys[row], 0)
            times_seen[keys[row]] = part + 1
        parts.setdefault(part, []).append(row)
    for part in sorted(parts):
        yield parsed.taken(np.asarray(parts[part], dtype=np.int64))


def redrive_of(
    view: ShardView,
    record: StreamRecord,
    push: PushHeader,
    parsed: PushedRows,
    overflow: bool,
    lookup: Lookup | None,
) -> Redrive:
    """The change that late rows make. ``lookup`` reads the key map of a keyed collection.

    ``record`` is that of their stream, which ``view.streams`` includes. Raises AlderError(CORRUPT).
    """
    stream = view.streams.index(push.key)
    asked = parsed.offsets
    insertion: Insertion | None = None
    if lookup is not None:
        parsed, times_us = _in_order(view, stream, parsed)
        insertion = _inserted(view, stream, parsed, times_us, lookup)
        kept = ~np.isin(births.pack(stream, parsed.places), list(insertion.refused))
        parsed = parsed.taken(np.flatnonzero(kept))
        last_us = times_us[kept].max(initial=record.log_time_us)
        record = replace(record, log_time_us=int(last_us))
    refused = dict.fromkeys(np.setdiff1d(asked, parsed.offsets).tolist(), OUT_OF_ORDER)
    log_time, late = _passed(view.log_time, stream, parsed)
    if log_time is not view.log_time:
        record = replace(record, marks=log_time.streams[stream])
    packed = pa.array(births.pack(stream, parsed.places))
    table = parsed.table.add_column(0, "_birth", packed)
    if lookup is not None:
        table = table.filter(pa.array(~is_marker(table)))
    deaths = insertion.deaths if insertion is not None else None
    digest = digest_rows(push.source, push.partition, parsed.places, parsed.table.column("_doc"))
    before = view.counters
    counters = replace(
        before,
        block_next=before.block_next + 1,
        rows_born=before.rows_born + table.num_rows,
        tombstone_next=before.tombstone_next + bool(deaths is not None and len(deaths)),
        digest=combined(before.digest, digest),
        rows_late=before.rows_late + late,
    )
    schema = view.schema.with_columns(parsed.field_columns, overflow)
    after = replace(view, counters=counters, schema=schema, log_time=log_time)
    block = TailBlock(stream, push.from_offset, push.to_offset, table)
    change = Change(
        stream,
        record,
        after,
        block,
        QUARANTINE_SCHEMA.empty_table(),
        deaths,
        insertion.keys if insertion is not None else {},
    )
    replaced = insertion.replaced if insertion is not None else frozenset()
    return Redrive(change, parsed.places.tolist(), replaced, refused)


def put_redrive(batch: Batch, replica: Replica, late: Redrive) -> tuple[Change, Manifest]:
    """Puts the change of late rows into a batch.

    Gives the change and the manifest as they are with it. Raises AlderError(CORRUPT).
    """
    before, manifest, view = replica.view, replica.manifest, late.change.view
    tombstones = before.tombstones
    if late.replaced:
        number = before.counters.tombstone_next
        kept = deaths_without(tombstones, late.replaced)
        first, tombstones = put_deaths(
            replica.store, batch, kept, manifest.tombstone_from, number, number
        )
        manifest = replace(manifest, tombstone_from=first)
        replica.deaths_replaced += 1
    if late.change.deaths is not None:
        tombstones = tombstones.added(late.change.deaths)
    view = replace(view, tombstones=tombstones)
    change = replace(late.change, view=view)
    change.put(batch, before)
    return change, manifest


def _in_order(
    view: ShardView, stream: int, parsed: PushedRows
) -> tuple[PushedRows, NDArray[np.int64]]:
    """The rows that leave the log times of those after them as they are, and their own.

    The log time that orders a row is the largest up to it in its stream, microseconds.
    """
    numbers, times = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for holder in holders(view):
        found = holder.births()
        mine = births.streams_of(found) == stream
        column = stored_column(Piece(holder, None), "_log_time").cast(pa.int64())
        numbers.append(found[mine])
        times.append(column.to_numpy()[mine])
    stored = np.concatenate(numbers)
    order = np.argsort(stored)
    running = np.maximum.accumulate(np.concatenate(times)[order])
    places = np.searchsorted(stored[order], births.pack(stream, parsed.places)).tolist()
    own = parsed.table.column("_log_time").cast(pa.int64()).to_pylist()
    rows, times_us, latest_us = [], [], _EARLIEST_US
    for row, (place, time_us) in enumerate(zip(places, own, strict=True)):
        before_us = int(running[place - 1]) if place else _EARLIEST_US
        here_us = max(before_us, latest_us, time_us)
        if place == len(running) or here_us <= running[place]:
            latest_us = here_us
            rows.append(row)
            times_us.append(here_us)
    return parsed.taken(np.asarray(rows, np.int64)), np.asarray(times_us, np.int64)


def _inserted(
    view: ShardView,
    stream: int,
    parsed: PushedRows,
    times_us: NDArray[np.int64],
    lookup: Lookup,
) -> Insertion:
    keys = [key.encode() for key in parsed.table.column("_key").to_pylist()]
    numbers = births.pack(stream, parsed.places)
    versions = np.stack([numbers, parsed.numbers, times_us], axis=1)
    are_rows = partial(_are_rows, view)
    return insert(keys, versions, view.streams, view.tombstones, lookup, are_rows)


def _are_rows(view: ShardView, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for the births of documents that are here."""
    here = np.zeros(len(numbers), dtype=bool)
    if len(numbers):
        ascending = np.sort(numbers)
        for holder in holders(view):
            found = holder.births()
            here |= np.isin(numbers, found[is_member(found, ascending)])
    return here


def _passed(before: LogTime, stream: int, parsed: PushedRows) -> tuple[LogTime, int]:
    """The log time with the rows, and how many of their documents were too old when they came."""
    if not before.step_us or not parsed.table.num_rows:
        return before, 0
    times, log_times = (
        parsed.table.column(name).cast(pa.int64()).to_numpy() for name in ("_time", "_log_time")
    )
    log_time, late = before, 0
    is_deletion = is_marker(parsed.table).tolist()
    for place, time_us, log_time_us, deletion in zip(
        parsed.first_places.tolist(), times.tolist(), log_times.tolist(), is_deletion, strict=True
    ):
        log_time, step = log_time.inserted(stream, place, log_time_us // before.step_us)
        is_late = log_time.late(np.asarray([time_us]), np.asarray([step]))[0]
        late += bool(is_late and not deletion)
    return log_time, late
