"""What the parts of a shard share: its store, its manifest, and the view that readers take.

The order of every change is commit, manifest, view, under one lock: a reader never sees what the
store could lose alone, and a failed commit leaves everything as it was.
"""

import threading
from dataclasses import dataclass
from typing import Final

from alder.errors import AlderError, Reason
from alder.rocks import Batch, Store
from leaf import layout
from leaf.layout import Manifest
from leaf.segments import SegmentFiles
from leaf.view import ShardView


@dataclass(frozen=True, slots=True)
class SyncMark:
    """What a sync has to bring to disk, and the failures before it."""

    unsynced: bool
    failures: int


class Replica:
    """Manifest and view change under :attr:`lock` only; anybody may read them at any time."""

    def __init__(
        self, store: Store, segments: SegmentFiles, manifest: Manifest, view: ShardView
    ) -> None:
        self.lock: Final = threading.Lock()
        self.store: Final = store
        self.segments: Final = segments
        self.manifest = manifest
        self.view = view
        self.failing = False
        """True from a write that failed on to the next one that does not."""
        self.deaths_replaced = 0
        """Grows when deaths that were stored before are stored no more, but for a purge."""
        self._failures = 0
        self._unsynced = False

    def commit(self, batch: Batch) -> None:
        """Writes a batch; the lock is held. Raises AlderError(UNAVAILABLE) where it can't."""
        self._unsynced = True
        try:
            self.store.write(batch)
        except Exception as error:
            self._fail()
            raise _cannot_write(error) from error

    def publish(self, batch: Batch, manifest: Manifest, view: ShardView) -> None:
        """Commits a batch with the manifest in it, and installs both; the lock is held.

        Raises AlderError(UNAVAILABLE) where the store can't write.
        """
        batch.put(layout.META, layout.MANIFEST_KEY, layout.encode_manifest(manifest))
        self.commit(batch)
        self.manifest, self.view = manifest, view

    def mark(self) -> SyncMark:
        """What is to be synced, taken while the lock is held, for :meth:`flush`."""
        mark = SyncMark(self._unsynced, self._failures)
        self._unsynced = False
        return mark

    def flush(self, mark: SyncMark) -> None:
        """Brings what was committed before the mark to disk; the lock need not be held.

        Raises AlderError(UNAVAILABLE) where the store can't write.
        """
        if not mark.unsynced:
            return
        try:
            self.store.sync()
        except Exception as error:
            self._unsynced = True
            self._fail()
            raise _cannot_write(error) from error
        # A push may have failed meanwhile.
        self.failing = self.failing and mark.failures != self._failures

    def _fail(self) -> None:
        self.failing = True
        self._failures += 1


def _cannot_write(error: Exception) -> AlderError:
    return AlderError(
        Reason.UNAVAILABLE,
        f"the shard can't be written ({error}); queries go on, and writing is tried again by "
        "itself; make room if the disk is full",
    )
