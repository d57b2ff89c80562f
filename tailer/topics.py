"""Finds the partitions of a topic and registers them.

A topic is registered with its identity and where each of its partitions begins, all at once; from
then on it is that topic. Partitions that are added later are registered as they are found. A
listing with fewer changes nothing: who reads a partition that is not listed reports it.
"""

import asyncio
import logging

from alder.catalog import Source
from alder.errors import AlderError
from alder.interfaces import CatalogClient
from alder.topicurl import TopicUrl
from alder.v1 import catalog_pb2
from tailer.settings import TailerSettings
from tailer.sources.kafka.clients import KafkaClients

logger = logging.getLogger(__name__)


class TopicDiscovery:
    """Describes one source's topic again and again."""

    def __init__(
        self,
        catalog: CatalogClient,
        collection: str,
        source: Source,
        settings: TailerSettings,
        clients: KafkaClients,
    ) -> None:
        self.collection = collection
        self.errors: dict[int, str] = {}
        self._catalog = catalog
        self._source = source
        self._settings = settings
        self._clients = clients

    @property
    def source(self) -> str:
        """Name of the source."""
        return self._source.name

    def follow(self, source: Source) -> None:
        """Takes the source's partitions as the catalog has them now."""
        self._source = source

    async def run(self) -> None:
        """Looks until cancelled. Raises only for a defect."""
        while True:
            try:
                request = await asyncio.to_thread(self._news)
                if request is not None:
                    answer = await self._catalog.register_partitions(request, timeout_s=10)
                    self._source = Source.from_proto(answer.source)
                self.errors = {}
            except AlderError as error:
                self._report(error.message)
            await asyncio.sleep(self._settings.discovery_interval_s)

    def _news(self) -> catalog_pb2.RegisterPartitionsRequest | None:
        """What is to be registered. Raises AlderError as the clients do."""
        source = self._source
        url = TopicUrl.parse(source.url)
        topic = self._clients.topic(url)
        known = {entry.partition for entry in source.partitions}
        if topic.topic_id == source.topic_id and known.issuperset(topic.partitions):
            return None
        begins = {} if source.topic_id else self._clients.begin_offsets(url, topic.partitions)
        return catalog_pb2.RegisterPartitionsRequest(
            collection=self.collection,
            source=source.name,
            found=[
                catalog_pb2.SourcePartition(partition=number, begin_offset=begins.get(number, 0))
                for number in topic.partitions
            ],
            topic_id=topic.topic_id,
        )

    def _report(self, reason: str) -> None:
        if reason not in self.errors.values():
            logger.warning("%s/%s: %s", self.collection, self.source, reason)
        numbers = [entry.partition for entry in self._source.partitions]
        self.errors = dict.fromkeys(numbers or [0], reason)
