"""What of a file can't be read, as quarantined records: it is stated, with its place (I7)."""

from tailer.sources.model import RawBatch, gap


def broken_reason(name: str, why: str) -> str:
    """Why the rest of a file is in quarantine."""
    return f"{name} can't be read from here on ({why}); what came before is kept"


def damaged_rest(name: str, offset: int, why: str) -> RawBatch:
    """All rows from an offset on, of which nobody knows how many there are, as one record."""
    return gap(offset, offset + 1, broken_reason(name, why))


def damaged_rows(name: str, begin: int, end: int, why: str) -> RawBatch:
    """The rows of offsets ``[begin, end)`` as one record; what follows them is read."""
    reason = f"rows {begin} to {end - 1} of {name} can't be read ({why}); all others are kept"
    return gap(begin, end, reason)
