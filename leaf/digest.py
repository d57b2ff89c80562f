"""Digests: an order-independent fingerprint of everything a shard has taken in.

The digest is the sum modulo 2**128 of a 128-bit hash per row and per deletion, so that two replicas
at the same position vector compare in one step, however their batches and segments were cut. It
tells damage and defects, not forgery: the hash is XXH3, which is fast and the same everywhere, and
no cryptographic one.
"""

import hashlib
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

MODULUS: Final = 1 << 128
_NO_DOCUMENT: Final = b"\xff"
"""What a deletion has in a document's place: no document, since it is not UTF-8."""
_BLOCK_ROWS: Final = 1024
_SPREAD: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
"""An odd number, so that different offsets give different seeds."""


def digest_rows(
    source: str, partition: int, offsets: NDArray[np.int64], documents: pa.ChunkedArray
) -> int:
    """The sum of the hashes of these rows; ``documents`` (string) are null for deletions."""
    origin = hashlib.blake2b(f"{source}\x00{partition}\x00".encode(), digest_size=8).digest()
    seeds = offsets.astype(np.uint64) * _SPREAD ^ np.frombuffer(origin, dtype="<u8")
    values = pc.fill_null(documents.cast(pa.binary()), _NO_DOCUMENT)
    total = 0
    # Between two blocks other threads may run.
    for begin in range(0, len(seeds), _BLOCK_ROWS):
        block = values.slice(begin, _BLOCK_ROWS).to_pylist()
        some = seeds[begin : begin + _BLOCK_ROWS].tolist()
        total += sum(map(xxhash.xxh3_128_intdigest, block, some))
    return total % MODULUS


def combined(*digests: int) -> int:
    """The digest of several disjoint sets of rows."""
    return sum(digests) % MODULUS


def to_hex(digest: int) -> str:
    """32 hexadecimal digits."""
    return f"{digest:032x}"
