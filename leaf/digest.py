"""Digests: an order-independent fingerprint of everything a shard has taken in.

The digest is the sum modulo 2**128 of a 128-bit hash per row and per deletion, so that two replicas
at the same position vector compare in one step, however their batches and segments were cut. It
tells damage and defects, not forgery: the hash is XXH3, which is fast and the same everywhere, and
no cryptographic one. Hashes of many rows are an array of uint64 with two columns, the high half and
the low one, which sums by group without a loop over rows.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from alder.positions import PartitionKey

MODULUS: Final = 1 << 128
_NO_DOCUMENT: Final = b"\xff"
"""What a deletion has in a document's place: no document, since it is not UTF-8."""
_BLOCK_ROWS: Final = 1024
_HALF: Final = np.uint64(0xFFFF_FFFF)
_SPREAD: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
"""An odd number, so that different places give different seeds."""
Hashes = NDArray[np.uint64]


def digest_rows(
    source: str, partition: int, places: NDArray[np.int64], documents: pa.ChunkedArray
) -> int:
    """The sum of the hashes of these rows; ``documents`` (string) are null for deletions."""
    seeds = seeds_of(places, origins([(source, partition)])[0])
    values = pc.fill_null(documents.cast(pa.binary()), _NO_DOCUMENT)
    total = 0
    # Between two blocks other threads may run.
    for begin in range(0, len(seeds), _BLOCK_ROWS):
        block = values.slice(begin, _BLOCK_ROWS).to_pylist()
        some = seeds[begin : begin + _BLOCK_ROWS].tolist()
        total += sum(map(xxhash.xxh3_128_intdigest, block, some))
    return total % MODULUS


def origins(streams: Sequence[PartitionKey]) -> Hashes:
    """A number for each partition, the same in every replica."""
    names = (f"{source}\x00{partition}\x00".encode() for source, partition in streams)
    data = b"".join(hashlib.blake2b(name, digest_size=8).digest() for name in names)
    return np.frombuffer(data, dtype="<u8").astype(np.uint64)


def seeds_of(places: NDArray[np.int64], origin: Hashes | np.uint64) -> Hashes:
    """A number for each birth by its place; ``origin`` is that of its partition."""
    seeds: Hashes = places.astype(np.uint64) * _SPREAD ^ origin
    return seeds


def row_hashes(seeds: Hashes, values: pa.ChunkedArray) -> Hashes:
    """The hashes that :func:`digest_rows` adds up, shape (rows, 2).

    ``values`` are documents, or binary values of another kind.
    """
    values = pc.fill_null(values.cast(pa.binary()), _NO_DOCUMENT)
    parts = [b""]
    for begin in range(0, len(seeds), _BLOCK_ROWS):
        block = values.slice(begin, _BLOCK_ROWS).to_pylist()
        some = seeds[begin : begin + _BLOCK_ROWS].tolist()
        parts.append(b"".join(map(xxhash.xxh3_128_digest, block, some)))
    return np.frombuffer(b"".join(parts), dtype=">u8").astype(np.uint64).reshape(-1, 2)


def pair_hashes(seeds: Hashes, others: Hashes) -> Hashes:
    """A hash for each pair of births, by their seeds, shape (pairs, 2).

    The mixing is the finaliser of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable
    Pseudorandom Number Generators", 2014).
    """
    once = _mixed(seeds + _SPREAD) ^ others
    return np.stack([_mixed(once), _mixed(once + _SPREAD)], axis=1)


def group_sums(hashes: Hashes, groups: NDArray[np.int64], count: int) -> list[int]:
    """The sum modulo 2**128 of the hashes of each of ``count`` groups."""
    sums = [0] * count
    if not len(groups):
        return sums
    if (np.diff(groups) < 0).any():
        order = np.argsort(groups, kind="stable")
        hashes, groups = hashes[order], groups[order]
    begins = np.flatnonzero(np.diff(groups, prepend=-1))
    low = np.add.reduceat(hashes[:, 1] & _HALF, begins).tolist()
    middle = np.add.reduceat(hashes[:, 1] >> np.uint64(32), begins).tolist()
    high = np.add.reduceat(hashes[:, 0], begins).tolist()
    for place, group in enumerate(groups[begins].tolist()):
        whole = (high[place] << 64) + (middle[place] << 32) + low[place]
        sums[group] = whole % MODULUS
    return sums


def combined(*digests: int) -> int:
    """The digest of several disjoint sets of rows."""
    return sum(digests) % MODULUS


def to_hex(digest: int) -> str:
    """32 hexadecimal digits."""
    return f"{digest:032x}"


def _mixed(values: Hashes) -> Hashes:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed
