"""Decoded blocks, kept while they fit: the least recently used ones go first.

Blocks are immutable and named by opened segment, column and page, so nothing is ever invalidated;
what belongs to a removed shard is simply not asked for any more and goes.
"""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """A cache at one moment; the last three count since it was made."""

    size_bytes: int
    size_bytes_max: int
    hits: int = 0
    misses: int = 0
    evictions: int = 0


class PageCache:
    """A thread-safe LRU with a byte budget. A key names values of one type only."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._hits = self._misses = self._evictions = 0
        self._lock = threading.Lock()
        self._scopes = itertools.count()
        self._blocks: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()

    def scope(self) -> int:
        """A number that no one else has, to begin keys with."""
        return next(self._scopes)

    def find(self, key: Hashable) -> object | None:
        """The block of this name, if it is at hand."""
        with self._lock:
            found = self._blocks.get(key)
            if found is None:
                self._misses += 1
                return None
            self._hits += 1
            self._blocks.move_to_end(key)
            return found[0]

    def find_all(self, keys: Sequence[Hashable]) -> list[object | None]:
        """The blocks of these names, None for those that are not at hand."""
        blocks, found = self._blocks, list[object | None]()
        with self._lock:
            for key in keys:
                entry = blocks.get(key)
                if entry is None:
                    found.append(None)
                else:
                    blocks.move_to_end(key)
                    found.append(entry[0])
            missing = found.count(None)
            self._misses += missing
            self._hits += len(found) - missing
        return found

    def put(self, key: Hashable, block: object, size_bytes: int) -> None:
        """Keeps a block, unless one of this name is here or it alone exceeds the budget."""
        with self._lock:
            if key not in self._blocks and size_bytes <= self._bytes_max:
                self._blocks[key] = (block, size_bytes)
                self._bytes += size_bytes
                while self._bytes > self._bytes_max:
                    _, (_, freed) = self._blocks.popitem(last=False)
                    self._bytes -= freed
                    self._evictions += 1

    def replace(self, key: Hashable, block: object, size_bytes: int) -> None:
        """Keeps a block in the place of the one of this name."""
        with self._lock:
            _, freed = self._blocks.pop(key, (None, 0))
            self._bytes -= freed
        self.put(key, block, size_bytes)

    def get(self, key: Hashable, load: Callable[[], T], size_bytes: Callable[[T], int]) -> T:
        """The block of this name, loaded where it is not at hand. Raises what ``load`` raises."""
        found = self.find(key)
        if found is not None:
            return cast(T, found)
        block = load()
        self.put(key, block, size_bytes(block))
        return block

    @property
    def size_bytes(self) -> int:
        """Bytes of the blocks at hand."""
        return self._bytes

    def usage(self) -> CacheUsage:
        """What was found, and what it holds."""
        with self._lock:
            return CacheUsage(
                self._bytes, self._bytes_max, self._hits, self._misses, self._evictions
            )
