"""Partials of sealed segments, kept for the next query that asks the same.

A segment never changes, so what a fragment says of a set of its rows is said once for all. A
partial is named by the fragment (its SQL, bindings and conditions), the segment as this process has
it open and the rows of it that are alive; nothing is ever invalidated, what is not asked for any
more goes first.
"""

import hashlib
from collections.abc import Hashable
from typing import Final

import numpy as np
import pyarrow as pa

from alder.recent import Recent
from alder.v1 import leaf_pb2
from leaf.cache import PageCache
from leaf.pieces import Piece
from leaf.segment import Segment

_DIGEST_BYTES: Final = 16
_REFUSED_MAX: Final = 512
_SMALL_ROWS: Final = 64


class Partials(PageCache):
    """A thread-safe LRU of partials with a byte budget.

    Fragments whose partials are hardly fewer rows than they read are refused from then on.
    """

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max)
        self._refused: Recent[bytes, bool] = Recent(_REFUSED_MAX)

    def is_refused(self, name: bytes) -> bool:
        """True if keeping the partials of this fragment does not pay."""
        return self._refused.get(name) is not None

    def keep(self, name: bytes, key: Hashable, partial: pa.Table, rows: int) -> bool:
        """Keeps the partial of so many rows, unless it does not pay; tells which."""
        if partial.num_rows > _SMALL_ROWS and partial.num_rows * 2 > rows:
            self._refused.put(name, True)
            return False
        self.put(key, partial, partial.nbytes)
        return True


def fingerprint(fragment: leaf_pb2.Fragment, keyed: bool) -> bytes:
    """Names what a fragment means over a shard's rows."""
    data = fragment.SerializeToString(deterministic=True)
    return hashlib.blake2b(data + bytes([keyed]), digest_size=_DIGEST_BYTES).digest()


def rows_key(segment: Segment, piece: Piece) -> tuple[int, bytes]:
    """Names the rows of a segment that a piece has."""
    if piece.rows is None:
        return segment.scope, b""
    mask = np.zeros(segment.rows, dtype=bool)
    mask[piece.rows] = True
    packed = np.packbits(mask).tobytes()
    return segment.scope, hashlib.blake2b(packed, digest_size=_DIGEST_BYTES).digest()
