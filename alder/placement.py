"""Rendezvous hashing: which node owns a thing, agreed on by everyone who knows the same nodes.

Source: D. Thaler, C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998. When a
node comes or goes, only the things that it owned move.
"""

import hashlib
from collections.abc import Iterable


def owner(thing: str, nodes: Iterable[str]) -> str | None:
    """The node with the highest score for ``thing``; None where there are no nodes."""
    return max(nodes, key=lambda node: (_score(thing, node), node), default=None)


def _score(thing: str, node: str) -> bytes:
    return hashlib.blake2b(f"{node}\x00{thing}".encode(), digest_size=8).digest()
