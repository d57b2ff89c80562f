"""Finds the files of a source and registers them as partitions.

A file is registered once it kept its size and time from one listing to the next; from then on it is
that file. One that changed is reported, or, by setting, registered as another partition: its new
generation. What is read under a number never changes.
"""

import asyncio
import logging
from typing import Final

from alder.catalog import Source
from alder.errors import AlderError
from alder.interfaces import CatalogClient
from alder.v1 import catalog_pb2
from tailer.settings import TailerSettings
from tailer.sources.listing import Listing, list_files

LISTING: Final = -1
"""The number under which the listing itself has an error; no file has it."""

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
        self._rereads = settings.changed_files == "reread"

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
        failures = 0
        while True:
            listing = await self._list()
            if listing is None:
                failures += 1
                await asyncio.sleep(self._settings.listing_delay_s(failures))
                continue
            failures = 0
            new = self._new(listing.files)
            self._report_changed(listing.files)
            settled = [name for name, identity in new.items() if before.get(name) == identity]
            before = new
            if settled:
                await self._register({name: new[name] for name in settled})
            waiting = len(new) > len(settled)
            await asyncio.sleep(
                self._settings.discovery_settle_s
                if waiting
                else self._settings.discovery_interval_s
            )

    async def _list(self) -> Listing | None:
        """None where the files can't be listed now."""
        looked_at_max = self._settings.files_listed_max
        try:
            listing = await asyncio.to_thread(list_files, self._source.url, looked_at_max)
        except OSError as error:
            self._report(
                LISTING, f"{self._source.url} can't be listed now: {error.strerror or error}"
            )
            return None
        if listing.is_cut:
            self._report(
                LISTING,
                f"{self._source.url} has more than {looked_at_max} files to look at; those beyond "
                "are not read: name a narrower folder",
            )
        elif not listing.files and not self._source.partitions:
            self._report(
                LISTING,
                f"no file that can be looked at matches {self._source.url} yet; new ones are "
                "looked for all the time",
            )
        else:
            self.errors.pop(LISTING, None)
        return listing

    def _report(self, number: int, reason: str) -> None:
        if self.errors.get(number) != reason:
            logger.error("%s/%s: %s", self.collection, self.source, reason)
            self.errors[number] = reason

    def _new(self, found: dict[str, str]) -> dict[str, str]:
        """Files that are not registered, and, by setting, those that changed."""
        names = {entry.name for entry in self._source.partitions}
        generations = {(entry.name, entry.identity) for entry in self._source.partitions}
        return {
            name: identity
            for name, identity in found.items()
            if name not in names or (self._rereads and (name, identity) not in generations)
        }

    def _report_changed(self, found: dict[str, str]) -> None:
        new = self._new(found)
        for entry in self._source.current_partitions:
            identity = found.get(entry.name, entry.identity)
            if identity != entry.identity and entry.name not in new:
                reason = (
                    f"file {entry.name} changed after it was registered and is not read again; "
                    "write further records to a new file"
                )
                self._report(entry.partition, reason)

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
            reread=self._rereads,
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
