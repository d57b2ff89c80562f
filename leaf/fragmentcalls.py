"""Calls that run a fragment: what one names is awaited, held open, and read on a thread.

All collections that a fragment reads are taken together: each in the epoch and at the cut that the
call names for it (I4, I6), and their shards stay open from the moment in which they are looked up
until the answer is made. A shard that is missing or is being built again fails the call, because an
answer without its rows would be wrong (I5); one that turns out to be damaged is looked into.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from alder.catalog import Collection
from alder.errors import AlderError
from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf.engine import Cancellation
from leaf.fragment import run_fragment
from leaf.fragmentmodel import FragmentMode, FragmentResult, FragmentTools, Joined
from leaf.kernels.top import Wanted
from leaf.ownership import ShardKey, Shards
from leaf.presence import Presence
from leaf.repair import Repair, check_complete
from leaf.settings import LeafSettings
from leaf.shard import Shard
from leaf.threads import interruptible

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Part:
    """Shards of one collection that a fragment reads, at a cut (None: at their newest)."""

    collection: Collection
    keys: list[ShardKey]
    cut: PositionVector | None


class FragmentCalls:
    """Runs what aggregators ask of the shards of a leaf."""

    def __init__(
        self,
        shards: Shards,
        presence: Presence,
        repair: Repair,
        threads: Executor,
        tools: FragmentTools,
        settings: LeafSettings,
    ) -> None:
        """``threads`` are those on which fragments run."""
        self._shards = shards
        self._presence = presence
        self._repair = repair
        self._threads = threads
        self._tools = tools
        self._settings = settings

    async def run(
        self,
        request: leaf_pb2.FragmentRequest,
        timeout_s: float | None,
        unfinished: bool,
        told: Callable[[FragmentResult, float], T],
    ) -> T:
        """What is made of the result of a fragment and of the moment at which it came here.

        ``unfinished`` as in :class:`leaf.fragmentmodel.FragmentMode`; ``told`` runs on the thread
        of the fragment.

        Raises AlderError as :meth:`leaf.service.Leaf.execute`.
        """
        self._presence.check_open()
        started_s = time.monotonic()
        has_unless = request.HasField("except_at")
        unless = PositionVector.from_proto(request.except_at) if has_unless else None
        parts = [await self._readable(request, unless, timeout_s)]
        if request.HasField("joined"):
            parts.append(await self._readable(request.joined, None, timeout_s))
        keys = list(dict.fromkeys(key for part in parts for key in part.keys))
        with self._shards.using(keys) as shards:
            if len(shards) < len(keys):
                raise self._shards.refusal(keys) or self._presence.not_owner(request.collection)
            check_complete(shards)
            try:
                call = self._run(
                    request,
                    parts,
                    shards,
                    unless,
                    timeout_s,
                    unfinished,
                    lambda result: told(result, started_s),
                )
                return await call
            except AlderError as error:
                raise self._repair.noticed(error, keys) from error

    async def _readable(
        self,
        wanted: leaf_pb2.FragmentRequest | leaf_pb2.JoinedRows,
        unless: PositionVector | None,
        timeout_s: float | None,
    ) -> _Part:
        """What is asked of one collection, once its shards are here and have reached the cut."""
        presence = self._presence
        cut = None if wanted.latest else PositionVector.from_proto(wanted.at)
        keys = await presence.keys(wanted.collection_id, wanted.shards)
        await presence.wait_for(lambda: presence.knows(wanted), self._settings.follow_wait_s)
        collection = presence.collection(wanted.collection, wanted.collection_id)
        if collection is None or collection.epoch != wanted.epoch:
            raise presence.not_owner(wanted.collection)
        if cut is not None:
            both = cut if unless is None else cut.merged(unless)
            await presence.catch_up(keys, both, timeout_s)
        return _Part(collection, keys, cut)

    async def _run(
        self,
        request: leaf_pb2.FragmentRequest,
        parts: Sequence[_Part],
        shards: Mapping[ShardKey, Shard],
        unless: PositionVector | None,
        timeout_s: float | None,
        unfinished: bool,
        told: Callable[[FragmentResult], T],
    ) -> T:
        cancellation = Cancellation()
        own, fragment = parts[0], request.fragment
        stored = {key[1]: shards[key].stored for key in own.keys}
        views, *others = ({key[1]: shards[key].view for key in part.keys} for part in parts)
        joined = None
        if others:
            other = parts[1]
            joined = Joined(request.joined, others[0], other.cut, other.collection.keyed)
        mode = FragmentMode(
            not request.no_memoised_partials,
            not request.no_code_kernels,
            not request.no_direct_lookup,
            frozenset(request.no_index_kinds),
            unfinished,
        )

        def answer() -> T:
            wanted = Wanted.from_proto(request.groups)
            result = run_fragment(
                views,
                fragment,
                own.cut,
                own.collection.keyed,
                self._tools,
                cancellation,
                mode,
                wanted,
                stored,
                unless,
                joined,
            )
            return told(result)

        return await interruptible(self._threads, answer, cancellation, timeout_s)
