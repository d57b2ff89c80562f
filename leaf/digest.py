"""Digests: an order-independent fingerprint of everything a shard has taken in.

The digest is the sum modulo 2**128 of a 128-bit hash per row and per deletion, so that two replicas
at the same position vector compare in one step, however their batches and segments were cut.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

MODULUS: Final = 1 << 128


def digest_rows(
    source: str, partition: int, offsets: Sequence[int], documents: Sequence[bytes | None]
) -> int:
    """The sum of the hashes of these rows; a deletion has no document."""
    prefix = hashlib.blake2b(f"{source}\x00{partition}\x00".encode(), digest_size=16)
    total = 0
    for offset, document in zip(offsets, documents, strict=True):
        row = prefix.copy()
        row.update(offset.to_bytes(8, "big"))
        row.update(b"\x00" if document is None else b"\x01" + document)
        total += int.from_bytes(row.digest(), "big")
    return total % MODULUS


def combined(*digests: int) -> int:
    """The digest of several disjoint sets of rows."""
    return sum(digests) % MODULUS


def to_hex(digest: int) -> str:
    """32 hexadecimal digits."""
    return f"{digest:032x}"
