"""Rendezvous hashing: which node owns a thing, agreed on by everyone who knows the same nodes.

Source: D. Thaler, C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998. When a
node comes or goes, only the things that it owned move. Few things may fall together on few nodes by
chance, so where they are known together none gets more than its share, as in V. Mirrokni,
M. Thorup, M. Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable


def owner(thing: str, nodes: Iterable[str]) -> str | None:
    """The node with the highest score for ``thing``; None where there are no nodes."""
    return max(nodes, key=lambda node: (_score(thing, node), node), default=None)


def owners(things: Collection[str], nodes: Collection[str]) -> dict[str, str]:
    """The node of each thing: of those that don't have their share of the things yet, which is
    rounded up, the one with the highest score. Empty where there are no nodes.
    """
    share = -(-len(things) // max(1, len(nodes)))
    loads = Counter[str]()
    found: dict[str, str] = {}
    for thing in things if nodes else ():
        node = owner(thing, (node for node in nodes if loads[node] < share))
        if node is not None:
            found[thing] = node
            loads[node] += 1
    return found


def _score(thing: str, node: str) -> bytes:
    return hashlib.blake2b(f"{node}\x00{thing}".encode(), digest_size=8).digest()
