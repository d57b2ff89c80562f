"""Calls to leaves: all at once, each under its leaf's name and circuit."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from aggregator.execution.coverage import LeafError, leaf_of
from aggregator.protection.circuits import Circuits
from alder.catalog import Collection
from alder.errors import AlderError, Reason, Unreachable

T = TypeVar("T")
_OF_THE_LEAF: Final = frozenset(
    {Reason.UNAVAILABLE, Reason.INTERNAL, Reason.CORRUPT, Reason.DEADLINE, Reason.NOT_OWNER}
)
"""Reasons that concern a leaf, not the statement."""


async def gather(calls: Sequence[Awaitable[T]]) -> list[T]:
    """The results of all calls; the first failure cancels the others and is raised."""
    if len(calls) == 1:
        return [await calls[0]]
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class LeafCall:
    """A call to a leaf: its errors get the leaf's name and shards, its circuit learns of it.

    ``runs``: it does work that may take its time. ``died`` is told of a leaf whose connection
    breaks meanwhile.
    """

    def __init__(
        self,
        circuits: Circuits,
        collection: Collection,
        leaf: str,
        shards: list[int],
        runs: bool = False,
        died: Callable[[str], None] | None = None,
    ) -> None:
        self._circuits = circuits
        self._collection = collection
        self._leaf = leaf_of(leaf)
        self._shards = shards
        self._runs = runs
        self._died = died

    async def __aenter__(self) -> None:
        try:
            self._circuits.check(self._leaf, time.monotonic())
        except Unreachable as error:
            raise LeafError(error, self._collection, self._leaf, self._shards, False) from error

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        broken = isinstance(error, Unreachable)
        late = isinstance(error, AlderError) and error.reason is Reason.DEADLINE
        if broken or (late and not self._runs):
            self._circuits.failed(self._leaf, time.monotonic())
            if broken and self._died is not None:
                self._died(self._leaf)
        elif error is None or (isinstance(error, AlderError) and not late):
            self._circuits.answered(self._leaf)
        if isinstance(error, AlderError) and error.reason in _OF_THE_LEAF:
            raise LeafError(
                error,
                self._collection,
                self._leaf,
                self._shards,
                answered=not (late or broken),
            ) from error
