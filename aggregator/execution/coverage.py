"""What an answer stands for where shards may be missing (I5).

A query under COVERAGE is a query under ALL over a smaller shard map: where a shard fails, the whole
query is prepared and run again without it, so that every read of a collection has the same shards,
whatever the class of the plan. A leaf with several shards that answers with an error is asked for
each of them by itself first, as if each was a leaf of its own, so that one damaged shard does not
take the others with it. Each attempt leaves out a shard or takes a leaf apart, so there is an end.
No input or output.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from alder.catalog import Collection
from alder.errors import AlderError, Reason
from alder.policy import Policy
from alder.slots import SLOTS

WAIT_SHARE: Final = 0.5
"""What of the time left a leaf may take where it may be missing: the rest is for others."""


_ALONE: Final = " shard "
"""What stands between a leaf and the one shard that it is asked for."""


class LeafError(AlderError):
    """A leaf that failed on some shards of a collection.

    ``answered``: it said so itself; else nothing was heard of it.
    """

    def __init__(
        self,
        error: AlderError,
        collection: Collection,
        leaf: str,
        shards: list[int],
        answered: bool,
    ) -> None:
        where = f"leaf {leaf} (shards {', '.join(map(str, shards))} of {collection.name})"
        message = f"{where}: {error.message}"
        super().__init__(error.reason, message, error.retry_s, **error.metadata)
        self.collection_id = collection.collection_id
        self.leaf = leaf
        self.shards = tuple(shards)
        self.answered = answered
        self.why = error.message


@dataclass(frozen=True, slots=True)
class Missing:
    """A shard that is not in the answer, and why."""

    shard: int
    leaf: str
    why: str


@dataclass(slots=True)
class Coverage:
    """The shards that one query does without; grows from attempt to attempt."""

    policy: Policy = field(default_factory=Policy)
    alone: set[str] = field(default_factory=set)
    """Leaves that are asked for each shard by itself."""
    missing: dict[int, dict[int, Missing]] = field(default_factory=dict)
    """By collection id and shard."""

    def goes_on_without(self, error: LeafError) -> bool:
        """Notes a failure; False if the policy allows none."""
        if not self.policy.tolerant:
            return False
        if error.answered and len(error.shards) > 1 and error.leaf not in self.alone:
            self.alone.add(error.leaf)
            return True
        for shard in error.shards:
            self.leave_out(error.collection_id, Missing(shard, error.leaf, error.why))
        return True

    def leave_out(self, collection_id: int, missing: Missing) -> None:
        """Does without a shard from now on."""
        self.missing.setdefault(collection_id, {})[missing.shard] = missing

    def covered(self, collection: Collection) -> Collection:
        """The collection with the shards that the answer is to stand for.

        Raises AlderError(UNAVAILABLE) if they are too few for the policy.
        """
        missing = self.of(collection)
        if not missing and not any(one.leaf in self.alone for one in collection.shards):
            return collection
        covered = replace(
            collection,
            shards=tuple(
                replace(one, leaf=f"{one.leaf}{_ALONE}{one.shard}")
                if one.leaf in self.alone
                else one
                for one in collection.shards
                if one.shard not in missing
            ),
        )
        share = share_of(covered)
        if share < self.policy.coverage_min:
            listed = "; ".join(
                f"shard {one.shard} on {one.leaf}: {one.why}" for one in missing.values()
            )
            raise AlderError(
                Reason.UNAVAILABLE,
                f"{self.policy} can't be had: {100 * share:.1f} % of {collection.name} "
                f"would answer; missing are {listed}",
            )
        return covered

    def of(self, collection: Collection) -> Mapping[int, Missing]:
        """The missing shards of a collection, by number."""
        found = self.missing.get(collection.collection_id, {})
        return {one.shard: found[one.shard] for one in collection.shards if one.shard in found}


def share_of(collection: Collection) -> float:
    """The part of all slots that the shards of a collection have."""
    return sum(one.slot_end - one.slot_begin for one in collection.shards) / SLOTS


def leaf_of(name: str) -> str:
    """The leaf that is asked where a covered collection names one, or a shard of it."""
    leaf, _, _ = name.partition(_ALONE)
    return leaf
