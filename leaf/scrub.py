"""Reads everything that a shard stores, and says what is damaged."""

from alder.errors import AlderError, Reason
from alder.rocks import Store
from leaf import layout
from leaf.format.frame import check_frame
from leaf.format.meta import META_SUFFIX, PAGE, TERMS, decode_meta, suffix
from leaf.indexes.kinds import KINDS
from leaf.layout import Manifest, SegmentEntry


def damage_of(store: Store, manifest: Manifest, name: str) -> str:
    """The first damage found in segments and keys; empty if there is none. Blocks for long."""
    try:
        for _ in store.scan(layout.KEYS):
            pass
        for entry in manifest.segments:
            _check_segment(store, entry, f"segment {entry.segment} of shard {name}")
    except AlderError as error:
        if error.reason is not Reason.CORRUPT:
            raise
        return error.message
    return ""


def _check_segment(store: Store, entry: SegmentEntry, what: str) -> None:
    begin, end = layout.number_key(entry.segment), layout.number_key(entry.segment + 1)
    size_bytes = 0
    found: dict[bytes, bytes] = {}
    for family in layout.SEGMENT_FAMILIES:
        for key, value in store.scan(family, begin, end):
            block = key[len(begin) :]
            check_frame(value, f"a block in {what}")
            size_bytes += len(value)
            found[block] = value if block == META_SUFFIX else b""
    if META_SUFFIX not in found:
        raise AlderError(Reason.CORRUPT, f"the description of {what} is missing")
    for column, meta in decode_meta(
        found[META_SUFFIX], f"the description of {what}"
    ).columns.items():
        needed = {
            suffix(meta.number, PAGE, page)
            for page in range(meta.pages)
            if not meta.zone_of_page(page).empty
        }
        if meta.coded:
            needed.add(suffix(meta.number, TERMS))
        for index in meta.indexes:
            needed |= KINDS[index.kind].needed(meta.number, index.details)
        if not needed <= found.keys():
            raise AlderError(Reason.CORRUPT, f"a block of column {column!r} in {what} is missing")
    if size_bytes != entry.size_bytes:
        # An index may do without a block, so that nothing else tells of one that is lost.
        raise AlderError(Reason.CORRUPT, f"a block of {what} is missing")
