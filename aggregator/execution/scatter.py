"""Scatter and gather: asks every leaf of a collection at once and takes all answers or none.

A leaf that fails fails the query, with its name and shards in the message; nothing is left out
silently (I5). The bytes gathered by one query are bounded over all its leaves together.
"""

import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from aggregator.execution import core
from aggregator.execution.coverage import Coverage, leaf_of
from aggregator.execution.gathered import Answer, Gathered, State, gathered, leaf_answer
from aggregator.execution.leafcalls import LeafCall, gather
from aggregator.protection.circuits import Circuits
from aggregator.protection.running import Progress
from alder.catalog import Collection
from alder.errors import AlderError, Reason
from alder.interfaces import NodeDirectory
from alder.positions import PositionVector
from alder.schema import Schema
from alder.v1 import common_pb2, leaf_pb2


@dataclass(slots=True)
class Budget:
    """Bytes that one query may still gather; what it has gathered is told in ``progress``."""

    left_bytes: int
    progress: Progress

    def take(self, size_bytes: int) -> None:
        """Raises AlderError(LIMIT) once the budget is spent."""
        self.left_bytes -= size_bytes
        self.progress.size_bytes_gathered += size_bytes
        if self.left_bytes < 0:
            raise AlderError(
                Reason.LIMIT,
                "the query gathers more data than the server allows; "
                "filter more, aggregate, or read fewer columns",
            )


class Schemas:
    """The newest schema of each collection on each leaf, so that it travels only when it grew."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], Schema] = {}
        self._unions: dict[int, tuple[list[Schema], Schema]] = {}

    def version(self, collection: Collection, leaf: str) -> int:
        """The version known of a leaf's schema; 0 if none is."""
        known = self._known.get((collection.collection_id, leaf))
        return known.version if known is not None else 0

    def take(self, collection: Collection, leaf: str, message: common_pb2.Schema) -> None:
        """Keeps what a leaf sent, unless it is no newer than what is known."""
        key = (collection.collection_id, leaf)
        if message.fields or message.version:
            known = self._known.get(key)
            if known is None or message.version != known.version or message.fields:
                self._known[key] = (
                    Schema.from_proto(message) if message.fields or known is None else known
                )

    def union(self, collection: Collection) -> Schema:
        """The schema over all leaves of the collection."""
        key = collection.collection_id
        parts = [
            self._known[key, leaf]
            for leaf in sorted(collection.shards_by_leaf())
            if (key, leaf) in self._known
        ]
        made = self._unions.get(key)
        if made is None or [id(part) for part in made[0]] != [id(part) for part in parts]:
            merged = Schema()
            for part in parts:
                merged = merged.merged(part)
            made = self._unions[key] = (parts, merged)
        return made[1]

    def keep(self, collection_ids: Iterable[int]) -> None:
        """Forgets every collection but these; an empty list makes every leaf send all again."""
        kept = set(collection_ids)
        self._known = {key: value for key, value in self._known.items() if key[0] in kept}
        self._unions = {key: value for key, value in self._unions.items() if key in kept}


class Scatter:
    """Calls the leaves of collections."""

    def __init__(self, directory: NodeDirectory) -> None:
        self._directory = directory
        self.schemas = Schemas()
        self.circuits = Circuits()

    async def state(
        self,
        whole: Collection,
        wanted: PositionVector,
        timeout_s: float,
        wait_s: float = 0.0,
        coverage: Coverage | None = None,
    ) -> State:
        """Positions and schema of all covered shards, once they have reached ``wanted``.

        The schema of a part of a leaf's shards is not remembered: its version would be taken for
        that of all of them.

        Raises AlderError: UNAVAILABLE, DEADLINE (not reached within ``wait_s``).
        """
        collection = whole if coverage is None else coverage.covered(whole)
        partial = collection is not whole

        async def ask(leaf: str, shards: list[int]) -> leaf_pb2.PositionsResponse:
            own = leaf_pb2.PositionsRequest(
                collection=collection.name,
                collection_id=collection.collection_id,
                shards=shards,
                min_positions=wanted.to_proto(),
                wait_ms=max(0, int(wait_s * 1000)),
                known_schema_version=0 if partial else self.schemas.version(collection, leaf),
            )
            async with LeafCall(self.circuits, collection, leaf, shards):
                return await self._directory.leaf(leaf_of(leaf)).positions(own, timeout_s=timeout_s)

        by_leaf = collection.shards_by_leaf()
        answers = await gather([ask(leaf, shards) for leaf, shards in by_leaf.items()])
        told: list[tuple[int, PositionVector]] = []
        for leaf, answer in zip(by_leaf, answers, strict=True):
            if not partial:
                self.schemas.take(collection, leaf, answer.schema)
            told += [
                (entry.shard, PositionVector.from_proto(entry.positions)) for entry in answer.shards
            ]
        core.check_answers([entry.shard for entry in collection.shards], [one for one, _ in told])
        positions = dict(told)
        if not all(answer.reached for answer in answers) and wanted.offsets:
            raise core.not_reached(collection.name, core.behind(wanted, positions))
        rows_stored = sum(entry.rows_stored for answer in answers for entry in answer.shards)
        if not partial:
            return State(positions, self.schemas.union(collection), rows_stored=rows_stored)
        schema = reduce(Schema.merged, (Schema.from_proto(one.schema) for one in answers))
        missing = {one.shard for one in whole.shards} - set(positions)
        return State(positions, schema, frozenset(missing), rows_stored)

    def shares_memory(self, collection: Collection) -> bool:
        """True if every leaf of a collection hands its tables over within this process."""
        try:
            leaves = [self._directory.leaf(leaf_of(leaf)) for leaf in collection.shards_by_leaf()]
        except AlderError:
            return False
        return all(leaf.shares_memory for leaf in leaves)

    async def run(
        self,
        collection: Collection,
        request: leaf_pb2.FragmentRequest,
        timeout_s: float,
        budget: Budget,
        leaves: Container[str] | None = None,
        died: Callable[[str], None] | None = None,
        unfinished: bool = False,
        joined: Collection | None = None,
    ) -> Gathered:
        """The answers of all shards to a fragment; ``request.shards`` is set here, per leaf.

        ``leaves`` are those to be asked; None for all. ``died`` is told of each leaf whose
        connection breaks while it runs the fragment. ``unfinished``: leaves of this process may
        hand over rows and leave the fragment to us. Shards of ``joined`` are those on the leaf.
        """
        beside = {} if joined is None else joined.shards_by_leaf()
        by_leaf = {
            leaf: shards
            for leaf, shards in collection.shards_by_leaf().items()
            if leaves is None or leaf in leaves
        }

        async def ask(leaf: str, shards: list[int]) -> Answer:
            begin_s = time.monotonic()
            own = request
            if len(by_leaf) > 1:
                own = leaf_pb2.FragmentRequest()
                own.CopyFrom(request)
            own.shards.extend(shards)
            if joined is not None:
                own.joined.shards.extend(beside[leaf])
            async with LeafCall(self.circuits, collection, leaf, shards, True, died):
                client = self._directory.leaf(leaf_of(leaf))
                answer = await client.answer(own, budget.take, timeout_s, unfinished)
            budget.progress.rows_gathered += answer.rows.num_rows
            waited_us = int((time.monotonic() - begin_s) * 1e6)
            return answer, leaf_answer(leaf, shards, answer, waited_us)

        answers = await gather([ask(leaf, shards) for leaf, shards in by_leaf.items()])
        result = gathered(answers, request.fragment.sql)
        core.check_answers(_shards(by_leaf), [scan.shard for scan in result.scans])
        core.check_answers(_shards(beside), [scan.shard for scan in result.joined])
        return result

    async def check_index(
        self, collection: Collection, seed: int, timeout_s: float
    ) -> list[leaf_pb2.IndexCheck]:
        """What the leaves find when they compare indexes with scans, by shard and path."""

        async def ask(leaf: str, shards: list[int]) -> leaf_pb2.CheckIndexResponse:
            request = leaf_pb2.CheckIndexRequest(
                collection=collection.name,
                collection_id=collection.collection_id,
                shards=shards,
                seed=seed,
            )
            async with LeafCall(self.circuits, collection, leaf, shards, runs=True):
                return await self._directory.leaf(leaf).check_index(request, timeout_s=timeout_s)

        by_leaf = collection.shards_by_leaf()
        answers = await gather([ask(leaf, shards) for leaf, shards in by_leaf.items()])
        checks = [check for answer in answers for check in answer.checks]
        core.check_answers(
            [entry.shard for entry in collection.shards], {check.shard for check in checks}
        )
        return sorted(checks, key=lambda check: (check.shard, check.path))


def _shards(by_leaf: Mapping[str, Sequence[int]]) -> list[int]:
    return [shard for shards in by_leaf.values() for shard in shards]
