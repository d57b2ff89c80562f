"""Compares the shards that were built with those that serve, at the same cut.

What serves goes on taking rows meanwhile: every question names the cut. Where its history begins
may move on, so what serves is always asked first, and what was built by what it said.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from alder.catalog import Collection
from alder.cli.proof import bisect
from alder.cli.proof.model import Coverage, Finding, Kind, Range, ShardProof
from alder.errors import AlderError, Reason
from alder.interfaces import ProofClient
from alder.positions import PositionVector
from alder.v1 import proof_pb2
from leaf.probing import Condition
from leaf.proving import Prover

T = TypeVar("T")
FIRST_PARTS: Final = 64
"""Into so many parts each range is cut before anything is compared."""
FIRST_OFFSETS_MIN: Final = 4096
FINDINGS_MAX: Final = 100
"""Of a shard that are named; the others are counted."""
CONDITIONS_AT_ONCE: Final = 16
PATIENCE_S: Final = 60.0
"""How long a shard that serves may be behind the cut, or not there."""
PAUSE_S: Final = 0.2
_WAITS: Final = frozenset({Reason.UNAVAILABLE, Reason.NOT_OWNER})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is asked, and how long one answer may take."""

    seed: int
    conditions: int
    timeout_s: float


async def patiently(call: Callable[[], Awaitable[T]], patience_s: float = PATIENCE_S) -> T:
    """Tries again where a shard is not there, or not there yet. Raises what it raised at last."""
    end_s = time.monotonic() + patience_s
    while True:
        try:
            return await call()
        except AlderError as error:
            if error.reason not in _WAITS or time.monotonic() > end_s:
                raise
        await asyncio.sleep(PAUSE_S)


class ShardComparison:
    """One shard of a coverage."""

    def __init__(
        self,
        collection: Collection,
        shard: int,
        coverage: Coverage,
        serving: ProofClient,
        log: Prover,
        limits: Limits,
    ) -> None:
        self._collection = collection
        self._shard = shard
        self._coverage = coverage
        self._serving = serving
        self._log = log
        self._limits = limits
        self._findings: list[Finding] = []
        self._more = 0

    async def run(self) -> ShardProof:
        """Compares everything. Raises AlderError where the shard can't be asked."""
        asked = [
            part
            for one in self._coverage.ranges
            for part in bisect.cut_up(one, FIRST_PARTS, FIRST_OFFSETS_MIN)
        ]
        serving, log = await self._digests(asked)
        for damage in serving.damaged:
            self._add(_damaged(self._shard, damage))
        taken_in = self._compare_totals(serving, log)
        await self._bisect(asked, serving, log)
        sound = not serving.damaged
        conditions = await self._compare_answers() if self._answers_compare and sound else 0
        stored = await patiently(self._check_stored)
        for what in stored.damage:
            self._add(Finding(Kind.DAMAGED, self._shard, what))
        if self._more:
            detail = f"and {self._more:,} more differences, which are not followed"
            kind = Kind.ALTERED if sound else Kind.UNREADABLE
            self._findings.append(Finding(kind, self._shard, detail))
        return ShardProof(
            shard=self._shard,
            rows=sum(one.rows for one in log.ranges),
            rows_serving=sum(one.rows for one in serving.ranges),
            deaths=sum(one.deaths for one in log.ranges),
            quarantined=sum(one.quarantined for one in log.ranges),
            conditions=conditions,
            blocks=stored.blocks,
            taken_in=taken_in,
            findings=tuple(self._findings),
        )

    @property
    def _answers_compare(self) -> bool:
        """Which rows are too old for an answer depends on the newest, which a sample may lack."""
        sampled = bool(self._coverage.sampled) and not self._collection.keyed
        return self._coverage.deaths and not (sampled and self._collection.settings.retain_us)

    async def _digests(
        self, ranges: Sequence[Range], rows: bool = False
    ) -> tuple[proof_pb2.DigestResponse, proof_pb2.DigestResponse]:
        """What serves and what was built."""
        request = proof_pb2.DigestRequest(
            collection=self._collection.name,
            collection_id=self._collection.collection_id,
            shard=self._shard,
            at=self._coverage.at.to_proto(),
            ranges=map(_range, ranges),
            rows=rows,
        )
        serving = await patiently(lambda: self._serving.digest(request, self._limits.timeout_s))
        request.floor.CopyFrom(serving.floor)
        if serving.HasField("oldest_us"):
            request.oldest_us = serving.oldest_us
        request.at.CopyFrom(self._built_to().to_proto())
        return serving, await self._log.digest(request)

    def _built_to(self) -> PositionVector:
        """What was built is complete at the cut, except for partitions that can't be read."""
        keys = {one.key for one in self._coverage.ranges}
        offsets = self._coverage.at.offsets
        return PositionVector({key: at for key, at in offsets.items() if key in keys})

    def _compare_totals(
        self, serving: proof_pb2.DigestResponse, log: proof_pb2.DigestResponse
    ) -> bool:
        """True if the digests of all that came in could be compared, since both are at the cut."""
        at = self._coverage.at
        stand = [PositionVector.from_proto(one.positions) for one in (serving, log)]
        if not (self._coverage.whole and all(at.reaches(one) for one in stand)):
            return False
        if (serving.total_digest, serving.rows_born) != (log.total_digest, log.rows_born):
            detail = (
                f"of the log come {log.rows_born:,} rows with digest {log.total_digest}, what "
                f"serves has taken in {serving.rows_born:,} with digest {serving.total_digest}"
            )
            self._add(Finding(Kind.TOTAL, self._shard, detail))
        return True

    async def _bisect(
        self,
        asked: Sequence[Range],
        serving: proof_pb2.DigestResponse,
        log: proof_pb2.DigestResponse,
    ) -> None:
        deaths = self._coverage.deaths
        while True:
            step = bisect.next_step(asked, log.ranges, serving.ranges, deaths)
            self._more += step.left_over
            if step.single:
                mine, other = await self._digests(step.single, rows=True)
                for finding in bisect.findings_of(
                    self._shard, other.rows, mine.rows, mine.damaged, deaths
                ):
                    self._add(finding)
            if not step.ranges:
                return
            asked = step.ranges
            serving, log = await self._digests(asked)

    async def _compare_answers(self) -> int:
        """Asks both the same; the number of conditions that were compared."""
        key = (self._collection.collection_id, self._shard)
        made = await self._log.conditions(
            self._collection.name, key, self._limits.seed, self._limits.conditions
        )
        compared = 0
        for begin in range(0, len(made), CONDITIONS_AT_ONCE):
            some = made[begin : begin + CONDITIONS_AT_ONCE]
            try:
                compared += await self._compare_some(some)
            except AlderError as error:
                if error.reason is not Reason.CORRUPT:
                    raise
                self._add(Finding(Kind.DAMAGED, self._shard, error.message))
                break
        return compared

    async def _compare_some(self, conditions: Sequence[Condition]) -> int:
        request = proof_pb2.ProbeRequest(
            collection=self._collection.name,
            collection_id=self._collection.collection_id,
            shard=self._shard,
            at=self._coverage.at.to_proto(),
            ranges=[] if self._coverage.whole else map(_range, self._coverage.ranges),
            conditions=[one.to_proto() for one in conditions],
        )
        serving = await patiently(lambda: self._serving.probe(request, self._limits.timeout_s))
        request.at.CopyFrom(self._built_to().to_proto())
        request.scan = True
        log = await self._log.probe(request)
        compared = 0
        for one, a, b in zip(conditions, log.answers, serving.answers, strict=True):
            if a.refused or b.refused:
                continue
            compared += 1
            if (a.rows, a.digest) != (b.rows, b.digest):
                found = "other rows" if a.rows == b.rows else f"{b.rows:,} rows"
                detail = f"{one.path} {one.told} finds {found}, a scan of the log {a.rows:,}"
                self._add(Finding(Kind.ANSWER, self._shard, detail))
        return compared

    async def _check_stored(self) -> proof_pb2.CheckStoredResponse:
        request = proof_pb2.CheckStoredRequest(
            collection=self._collection.name,
            collection_id=self._collection.collection_id,
            shard=self._shard,
        )
        return await self._serving.check_stored(request, self._limits.timeout_s)

    def _add(self, finding: Finding) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(finding)
        else:
            self._more += 1


def _range(one: Range) -> proof_pb2.OffsetRange:
    return proof_pb2.OffsetRange(
        source=one.key[0],
        partition=one.key[1],
        begin_offset=one.begin,
        end_offset=one.end,
    )


def _damaged(shard: int, damage: proof_pb2.DamagedRows) -> Finding:
    births = ", ".join(
        f"{one.source}/{one.partition}/{one.begin_offset} to {one.end_offset - 1}"
        for one in damage.births
    )
    where = f"between {births}" if births else "which ones can't be read either"
    detail = f"{damage.rows:,} rows can't be read ({where}): {damage.what}"
    return Finding(Kind.UNREADABLE, shard, detail)
