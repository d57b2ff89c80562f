"""Looks where partitions end, whether or not they are being read at this moment.

A partition whose leaf is slow, or whose source is paused, is not read, and what is asked for then
is just how far behind it is. Partitions of a topic are looked at by one call for all of them. Those
of the embedded log tell their end with all that is read; they are asked only while nothing is.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from alder.catalog import LOG_SOURCE, Source
from alder.errors import AlderError
from alder.interfaces import LogReader
from alder.lag import EndsSeen
from alder.topicurl import TopicUrl
from alder.v1 import log_pb2
from tailer.settings import TailerSettings
from tailer.sources.kafka.clients import KafkaClients


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A partition of a source; ``topic`` is that of the embedded log."""

    source: Source
    partition: int
    topic: str


class PartitionEnds:
    """The ends of all partitions that a tailer has. Belongs to one event loop."""

    def __init__(
        self,
        log: LogReader,
        kafka: KafkaClients,
        settings: TailerSettings,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._kafka = kafka
        self._settings = settings
        self._monotonic_s = monotonic_s
        self._partitions: dict[Hashable, tuple[LookedAt, EndsSeen]] = {}
        self._looking: asyncio.Task[None] | None = None

    def follow(self, partitions: Mapping[Hashable, LookedAt]) -> None:
        """These are the partitions from now on; what was seen of them before stays known."""
        known = self._partitions
        self._partitions = {
            key: (one, known[key][1] if key in known else EndsSeen())
            for key, one in partitions.items()
        }

    def seen(self, key: Hashable) -> EndsSeen:
        """What was seen of one of the partitions that are followed."""
        return self._partitions[key][1]

    async def run_forever(self) -> None:
        """Looks again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._settings.look_interval_s)

    async def look(self) -> None:
        """Looks once. Those who ask meanwhile share the look; sources that fail tell nothing."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def close(self) -> None:
        """Ends a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        topics: dict[str, list[tuple[int, EndsSeen]]] = {}
        calls = []
        for one, ends in self._partitions.values():
            if one.source.is_topic:
                topics.setdefault(one.source.url, []).append((one.partition, ends))
            elif one.source.url == LOG_SOURCE and self._is_old(ends):
                calls.append(self._look_at_log(one, ends))
        calls += [self._look_at_topic(url, partitions) for url, partitions in topics.items()]
        await asyncio.gather(*calls)

    def _is_old(self, ends: EndsSeen) -> bool:
        usual_s = self._settings.read_wait_ms / 1_000 + self._settings.look_interval_s
        return self._monotonic_s() - ends.seen_at_s() > usual_s

    async def _look_at_topic(self, url: str, partitions: list[tuple[int, EndsSeen]]) -> None:
        numbers = tuple(sorted({number for number, _ in partitions}))
        begun_s = self._monotonic_s()
        with suppress(AlderError):
            found = await asyncio.to_thread(self._kafka.end_offsets, TopicUrl.parse(url), numbers)
            for number, ends in partitions:
                ends.saw(found[number], begun_s)

    async def _look_at_log(self, one: LookedAt, ends: EndsSeen) -> None:
        request = log_pb2.ReadRequest(
            topic=one.topic,
            topic_id=one.source.topic_id,
            partition=one.partition,
            offset=max((end for end, _ in ends.ages_us(0.0)), default=0),
            size_bytes_max=1,
        )
        begun_s = self._monotonic_s()
        with suppress(AlderError):
            response = await self._log.read(request, self._settings.read_timeout_s)
            ends.saw(response.end_offset, begun_s)
