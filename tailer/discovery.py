"""Finds the files of a source and registers them as partitions.

A file is registered once it kept its size and time from one listing to the next; from then on it is
that file: one that changed is reported, never read again under the old name.
"""

import asyncio
import glob
import logging
import os
import stat
from urllib.parse import unquote

from alder.catalog import Source
from alder.errors import AlderError
from alder.interfaces import CatalogClient
from alder.v1 import catalog_pb2
from tailer.settings import TailerSettings

logger = logging.getLogger(__name__)


class Discovery:
    """Lists one source's glob again and again."""

    def __init__(
        self, catalog: CatalogClient, collection: str, source: Source, settings: TailerSettings
    ) -> None:
        self.collection = collection
        self.errors: dict[int, str] = {}
        self._catalog = catalog
        self._source = source
        self._settings = settings
        self._is_full = False

    @property
    def source(self) -> str:
        """Name of the source."""
        return self._source.name

    def follow(self, source: Source) -> None:
        """Takes the source's partitions as the catalog has them now."""
        self._source = source

    async def run(self) -> None:
        """Lists until cancelled. Raises only for a defect."""
        before: dict[str, str] = {}
        while True:
            found = await asyncio.to_thread(list_files, self._source.url)
            known = {entry.name: entry for entry in self._source.partitions}
            new = {path: identity for path, identity in found.items() if path not in known}
            self._report_changed(found)
            settled = [path for path, identity in new.items() if before.get(path) == identity]
            before = new
            if settled:
                await self._register({path: new[path] for path in settled})
            waiting = len(new) > len(settled)
            await asyncio.sleep(
                self._settings.discovery_settle_s
                if waiting
                else self._settings.discovery_interval_s
            )

    def _report_changed(self, found: dict[str, str]) -> None:
        for entry in self._source.partitions:
            identity = found.get(entry.name, entry.identity)
            if identity != entry.identity and entry.partition not in self.errors:
                reason = (
                    f"file {entry.name} changed after it was registered and is not read again; "
                    "write further records to a new file"
                )
                logger.error("%s/%s: %s", self.collection, self.source, reason)
                self.errors[entry.partition] = reason

    async def _register(self, files: dict[str, str]) -> None:
        room = self._settings.files_per_source_max - len(self._source.partitions)
        if len(files) > room and not self._is_full:
            self._is_full = True
            logger.error(
                "%s/%s has more than %d files; those beyond are not read: use fewer, larger files",
                self.collection,
                self.source,
                self._settings.files_per_source_max,
            )
        request = catalog_pb2.RegisterPartitionsRequest(
            collection=self.collection,
            source=self.source,
            found=[
                catalog_pb2.SourcePartition(name=path, identity=files[path])
                for path in sorted(files)[: max(room, 0)]
            ],
        )
        if not request.found:
            return
        try:
            response = await self._catalog.register_partitions(request, timeout_s=10)
        except AlderError as error:
            logger.warning("%s/%s: files not registered: %s", self.collection, self.source, error)
        else:
            self._source = Source.from_proto(response.source)


def list_files(url: str) -> dict[str, str]:
    """The regular files that a file:// URL with globs names, with their identities, sorted."""
    found: dict[str, str] = {}
    for path in sorted(glob.glob(path_of(url), recursive=True)):
        try:
            status = os.stat(path)
        except OSError as error:
            logger.info("%s can't be looked at: %s", path, error)
            continue
        if stat.S_ISREG(status.st_mode):
            found[path] = identity_of(status)
    return found


def path_of(url: str) -> str:
    """The glob in a file:// URL; a directory stands for all files in it."""
    path = unquote(url.removeprefix("file://"))
    return os.path.join(path, "*") if os.path.isdir(path) else path


def identity_of(status: os.stat_result) -> str:
    """What makes it the same file: ``size:mtime_ns``."""
    return f"{status.st_size}:{status.st_mtime_ns}"
