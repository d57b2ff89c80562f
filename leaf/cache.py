"""Decoded pages, kept while they fit: least recently used ones go first.

Pages are immutable and named by store, segment, column and page, so nothing is ever invalidated;
what belongs to a removed shard is simply not asked for any more and goes.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class PageCache(Generic[T]):
    """A thread-safe LRU with a byte budget."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lock = threading.Lock()
        self._pages: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], T], size_bytes: Callable[[T], int]) -> T:
        """The page of this name, loaded where it is not at hand. Raises what ``load`` raises."""
        with self._lock:
            found = self._pages.get(key)
            if found is not None:
                self._pages.move_to_end(key)
                return found[0]
        page = load()
        size = size_bytes(page)
        with self._lock:
            if key not in self._pages and size <= self._bytes_max:
                self._pages[key] = (page, size)
                self._bytes += size
                while self._bytes > self._bytes_max:
                    _, (_, freed) = self._pages.popitem(last=False)
                    self._bytes -= freed
        return page

    @property
    def size_bytes(self) -> int:
        """Bytes of the pages at hand."""
        return self._bytes
