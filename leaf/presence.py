"""Whether what a call names is here yet: its collection and epoch, its shards, their positions.

Callers may know of a change before this leaf does, and a restarted leaf may be behind a cut that it
named before, so a call waits a little for the catalog to be followed and for rows to arrive. The
waits are bounded and nothing is polled: whatever may end one says so by :meth:`Presence.changed`.
A call whose wait was in vain is refused, with what its caller should do next; it never runs on
other shards, rows or an epoch than it named (I4, I6). Everything here runs on the event loop.
"""

import asyncio
from collections.abc import Callable, Sequence

from alder.catalog import Collection
from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.push import PushFields
from alder.v1 import leaf_pb2
from leaf.ownership import Follower, ShardKey, Shards
from leaf.settings import LeafSettings
from leaf.signal import Signal


class Presence:
    """What of the catalog is here, on one leaf."""

    def __init__(
        self, node_id: str, shards: Shards, follower: Follower, settings: LeafSettings
    ) -> None:
        self._node_id = node_id
        self._shards = shards
        self._follower = follower
        self._settings = settings
        self._moved = Signal()
        self._closing = False

    def changed(self) -> None:
        """Has everyone who waits look again."""
        self._moved.notify()

    def close(self) -> None:
        """Calls that come from now on are refused."""
        self._closing = True

    def check_open(self) -> None:
        """Raises AlderError(UNAVAILABLE) while the leaf stops."""
        if self._closing:
            raise AlderError(Reason.UNAVAILABLE, f"{self._node_id} is stopping; try again")

    async def follow_forever(self) -> None:
        """Opens and removes shards as the catalog changes, until cancelled."""
        followed = None
        while True:
            snapshot = self._follower.snapshot
            if snapshot is followed:
                await self._follower.changed()
                continue
            await self._shards.follow(snapshot)
            followed = snapshot
            self._moved.notify()

    def collection(self, name: str, collection_id: int) -> Collection | None:
        """The collection of that name, if it is the one with that id."""
        found = self._follower.snapshot.collections.get(name)
        return found if found is not None and found.collection_id == collection_id else None

    @property
    def assignment(self) -> int:
        """By which partitions are shared out among the tailers, as far as is known here."""
        return self._follower.snapshot.assignment

    def knows(self, request: PushFields | leaf_pb2.FragmentRequest | leaf_pb2.JoinedRows) -> bool:
        """True if the catalog here is as new as the epoch that was named."""
        collection = self.collection(request.collection, request.collection_id)
        return collection is not None and collection.epoch >= request.epoch

    def have_reached(self, keys: Sequence[ShardKey], wanted: PositionVector) -> bool:
        """True if every one of these shards that is open has the rows up to there."""
        shards = [self._shards.get(key) for key in keys]
        return all(shard is None or shard.view.positions.reaches(wanted) for shard in shards)

    def not_owner(self, collection: str) -> AlderError:
        """What a caller is told whose shard map is not that of this leaf."""
        return AlderError(
            Reason.NOT_OWNER,
            f"{self._node_id} does not serve these shards of {collection} in this epoch; "
            "refresh the shard map",
        )

    async def keys(self, collection_id: int, numbers: Sequence[int]) -> list[ShardKey]:
        """The shards asked for; all that are here for none. Waits for ones about to open."""
        keys = [(collection_id, number) for number in numbers]
        await self.wait_for(
            lambda: (
                all(self._shards.get(key) for key in keys)
                and bool(keys or self._shards.of_collection(collection_id))
            ),
            self._settings.follow_wait_s,
        )
        here = self._shards.of_collection(collection_id)
        return keys or [(collection_id, number) for number in here]

    async def catch_up(
        self, keys: Sequence[ShardKey], cut: PositionVector, timeout_s: float | None
    ) -> None:
        """Waits until the shards have reached a cut. Raises AlderError(UNAVAILABLE)."""
        wait_s = min(timeout_s or self._settings.catch_up_wait_s, self._settings.catch_up_wait_s)
        if not await self.wait_for(lambda: self.have_reached(keys, cut), wait_s):
            raise AlderError(
                Reason.UNAVAILABLE,
                f"a shard on {self._node_id} has not caught up with the rows asked for; try again",
            )

    async def wait_for(self, condition: Callable[[], bool], wait_s: float) -> bool:
        """Waits until a condition holds, ``wait_s`` at most; whether it does."""
        if condition():
            return True
        try:
            async with asyncio.timeout(wait_s):
                while not condition():
                    await self._moved.wait()
        except TimeoutError:
            return condition()
        return True
