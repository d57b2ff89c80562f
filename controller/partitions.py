"""Numbers for the files of a source. A number names one file for ever: positions refer to it."""

from collections.abc import Iterable
from dataclasses import replace

from alder.catalog import Source, SourcePartition
from alder.errors import AlderError, Reason


def registered(source: Source, found: Iterable[SourcePartition]) -> Source:
    """The source with the files that it did not know; itself where all are known.

    New files get the numbers after the largest, in the order found. Raises
    AlderError(IDENTITY_CHANGED) where a known name comes with another identity.
    """
    known = {entry.name: entry for entry in source.partitions}
    number = max((entry.partition for entry in source.partitions), default=-1)
    added = []
    for entry in found:
        before = known.get(entry.name)
        if before is None:
            number += 1
            before = replace(entry, partition=number)
            known[entry.name] = before
            added.append(before)
        elif before.identity != entry.identity:
            raise AlderError(
                Reason.IDENTITY_CHANGED,
                f"the file {entry.name} changed after it was registered; files of a source are "
                "not rewritten: give the new content another name",
                source=source.name,
                partition=str(before.partition),
            )
    if not added:
        return source
    return replace(source, partitions=(*source.partitions, *added))
