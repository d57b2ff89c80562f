"""Partials of accelerated views, kept in the shard's store beside the segments that they are of.

They are derived data, written after their segment was published and in no batch with anything else:
losing some costs computing them again. A partial is named by its fragment and its segment, and says
of which rows it is: a digest of the segment's description and of the rows alive. It answers only
for exactly those, so an earlier cut, a later death or a number that was given out again after a
crash make it unfit, never wrong.

Three kinds of key in one family: the fragments that are kept (``f``), what a partial is of and how
large (``i``), and the partial (``p``), an Arrow IPC stream.
"""

import hashlib
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from google.protobuf.message import DecodeError

from alder.arrow import from_bytes, to_bytes
from alder.errors import AlderError, Reason
from alder.rocks import Store, prefix_end
from alder.v1 import leaf_pb2
from leaf import layout
from leaf.partials import fingerprint, rows_key
from leaf.pieces import Piece
from leaf.segment import Segment

_FRAGMENT: Final = b"f"
_INDEX: Final = b"i"
_PARTIAL: Final = b"p"
_NAME_BYTES: Final = 16
_SIZE: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a stored partial is of, and its size on disk."""

    digest: bytes
    size_bytes: int


class StoredPartials:
    """The kept fragments of one shard and their partials. Thread-safe; calls may block."""

    def __init__(self, store: Store, keyed: bool) -> None:
        """Raises AlderError(CORRUPT) where what is kept can't be read."""
        self._store = store
        self._keyed = keyed
        self._lock = threading.Lock()
        self._cold: set[bytes] = set()
        self._kept = {key[1:]: _decoded(value) for key, value in self._scan(_FRAGMENT)}
        self._entries = {
            (key[1 : 1 + _NAME_BYTES], layout.number_of(key[1 + _NAME_BYTES :])): _Entry(
                value[: -_SIZE.size], _SIZE.unpack(value[-_SIZE.size :])[0]
            )
            for key, value in self._scan(_INDEX)
        }

    @property
    def kept(self) -> Mapping[bytes, leaf_pb2.KeptFragment]:
        """The fragments that are kept, by their fingerprint."""
        return self._kept

    @property
    def size_bytes(self) -> int:
        """Bytes of all partials on disk."""
        with self._lock:
            return sum(entry.size_bytes for entry in self._entries.values())

    def keep(self, view: str, kept: Iterable[leaf_pb2.KeptFragment]) -> None:
        """Keeps these fragments of a view from now on, and no others of it.

        Raises AlderError(UNAVAILABLE) where the store can't write.
        """
        wanted = {fingerprint(one.fragment, self._keyed): one for one in kept}
        with self._lock:
            batch = self._store.batch()
            for name, one in wanted.items():
                batch.put(layout.PARTIALS, _FRAGMENT + name, one.SerializeToString())
            self._store.write(batch)
            self._kept = {**self._kept, **wanted}
        self.forget(lambda name, one: one.view == view and name not in wanted)

    def forget(self, which: Callable[[bytes, leaf_pb2.KeptFragment], bool]) -> None:
        """Keeps some fragments no more, and removes their partials. Raises UNAVAILABLE."""
        with self._lock:
            gone = [name for name, one in self._kept.items() if which(name, one)]
            if not gone:
                return
            batch = self._store.batch()
            for name in gone:
                batch.delete(layout.PARTIALS, _FRAGMENT + name)
                for kind in (_INDEX, _PARTIAL):
                    end = prefix_end(kind + name)
                    if end is not None:
                        batch.delete_range(layout.PARTIALS, kind + name, end)
            self._store.write(batch)
            self._kept = {name: one for name, one in self._kept.items() if name not in gone}
            self._entries = {
                key: entry for key, entry in self._entries.items() if key[0] not in gone
            }

    def forget_segments(self, numbers: Iterable[int]) -> None:
        """Removes the partials of all segments but these. Raises UNAVAILABLE."""
        left = set(numbers)
        with self._lock:
            gone = [key for key in self._entries if key[1] not in left]
            batch = self._store.batch()
            for name, number in gone:
                for kind in (_INDEX, _PARTIAL):
                    batch.delete(layout.PARTIALS, _key(kind, name, number))
            if gone:
                self._store.write(batch)
                for key in gone:
                    del self._entries[key]

    def has(self, name: bytes, piece: Piece) -> bool:
        """True if the partial of a fragment over exactly these rows of a segment is stored."""
        segment = piece.holder
        if not isinstance(segment, Segment) or name not in self._kept:
            return False
        entry = self._entries.get((name, segment.number))
        return entry is not None and entry.digest == _digest(segment, piece)

    def table(self, name: bytes, piece: Piece) -> pa.Table | None:
        """The partial of a fragment over exactly these rows of a segment; None if there is none.

        Raises AlderError(CORRUPT).
        """
        segment = piece.holder
        if not isinstance(segment, Segment) or not self.has(name, piece):
            return None
        data = self._store.get(layout.PARTIALS, _key(_PARTIAL, name, segment.number))
        return None if data is None else from_bytes(data)

    def put(self, name: bytes, piece: Piece, table: pa.Table, room_bytes: int) -> bool:
        """Stores a partial unless it needs more room; tells which. Raises UNAVAILABLE."""
        segment = piece.holder
        if not isinstance(segment, Segment):
            raise ValueError("only partials of sealed segments are stored")
        data = to_bytes(table, "zstd")
        digest = _digest(segment, piece)
        key = name, segment.number
        with self._lock:
            known = self._entries.get(key)
            if name not in self._kept:
                return False
            if len(data) > room_bytes + (0 if known is None else known.size_bytes):
                return False
            batch = self._store.batch()
            batch.put(layout.PARTIALS, _key(_PARTIAL, *key), data)
            batch.put(layout.PARTIALS, _key(_INDEX, *key), digest + _SIZE.pack(len(data)))
            self._store.write(batch)
            self._entries[key] = _Entry(digest, len(data))
        return True

    def asked_cold(self, name: bytes) -> None:
        """Notes that a fragment was asked for while memory did not have all of it."""
        with self._lock:
            self._cold.add(name)

    def take_cold(self) -> list[leaf_pb2.KeptFragment]:
        """The fragments noted since the last call."""
        with self._lock:
            names, self._cold = self._cold, set()
            return [self._kept[name] for name in names if name in self._kept]

    def progress(self, view: str, segments: Iterable[Segment]) -> tuple[int, int]:
        """Pairs of a fragment of a view and a segment that are stored, and all of them."""
        names = [name for name, one in self._kept.items() if one.view == view]
        pairs = [(name, segment.number) for name in names for segment in segments]
        return sum(pair in self._entries for pair in pairs), len(pairs)

    def _scan(self, kind: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._store.scan(layout.PARTIALS, kind, prefix_end(kind))


def _decoded(data: bytes) -> leaf_pb2.KeptFragment:
    try:
        return leaf_pb2.KeptFragment.FromString(data)
    except DecodeError as error:
        raise AlderError(Reason.CORRUPT, f"a kept fragment can't be read: {error}") from error


def _key(kind: bytes, name: bytes, number: int) -> bytes:
    return kind + name + layout.number_key(number)


def _digest(segment: Segment, piece: Piece) -> bytes:
    """Of which rows a partial is: those of a segment, told by its description, that are alive."""
    described = struct.pack(">qqq", segment.rows, segment.time_low_us, segment.time_high_us)
    alive = rows_key(segment, piece)[1]
    data = described + segment.last_births.astype(">i8").tobytes() + b"\0" + alive
    return hashlib.blake2b(data, digest_size=_NAME_BYTES).digest()
