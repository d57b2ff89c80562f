"""The key map of a keyed collection: for each key its last version in every stream.

An entry is a run of fixed records, one per stream that has the key. Nearly all keys live in one
stream, so the entries of a whole push are taken apart as one array; the few others keep their
bytes.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from leaf.births import PLACE_BITS

_VERSION: Final = struct.Struct(">qqq")
BIRTH, NUMBER, TIME_US = range(3)
"""The columns of versions as an array."""
UNNUMBERED: Final = -(1 << 63)
"""The number of a deletion that came without one."""
Versions = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Version(NamedTuple):
    """A row or deletion of a key.

    ``number`` is the value of the collection's version field, 0 where there is no such field;
    ``time_us`` is the running maximum of the log time.
    """

    birth: int
    number: int
    time_us: int

    @property
    def stream(self) -> int:
        """The stream that it came in."""
        return self.birth >> PLACE_BITS


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """What the key map says of some keys, for a push of one stream.

    ``lasts`` (int64, shape (keys, 3)) has the last version of each key that only this stream has,
    which ``known`` marks. ``spread`` marks keys that other streams have, with their ``entries``.
    """

    lasts: Versions
    known: Mask
    spread: Mask
    entries: Sequence[bytes | None]


def parsed(entries: Sequence[bytes | None], stream: int) -> KnownKeys:
    """Entries taken apart. Raises AlderError(CORRUPT)."""
    array = pa.array(entries, pa.binary())
    lengths = pc.fill_null(pc.binary_length(array), 0).to_numpy()
    if (lengths % _VERSION.size).any():
        raise AlderError(Reason.CORRUPT, "an entry of the key map is cut off")
    single = lengths == _VERSION.size
    lasts = np.zeros((len(entries), 3), dtype=np.int64)
    lasts[single] = np.frombuffer(
        b"".join(array.filter(pa.array(single)).to_pylist()), dtype=">i8"
    ).reshape(-1, 3)
    mine = single & (lasts[:, BIRTH] >> PLACE_BITS == stream)
    return KnownKeys(lasts, mine, (lengths > 0) & ~mine, entries)


def encoded(lasts: Versions) -> list[bytes]:
    """The entries of keys that one stream has."""
    data, size = lasts.astype(">i8").tobytes(), _VERSION.size
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


def encode(versions: Mapping[int, Version]) -> bytes:
    """The entry of a key, given its last version by stream."""
    return b"".join(_VERSION.pack(*version) for version in versions.values())


def decode(entry: bytes | None) -> dict[int, Version]:
    """The inverse of :func:`encode`, for an entry that :func:`parsed` has taken."""
    found = (Version(*fields) for fields in _VERSION.iter_unpack(entry or b""))
    return {version.stream: version for version in found}
