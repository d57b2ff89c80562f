"""What became of an offset that a log does not give any more: a decision without any I/O.

The invariant: no offset is passed over in silence, and none is read that another history of the log
has written. Gaps inside a log (control records, compaction) are no loss: only its bounds count.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expired:
    """Offsets up to ``begin`` were removed before they were read."""

    begin: int


@dataclass(frozen=True, slots=True)
class Truncated:
    """The log lost records that were read, and may have others in their place."""


def judged(offset: int, begin: int, end: int) -> Expired | Truncated:
    """Why an offset is refused by a log of offsets ``[begin, end)``.

    Where the offset lies inside of the log or at its end, it was refused because another leader
    than the one known has written what lies there.
    """
    return Expired(begin) if offset < begin else Truncated()
