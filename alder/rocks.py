"""RocksDB, with the traps of its binding closed. Nothing else imports rocksdict.

Keys and values are bytes (raw mode everywhere); column families are fixed at opening and their
handles live as long as the store; scans are bounded here by comparing keys, because the binding
loses bounds whose bytes have been collected; syncing goes through ``flush_wal``, because a synced
write would hold the interpreter's lock during the fsync.
"""

import stat
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

from rocksdict import (
    BlockBasedOptions,
    Cache,
    ColumnFamily,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from alder.errors import AlderError, Reason


@dataclass(frozen=True, slots=True)
class FamilyOptions:
    """How a column family is kept. Blobs suit values of kilobytes and more.

    ``blobs_compressed`` is for values that are not compressed already. ``blobs_rewritten`` moves
    what is left of old blob files to new ones; without it a file goes when all of it is deleted,
    which suits keys that are deleted as they were flushed, in ranges. ``filtered`` is for a family
    that is asked for keys that it has not; hardly any of them is then looked for in the files.
    """

    blobs: bool = False
    blob_size_bytes_min: int = 4096
    blobs_compressed: bool = False
    blobs_rewritten: bool = True
    compressed: bool = True
    filtered: bool = False
    write_buffer_bytes: int = 16 << 20


class StoreMemory:
    """The memory that all stores of a process share, so that many stores need no more than one."""

    def __init__(self, block_cache_bytes: int, write_buffers_bytes: int) -> None:
        """Write buffers beyond their limit are flushed early; writers never wait for that."""
        self._cache = Cache(block_cache_bytes)
        self._write_buffers = WriteBufferManager(write_buffers_bytes, False)

    @property
    def write_buffers_bytes(self) -> int:
        """Bytes of all write buffers at the moment."""
        return self._write_buffers.get_usage()

    def limit(self, options: Options, table: BlockBasedOptions) -> None:
        """Makes a store's options share this memory."""
        table.set_block_cache(self._cache)
        options.set_write_buffer_manager(self._write_buffers)


_DEFAULT: Final = "default"
_BLOCK_BYTES: Final = 16 << 10
_FILTER_BITS: Final = 10
"""Of memory per key; one absent key in a hundred is looked for in vain."""
_WAL_BYTES_MAX: Final = 64 << 20
"""Bytes of write-ahead log from which on what keeps it is flushed."""


class Batch:
    """Writes that become visible and durable together. Used once."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._batch = WriteBatch(raw_mode=True)

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Sets a key."""
        self._batch.put(key, value, self._store.handle(family))

    def put_all(self, family: str, values: Mapping[bytes, bytes]) -> None:
        """Sets keys, for less than one by one."""
        put, handle = self._batch.put, self._store.handle(family)
        for key, value in values.items():
            put(key, value, handle)

    def delete(self, family: str, key: bytes) -> None:
        """Removes a key, if it is there."""
        self._batch.delete(key, self._store.handle(family))

    def delete_range(self, family: str, begin: bytes, end: bytes) -> None:
        """Removes the keys in ``[begin, end)``."""
        self._batch.delete_range(begin, end, self._store.handle(family))

    @property
    def size_bytes(self) -> int:
        """Size of the batch so far."""
        return self._batch.size_in_bytes()

    @property
    def raw(self) -> WriteBatch:
        """The binding's batch, for :meth:`Store.write`."""
        return self._batch


class Store:
    """One RocksDB. Calls block; they belong on worker threads."""

    def __init__(
        self,
        path: Path,
        families: Mapping[str, FamilyOptions],
        strict_wal: bool = False,
        memory: StoreMemory | None = None,
    ) -> None:
        """Opens or creates the store, with memory of its own where none is shared.

        A damaged write-ahead log is replayed up to the damage; with ``strict_wal`` that is an error
        unless only the last write is incomplete, for stores whose writes can't be had again.
        Raises AlderError(UNAVAILABLE) where another process has it open, CORRUPT where RocksDB
        can't read it.
        """
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        options = {name: _options(family, memory) for name, family in families.items()}
        database = _options(FamilyOptions(), memory)
        if strict_wal:
            database.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
        try:
            default = _options(FamilyOptions(), memory)
            self._db = Rdict(str(path), database, {**options, _DEFAULT: default})
        except Exception as error:
            raise _opening_error(path, error) from error
        self._families: dict[str, Rdict] = {
            name: self._db.get_column_family(name) for name in families
        }
        self._handles: dict[str, ColumnFamily] = {
            name: self._db.get_column_family_handle(name) for name in families
        }
        self._unlogged = _unlogged_options()

    def handle(self, family: str) -> ColumnFamily:
        """The binding's handle of a column family."""
        self._check_open()
        return self._handles[family]

    def batch(self) -> Batch:
        """A new batch."""
        return Batch(self)

    def write(self, batch: Batch, sync: bool = False) -> None:
        """Commits a batch atomically. With ``sync`` it is on disk when this returns.

        Raises AlderError(UNAVAILABLE) where the disk refuses; what is on disk is then unknown.
        """
        with self._writing():
            self._db.write(batch.raw)
        if sync:
            self.sync()

    def write_unlogged(self, batch: Batch) -> None:
        """Writes a batch that a crash loses unless :meth:`flush` came after it. Raises as write."""
        with self._writing():
            self._db.write(batch.raw, self._unlogged)

    def flush(self, family: str) -> None:
        """Brings all of a family to its files on disk. Does not hold the interpreter's lock.

        Raises AlderError(UNAVAILABLE).
        """
        with self._writing():
            self._families[family].flush()

    def compact(self, family: str, begin: bytes, end: bytes) -> None:
        """Frees the disk space of what was deleted in ``[begin, end)``. Raises as flush."""
        with self._writing():
            self._families[family].compact_range(begin, end)

    def sync(self) -> None:
        """Brings every earlier write to disk. Does not hold the interpreter's lock.

        Raises AlderError(UNAVAILABLE) where the disk refuses; what is on disk is then unknown.
        """
        with self._writing():
            self._db.flush_wal(sync=True)

    def get(self, family: str, key: bytes) -> bytes | None:
        """The value of a key. This and all reads raise AlderError(CORRUPT) on a bad checksum."""
        with self._reading():
            value: bytes | None = self._families[family].get(key)
        return value

    def get_many(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, in their order."""
        if not keys:
            return []
        with self._reading():
            found = self._families[family][list(keys)]
        return list(found) if found is not None else []

    def scan(
        self, family: str, begin: bytes = b"", end: bytes | None = None
    ) -> Generator[tuple[bytes, bytes], None, None]:
        """Keys and values in ``[begin, end)``, ascending. Close or exhaust it before closing."""
        with self._reading():
            iterator = self._families[family].iter(_read_options())
            iterator.seek(begin)
            while iterator.valid():
                key = iterator.key()
                if end is not None and key >= end:
                    return
                yield key, iterator.value()
                iterator.next()
            iterator.status()

    def last(self, family: str, prefix: bytes) -> tuple[bytes, bytes] | None:
        """The entry with the largest key that begins with ``prefix``."""
        return self.floor(family, prefix + b"\xff" * 16, prefix)

    def floor(self, family: str, key: bytes, prefix: bytes) -> tuple[bytes, bytes] | None:
        """The entry with the largest key that is at most ``key`` and begins with ``prefix``."""
        with self._reading():
            iterator: RdictIter = self._families[family].iter(_read_options())
            iterator.seek_for_prev(key)
            if not iterator.valid():
                iterator.status()
                return None
            found: bytes = iterator.key()
            return (found, iterator.value()) if found.startswith(prefix) else None

    def size_bytes(self) -> int:
        """Bytes of the store's files on disk."""
        return sum(map(file_bytes, self._path.iterdir()))

    def close(self) -> None:
        """Syncs and closes. Nothing may be running on the store.

        Raises AlderError(UNAVAILABLE) where the last writes did not reach the disk; it is closed
        then, too.
        """
        try:
            self.sync()
        finally:
            self._handles.clear()
            families, self._families = list(self._families.values()), {}
            with self._ending():
                for family in families:
                    family.close()
                self._db.close()

    def _check_open(self) -> None:
        if not self._handles:
            raise AlderError(Reason.UNAVAILABLE, f"the store {self._path.name} is closed")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._check_open()
        try:
            yield
        except Exception as error:
            raise AlderError(
                Reason.CORRUPT, f"the store {self._path.name} can't be read: {error}"
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._check_open()
        with self._ending():
            yield

    @contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise AlderError(
                Reason.UNAVAILABLE,
                f"the store {self._path.name} can't be written ({error}); check the disk's space "
                "and health, then restart",
            ) from error


def file_bytes(path: Path) -> int:
    """Bytes of a file; 0 where it is none, or none any more: RocksDB removes files at any time."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def prefix_end(prefix: bytes) -> bytes | None:
    """The smallest key after all keys that begin with ``prefix``; None if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


class _Unlogged(Protocol):
    """What WriteOptions has; the binding's stub says that it is a method."""

    disable_wal: bool


def _unlogged_options() -> WriteOptions:
    options = WriteOptions()
    cast(_Unlogged, options).disable_wal = True
    return options


def _read_options() -> ReadOptions:
    options = ReadOptions()
    options.set_verify_checksums(True)
    return options


def _options(family: FamilyOptions, memory: StoreMemory | None) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_write_buffer_size(family.write_buffer_bytes)
    options.set_keep_log_file_num(2)
    # A column's blocks lie one after the other, and most reads of a disk are of whole columns.
    options.set_advise_random_on_open(False)
    options.set_max_total_wal_size(_WAL_BYTES_MAX)
    table = BlockBasedOptions()
    table.set_block_size(_BLOCK_BYTES)
    if family.filtered:
        table.set_bloom_filter(_FILTER_BITS, False)
    if memory is not None:
        memory.limit(options, table)
    options.set_block_based_table_factory(table)
    options.set_compression_type(
        DBCompressionType.lz4() if family.compressed else DBCompressionType.none()
    )
    if family.blobs:
        options.set_enable_blob_files(True)
        options.set_min_blob_size(family.blob_size_bytes_min)
        options.set_enable_blob_gc(family.blobs_rewritten)
        if family.blobs_compressed:
            options.set_blob_compression_type(DBCompressionType.lz4())
    return options


def _opening_error(path: Path, error: Exception) -> AlderError:
    text = str(error)
    if "lock" in text.lower():
        return AlderError(
            Reason.UNAVAILABLE, f"the store {path.name} is open in another process; stop that first"
        )
    return AlderError(Reason.CORRUPT, f"the store {path.name} can't be opened: {text}")
