"""Leases: a node that has not been heard of for a while counts as gone.

Pure: time is a number that the caller gives, in seconds of a monotonic clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Leases:
    """When each node's lease ends."""

    lease_s: float
    ends_s: Mapping[str, float] = field(default_factory=dict)

    def renewed(self, node_ids: Iterable[str], now_s: float) -> "Leases":
        """With these nodes' leases running anew from now."""
        ends = {**self.ends_s, **dict.fromkeys(node_ids, now_s + self.lease_s)}
        return Leases(self.lease_s, ends)

    def ended(self, node_id: str) -> "Leases":
        """Without the lease of a node that left."""
        return Leases(self.lease_s, {k: v for k, v in self.ends_s.items() if k != node_id})

    def swept(self, now_s: float) -> "Leases":
        """Without the leases that have run out."""
        return Leases(self.lease_s, {k: v for k, v in self.ends_s.items() if v > now_s})

    def postponed(self, by_s: float) -> "Leases":
        """With all ends later: for a time in which the controller could not hear anyone."""
        return Leases(self.lease_s, {k: v + by_s for k, v in self.ends_s.items()})

    def holds(self, node_id: str) -> bool:
        """True if the node has a lease that was not swept yet."""
        return node_id in self.ends_s
