"""A partition whose source is paused: nothing is read, and how far behind it is can be told."""

import time
from typing import Self

from alder.catalog import Collection, Source, SourcePartition
from alder.lag import EndsSeen
from alder.v1 import tailer_pb2
from tailer.leaves import LeafAnswers


class PausedPartition:
    """One partition that is not read until its source goes on."""

    collection: Collection

    def __init__(self, source: Source, partition: SourcePartition) -> None:
        self._source = source
        self._partition = partition
        self._next_offset = 0

    def of(self, collection: Collection) -> Self:
        """The same with the collection as it is by now."""
        self.collection = collection
        return self

    def observe(self, idle_at: int, answers: LeafAnswers) -> None:
        """Notes where the shards stand, as ``PartitionTask.observe`` does; it is always idle."""
        positions = answers.of_partition(self._source.name, self._partition.partition)
        self._next_offset = min(positions.values(), default=0)

    def progress(self, seen: EndsSeen) -> tailer_pb2.PartitionProgress:
        """Where it stands; ``seen`` is what was seen of its end."""
        ends = seen.ages_us(time.monotonic())
        return tailer_pb2.PartitionProgress(
            collection=self.collection.name,
            source=self._source.name,
            partition=self._partition.partition,
            next_offset=self._next_offset,
            end_offset=max((end for end, _ in ends), default=-1),
            ends=[tailer_pb2.EndSeen(end_offset=end, age_us=age_us) for end, age_us in ends],
            paused=True,
        )
