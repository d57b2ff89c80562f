"""What a leaf tells of a shard so that it can be compared with one built anew from the log.

Reading all of a shard takes a while: it runs on the threads of queries, gives way between blocks
and ends with its deadline.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.v1 import common_pb2, proof_pb2
from leaf import births
from leaf.digest import origins, row_hashes, seeds_of, to_hex
from leaf.engine import Cancellation
from leaf.fragmentmodel import FragmentTools
from leaf.ownership import ShardKey
from leaf.probing import CONDITIONS_MAX, Condition, Probing, conditions_of
from leaf.ranges import Damage, Floor, Range, RangeReader, RangeReport, RangeSums, quarantined_value
from leaf.shard import Shard
from leaf.shardatcut import horizon_of
from leaf.view import ShardView
from leaf.visibility import Births

T = TypeVar("T")
DOCUMENT_CHARACTERS_MAX: Final = 16_384
"""Of a document that is named; the rest is left out."""
DAMAGES_MAX: Final = 100
"""Of damaged blocks that are named."""
ROWS_MAX: Final = 4_096
"""Rows that one call names."""


class ShardRunner(Protocol):
    """Runs a call on a shard that stays open meanwhile, on a thread: ``leaf.service.Leaf``."""

    async def on_shard(
        self,
        collection: str,
        key: ShardKey,
        at: PositionVector,
        call: Callable[[Shard, Cancellation], T],
        timeout_s: float | None,
    ) -> T:
        """Waits until the shard has reached ``at``. Raises AlderError."""
        ...


class Prover:
    """Implements :class:`alder.interfaces.ProofClient` for the shards of a leaf."""

    def __init__(
        self, runner: ShardRunner, tools: FragmentTools, suspect: Callable[[ShardKey], None]
    ) -> None:
        """``suspect`` has a shard looked into that is damaged."""
        self._runner = runner
        self._tools = tools
        self._suspect = suspect

    async def digest(
        self, request: proof_pb2.DigestRequest, timeout_s: float | None = None
    ) -> proof_pb2.DigestResponse:
        """Digests of what a shard stores; see proof.proto.

        Raises AlderError: NOT_OWNER, UNAVAILABLE, DEADLINE, OUT_OF_RANGE for a cut before the
        shard's history, LIMIT for more rows than are named in one call.
        """
        at = PositionVector.from_proto(request.at) if request.HasField("at") else None

        def answer(shard: Shard, cancellation: Cancellation) -> proof_pb2.DigestResponse:
            view = shard.view
            if request.HasField("floor"):
                oldest_us = request.oldest_us if request.HasField("oldest_us") else None
                floor = Floor(PositionVector.from_proto(request.floor), oldest_us)
            else:
                floor = Floor.of(view)
                horizon_of(view, at)
            ranges = ranges_of(request.ranges)
            reader = RangeReader(
                view, at or view.positions, floor, ranges, cancellation.check, request.rows
            )
            return _digests(view, floor, reader.read(shard.quarantine.between))

        key = (request.collection_id, request.shard)
        wanted = at or PositionVector()
        return await self._runner.on_shard(request.collection, key, wanted, answer, timeout_s)

    async def probe(
        self, request: proof_pb2.ProbeRequest, timeout_s: float | None = None
    ) -> proof_pb2.ProbeResponse:
        """Which rows meet conditions; see proof.proto. Raises AlderError as :meth:`digest`."""
        at = PositionVector.from_proto(request.at)
        if len(request.conditions) > CONDITIONS_MAX:
            raise AlderError(
                Reason.LIMIT, f"one call takes {CONDITIONS_MAX} conditions; ask for fewer at once"
            )

        def answer(shard: Shard, cancellation: Cancellation) -> proof_pb2.ProbeResponse:
            ranges = ranges_of(request.ranges)
            probing = Probing(
                shard.view, shard.keyed, at, ranges, request.scan, self._tools, cancellation
            )
            return proof_pb2.ProbeResponse(answers=map(probing.answer, request.conditions))

        key = (request.collection_id, request.shard)
        return await self._runner.on_shard(request.collection, key, at, answer, timeout_s)

    async def check_stored(
        self, request: proof_pb2.CheckStoredRequest, timeout_s: float | None = None
    ) -> proof_pb2.CheckStoredResponse:
        """Reads all that a shard stores; see proof.proto. Raises AlderError as :meth:`digest`."""

        def answer(shard: Shard, cancellation: Cancellation) -> proof_pb2.CheckStoredResponse:
            scrub = shard.scrub(cancellation.check)
            damage = list(islice(scrub.damages_everywhere(), DAMAGES_MAX))
            return proof_pb2.CheckStoredResponse(
                blocks=scrub.blocks, size_bytes=scrub.size_bytes, damage=damage
            )

        key = (request.collection_id, request.shard)
        nowhere = PositionVector()
        response = await self._runner.on_shard(request.collection, key, nowhere, answer, timeout_s)
        if response.damage:
            self._suspect(key)
        return response

    async def conditions(
        self, collection: str, key: ShardKey, seed: int, count: int
    ) -> list[Condition]:
        """Conditions made of values that a shard has. Raises AlderError as :meth:`digest`."""

        def answer(shard: Shard, cancellation: Cancellation) -> list[Condition]:
            return conditions_of(shard.view, shard.keyed, seed, count)

        return await self._runner.on_shard(collection, key, PositionVector(), answer, None)


def ranges_of(messages: Sequence[proof_pb2.OffsetRange]) -> list[Range]:
    """Ranges as they came; offsets beyond all are cut off."""
    return [
        Range(
            (one.source, one.partition),
            min(max(one.begin_offset, 0), births.PLACE_MAX),
            min(max(one.end_offset, 0), births.PLACE_MAX),
        )
        for one in messages
    ]


def _digests(view: ShardView, floor: Floor, report: RangeReport) -> proof_pb2.DigestResponse:
    return proof_pb2.DigestResponse(
        positions=view.positions.to_proto(),
        floor=floor.positions.to_proto(),
        oldest_us=floor.oldest_us,
        total_digest=to_hex(view.counters.digest),
        rows_born=view.counters.rows_born,
        ranges=map(_range_digest, report.sums),
        rows=_stored_rows(view, report),
        damaged=[_damaged(view, damage) for damage in report.damaged],
    )


def _range_digest(sums: RangeSums) -> proof_pb2.RangeDigest:
    return proof_pb2.RangeDigest(
        rows=sums.rows,
        rows_digest=to_hex(sums.rows_digest),
        deaths=sums.deaths,
        deaths_digest=to_hex(sums.deaths_digest),
        quarantined=sums.quarantined,
        quarantined_digest=to_hex(sums.quarantined_digest),
    )


def _stored_rows(view: ShardView, report: RangeReport) -> list[proof_pb2.StoredRow]:
    """By source, partition and offset. Raises AlderError(LIMIT)."""
    found: dict[int, proof_pb2.StoredRow] = {}

    def at(birth: int) -> proof_pb2.StoredRow:
        if birth not in found:
            source, partition = view.streams[birth >> births.PLACE_BITS]
            (offset,) = view.streams.offsets_of(np.asarray([birth])).tolist()
            (ordinal,) = view.streams.ordinals_of(np.asarray([birth])).to_pylist()
            found[birth] = proof_pb2.StoredRow(
                source=source, partition=partition, offset=offset, ordinal=ordinal
            )
        return found[birth]

    for row in report.rows:
        message = at(row.birth)
        message.digest, message.key = to_hex(row.digest), row.key
        message.document = row.document[:DOCUMENT_CHARACTERS_MAX]
        message.document_bytes = len(row.document.encode())
    for victim, killer in sorted(report.deaths):
        at(victim).killers.extend(view.streams.ids_of(np.asarray([killer])))
    rows = [*found.values(), *map(_quarantined, report.quarantined)]
    if len(rows) > ROWS_MAX:
        raise AlderError(
            Reason.LIMIT, f"one call names {ROWS_MAX} rows; ask for shorter ranges of offsets"
        )
    return sorted(rows, key=lambda row: (row.source, row.partition, row.offset, row.ordinal))


def _quarantined(record: common_pb2.QuarantinedRecord) -> proof_pb2.StoredRow:
    offsets = np.asarray([record.offset], dtype=np.int64)
    values = pa.chunked_array([pa.array([quarantined_value(record)], pa.binary())])
    seeds = seeds_of(offsets, origins([(record.source, record.partition)])[0])
    ((high, low),) = row_hashes(seeds, values).tolist()
    return proof_pb2.StoredRow(
        source=record.source,
        partition=record.partition,
        offset=record.offset,
        digest=to_hex(high << 64 | low),
        document=record.value.decode(errors="replace")[:DOCUMENT_CHARACTERS_MAX],
        document_bytes=record.size_bytes,
        quarantined=record.reason,
    )


def _damaged(view: ShardView, damage: Damage) -> proof_pb2.DamagedRows:
    return proof_pb2.DamagedRows(
        what=damage.what,
        segment=damage.segment,
        rows=damage.rows,
        births=[_between(view, mine) for mine in _by_stream(damage.births)],
    )


def _by_stream(mine: Births) -> list[Births]:
    ascending = np.sort(mine)
    ends = np.flatnonzero(np.diff(births.streams_of(ascending))) + 1
    return [part for part in np.split(ascending, ends) if len(part)]


def _between(view: ShardView, mine: Births) -> proof_pb2.OffsetRange:
    """The offsets within which births of one stream, which ascend, lie."""
    source, partition = view.streams[int(births.streams_of(mine[:1])[0])]
    first, last = view.streams.offsets_of(mine[[0, -1]]).tolist()
    return proof_pb2.OffsetRange(
        source=source, partition=partition, begin_offset=first, end_offset=last + 1
    )
