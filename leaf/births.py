"""Births: the identity of a row inside one shard, packed into one int64.

A row is born at (source, partition, offset). A shard numbers the partitions that it has seen
("streams"); a birth is the stream's number in the high bits and the row's place in its stream in
the low ones, so that sets of births are plain integer arrays and ascend with the log inside a
stream.

The place is the offset. Where a record may become several documents it is the offset followed by
the bits of the document's ordinal in its record, so births still name one row each, in the order of
the log, and whatever only compares births needs not know. A cut lies between two records, never
inside of one.
"""

import re
from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.positions import PartitionKey, PositionVector

PLACE_BITS: Final = 46
PLACE_MAX: Final = (1 << PLACE_BITS) - 1
STREAM_MAX: Final = (1 << (63 - PLACE_BITS)) - 1
_ID: Final = re.compile(r"(.*)/(0|[1-9][0-9]{0,9})/(0|[1-9][0-9]{0,13})", re.DOTALL)
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,13}")


class Streams(tuple[PartitionKey, ...]):
    """The partitions of a shard in the order of their numbers, and how places in them are made.

    ``ordinal_bits``: the low bits of a place that are the document's ordinal; 0 where a record
    becomes one document at most.
    """

    ordinal_bits: int

    def __new__(cls, keys: Iterable[PartitionKey] = (), ordinal_bits: int = 0) -> "Streams":
        made = super().__new__(cls, keys)
        made.ordinal_bits = ordinal_bits
        return made

    def with_key(self, key: PartitionKey) -> "Streams":
        """These and one more."""
        return Streams((*self, key), self.ordinal_bits)

    def offsets_of(self, births: NDArray[np.int64]) -> NDArray[np.int64]:
        """The offset of the record of each birth."""
        return places_of(births) >> self.ordinal_bits

    def ordinals_of(self, births: NDArray[np.int64]) -> pa.Array:
        """The ordinal (int64) of each birth, null where there are none."""
        if not self.ordinal_bits:
            return pa.nulls(len(births), pa.int64())
        return pa.array(births & ((1 << self.ordinal_bits) - 1))

    def first_places(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each offset the place of its first document; those beyond all have the last place."""
        return np.minimum(offsets, PLACE_MAX >> self.ordinal_bits) << self.ordinal_bits

    def ids_of(self, births: NDArray[np.int64]) -> list[str]:
        """The ids of rows without a key, which :func:`births_of_ids` takes."""
        numbers, offsets = streams_of(births).tolist(), self.offsets_of(births).tolist()
        ids = [f"{self[n][0]}/{self[n][1]}/{at}" for n, at in zip(numbers, offsets, strict=True)]
        if not self.ordinal_bits:
            return ids
        ordinals = self.ordinals_of(births).to_pylist()
        return [f"{one}/{ordinal}" for one, ordinal in zip(ids, ordinals, strict=True)]


def check(stream: int, to_offset: int, ordinal_bits: int) -> None:
    """Raises AlderError(LIMIT) where births of this range do not fit."""
    offset_max = PLACE_MAX >> ordinal_bits
    if not (0 <= stream <= STREAM_MAX and 0 <= to_offset <= offset_max):
        raise AlderError(
            Reason.LIMIT,
            f"a shard takes {STREAM_MAX + 1} partitions and offsets up to {offset_max}; "
            "spread the source over more collections",
        )


def pack(stream: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The births of rows of one stream."""
    return np.int64(stream << PLACE_BITS) | places


def streams_of(births: NDArray[np.int64]) -> NDArray[np.int64]:
    """The stream of each birth."""
    return births >> PLACE_BITS


def places_of(births: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each birth in its stream."""
    return births & PLACE_MAX


def is_id(text: str) -> bool:
    """True if a row without a key could have this id."""
    return _ID.fullmatch(text) is not None


def births_of_ids(row_ids: Iterable[str], streams: Streams) -> NDArray[np.int64]:
    """The births of the rows without a key that have these ids, ascending, each once.

    An id is ``source/partition/offset``, and ``/ordinal`` where a record may become several
    documents; the source may hold slashes. All must be what :func:`is_id` takes; those of other
    partitions, or beyond all offsets and ordinals, name no row.
    """
    bits = streams.ordinal_bits
    firsts = {f"{key[0]}/{key[1]}": n << PLACE_BITS for n, key in enumerate(streams)}
    found = []
    for row_id in row_ids:
        rest, _, ordinal = row_id.rpartition("/") if bits else (row_id, "", "0")
        stream, _, offset = rest.rpartition("/")
        first = firsts.get(stream)
        if first is None or not _NUMBER.fullmatch(offset):
            continue
        if int(offset) <= PLACE_MAX >> bits and int(ordinal) < 1 << bits:
            found.append(first | int(offset) << bits | int(ordinal))
    return np.unique(np.asarray(found, dtype=np.int64))


def cut_births(streams: Streams, cut: PositionVector) -> NDArray[np.int64]:
    """For each stream, the first birth that is not in the cut any more."""
    offsets = np.asarray([cut[key] for key in streams], dtype=np.int64)
    numbers = np.arange(len(streams), dtype=np.int64) << PLACE_BITS
    return numbers | np.maximum(streams.first_places(offsets), 0)
