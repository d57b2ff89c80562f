"""Births: the identity of a row inside one shard, packed into one int64.

A row is born at (source, partition, offset). A shard numbers the partitions that it has seen
("streams"); a birth is the stream's number in the high bits and the offset in the low ones, so that
sets of births are plain integer arrays and ascend with the offset inside a stream.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.positions import PartitionKey, PositionVector

OFFSET_BITS: Final = 43
OFFSET_MAX: Final = (1 << OFFSET_BITS) - 1
STREAM_MAX: Final = (1 << (63 - OFFSET_BITS)) - 1
_ID: Final = re.compile(r"(.*)/(0|[1-9][0-9]{0,9})/(0|[1-9][0-9]{0,13})", re.DOTALL)


def check(stream: int, to_offset: int) -> None:
    """Raises AlderError(LIMIT) where births of this range do not fit."""
    if not (0 <= stream <= STREAM_MAX and 0 <= to_offset <= OFFSET_MAX):
        raise AlderError(
            Reason.LIMIT,
            f"a shard takes {STREAM_MAX + 1} partitions and offsets up to {OFFSET_MAX}; "
            "spread the source over more collections",
        )


def pack(stream: int, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The births of rows of one stream."""
    return np.int64(stream << OFFSET_BITS) | offsets


def streams_of(births: NDArray[np.int64]) -> NDArray[np.int64]:
    """The stream of each birth."""
    return births >> OFFSET_BITS


def offsets_of(births: NDArray[np.int64]) -> NDArray[np.int64]:
    """The offset of each birth."""
    return births & OFFSET_MAX


def is_id(text: str) -> bool:
    """True if a row without a key could have this id."""
    return _ID.fullmatch(text) is not None


def births_of_ids(row_ids: Iterable[str], streams: Sequence[PartitionKey]) -> NDArray[np.int64]:
    """The births of the rows without a key that have these ids, ascending, each once.

    An id is ``source/partition/offset``, and the source may hold slashes. All must be what
    :func:`is_id` takes; those of other partitions, or beyond all offsets, name no row.
    """
    firsts = {f"{key[0]}/{key[1]}": n << OFFSET_BITS for n, key in enumerate(streams)}
    found = []
    for row_id in row_ids:
        stream, _, offset = row_id.rpartition("/")
        first = firsts.get(stream)
        if first is not None and int(offset) <= OFFSET_MAX:
            found.append(first | int(offset))
    return np.unique(np.asarray(found, dtype=np.int64))


def cut_births(streams: Sequence[PartitionKey], cut: PositionVector) -> NDArray[np.int64]:
    """For each stream, the first birth that is not in the cut any more."""
    offsets = np.asarray([cut[key] for key in streams], dtype=np.int64)
    numbers = np.arange(len(streams), dtype=np.int64) << OFFSET_BITS
    return numbers | np.clip(offsets, 0, OFFSET_MAX)
