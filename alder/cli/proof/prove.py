"""The order of the steps of a proof: cut, coverage, building, comparison."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from alder.catalog import LOG_SOURCE, Collection, Snapshot, Source
from alder.cli.proof.compare import Limits, ShardComparison, patiently
from alder.cli.proof.coverage import Wanted, coverage_of
from alder.cli.proof.model import Coverage, Finding, Kind, Report, ShardProof
from alder.cli.proof.scratch import TAILER_SETTINGS, built, scratch_directory
from alder.client import connect
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from alder.interfaces import CatalogClient, LogClient, ProofClient
from alder.positions import PartitionKey, PositionVector
from alder.remote import RemoteCatalog, RemoteLog, RemoteProof, open_channel
from alder.topicurl import TopicUrl
from alder.v1 import catalog_pb2, log_pb2, proof_pb2
from tailer.reach import Reach, reach_of
from tailer.settings import KafkaSettings
from tailer.sources.kafka.clients import KafkaClients

ASK_S_MAX: Final = 30.0
PROGRESS_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class ProofSettings:
    """What is to be proven and with what. ``at``: None for what the shards have reached."""

    server: str
    collection: str
    wanted: Wanted
    at: PositionVector | None
    scratch: Path | None
    scratch_bytes_max: int
    conditions: int
    timeout_s: float
    kafka_config_file: str | None = None
    """The logins of brokers, as tailers have them."""


Tell = Callable[[str], None]
"""Is told what goes on, for people who wait."""


async def prove(settings: ProofSettings, tell: Tell) -> Report:
    """Builds a collection anew and compares it. Raises AlderError."""
    channel = open_channel(settings.server)
    try:
        return await _Proof(
            settings, tell, RemoteCatalog(channel), RemoteLog(channel), RemoteProof(channel)
        ).run()
    finally:
        await channel.close()


class _Proof:
    def __init__(
        self,
        settings: ProofSettings,
        tell: Tell,
        catalog: CatalogClient,
        log: LogClient,
        serving: ProofClient,
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._catalog = catalog
        self._log = log
        self._serving = serving
        self._tailer_settings = replace(
            TAILER_SETTINGS, kafka=KafkaSettings(settings.kafka_config_file)
        )
        self._kafka = KafkaClients(self._tailer_settings.kafka)
        self._begun_s = time.monotonic()

    async def run(self) -> Report:
        collection = await self._collection()
        coverage = await self._coverage(collection)
        shards = await self._compared(collection, coverage) if coverage.ranges else []
        damaged = any(shard.damaged for shard in shards)
        checks, faults = (0, []) if damaged else await self._check_index(coverage)
        return Report(
            collection=collection.name,
            seed=self._settings.wanted.seed,
            coverage=coverage,
            shards_total=len(collection.shards),
            shards=tuple(shards),
            index_checks=checks,
            findings=tuple(faults),
            elapsed_s=round(time.monotonic() - self._begun_s, 3),
        )

    async def _collection(self) -> Collection:
        name = self._settings.collection
        watching = self._catalog.watch(catalog_pb2.WatchRequest(), ASK_S_MAX)
        async for message in watching:
            found = Snapshot.from_proto(message).collections.get(name)
            if found is not None:
                return found
            break
        raise AlderError(
            Reason.UNKNOWN_COLLECTION,
            f"there is no collection {name!r}; `alder collection list` shows those there are",
        )

    async def _coverage(self, collection: Collection) -> Coverage:
        known = {shard.shard for shard in collection.shards}
        unknown = sorted(set(self._settings.wanted.shards) - known)
        if unknown:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"{collection.name} has no shard {unknown[0]}; it has {min(known)} to {max(known)}",
            )
        at = self._settings.at or await self._reached(collection)
        begins, unreadable = await self._sources(collection)
        return coverage_of(collection, at, begins, unreadable, self._settings.wanted)

    async def _reached(self, collection: Collection) -> PositionVector:
        """What a shard has reached; the others will have in a moment."""
        reached = PositionVector()
        for shard in collection.shards:
            request = proof_pb2.DigestRequest(
                collection=collection.name,
                collection_id=collection.collection_id,
                shard=shard.shard,
            )

            async def ask(
                request: proof_pb2.DigestRequest = request,
            ) -> proof_pb2.DigestResponse:
                return await self._serving.digest(request, ASK_S_MAX)

            answer = await patiently(ask)
            reached = reached.merged(PositionVector.from_proto(answer.positions))
        return reached

    async def _sources(
        self, collection: Collection
    ) -> tuple[dict[PartitionKey, int], dict[PartitionKey, str]]:
        """Where logs and topics begin, and what can't be read from here."""
        begins: dict[PartitionKey, int] = {}
        unreadable: dict[PartitionKey, str] = {}
        for source in collection.sources:
            if source.url != LOG_SOURCE:
                for one in await asyncio.to_thread(self._reach, source):
                    key = (source.name, one.partition)
                    begins[key] = one.begin_offset
                    if one.lost:
                        unreadable[key] = one.lost
                continue
            request = log_pb2.OffsetsRequest(topic=collection.name)
            bounds = await self._log.offsets(request, ASK_S_MAX)
            for bound in bounds.partitions:
                key = (source.name, bound.partition)
                begins[key] = bound.begin_offset
                if bounds.topic_id != source.topic_id:
                    unreadable[key] = f"the log of {collection.name} is another one by now"
        return begins, unreadable

    def _reach(self, source: Source) -> list[Reach]:
        """What a source still has that can be compared; brokers that don't tell have nothing."""
        try:
            if not source.is_topic or not self._kafka.is_compacted(TopicUrl.parse(source.url)):
                return list(reach_of(source, self._kafka))
            why = "its topic is compacted: what is not there any more may have been replaced"
        except AlderError as error:
            why = error.message
        return [Reach(source.name, one.partition, lost=why) for one in source.partitions]

    async def _compared(self, collection: Collection, coverage: Coverage) -> list[ShardProof]:
        settings = self._settings
        limits = Limits(settings.wanted.seed, settings.conditions, settings.timeout_s)
        told = _Progress(self._tell, coverage.offsets)
        async with (
            scratch_directory(settings.scratch) as directory,
            built(
                collection,
                coverage,
                self._catalog,
                self._log,
                self._tailer_settings,
                directory,
                settings.scratch_bytes_max,
                told.built,
            ) as log,
        ):
            proofs = []
            for place, shard in enumerate(coverage.shards):
                self._tell(f"comparing shard {shard} ({place + 1} of {len(coverage.shards)})")
                comparison = ShardComparison(
                    collection, shard, coverage, self._serving, log, limits
                )
                proofs.append(await self._proof_of(comparison, shard))
            return proofs

    async def _check_index(self, coverage: Coverage) -> tuple[int, list[Finding]]:
        """How many access paths agree with scans of what serves, and those that don't."""
        if not self._settings.conditions:
            return 0, []
        self._tell("checking the indexes of what serves")
        rows = await asyncio.to_thread(self._checked_indexes)
        mine = [row for row in rows if row[0] in coverage.shards]
        faults = [
            Finding(Kind.INDEX, shard, f"CHECK INDEX, {path}: {verdict}: {detail}")
            for shard, path, _, _, verdict, detail in mine
            if verdict in {"different", "damaged"}
        ]
        return len(mine), faults

    def _checked_indexes(self) -> list[tuple[Any, ...]]:
        statement = f"CHECK INDEX {quote(self._settings.collection)}"
        with connect(self._settings.server) as connection:
            return connection.execute(statement, timeout_s=self._settings.timeout_s).fetchall()

    async def _proof_of(self, comparison: ShardComparison, shard: int) -> ShardProof:
        try:
            return await comparison.run()
        except AlderError as error:
            if error.reason is not Reason.CORRUPT:
                raise
            finding = Finding(Kind.DAMAGED, shard, error.message)
            return ShardProof(shard, 0, 0, 0, 0, 0, 0, taken_in=False, findings=(finding,))


class _Progress:
    """Says now and then how much is built."""

    def __init__(self, tell: Tell, offsets: int) -> None:
        self._tell = tell
        self._offsets = offsets
        self._begun_s = self._told_s = time.monotonic()

    def built(self, offsets: int) -> None:
        """So many offsets are."""
        now_s = time.monotonic()
        if now_s - self._told_s >= PROGRESS_S or offsets == self._offsets:
            self._told_s = now_s
            rate = offsets / max(1e-3, now_s - self._begun_s)
            self._tell(f"built {offsets:,} of {self._offsets:,} offsets ({rate:,.0f} a second)")
