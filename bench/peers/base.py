"""What a peer can do: a protocol per capability; a row asks the peers that have it.

A peer is made over an empty folder, which starts it; it raises :class:`MissingError` with the
reason where its package or program can't be had.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

Rows = list[tuple[object, ...]]
Terms = Sequence[tuple[str, str]]
"""Conditions that must all hold: a dotted path of a document, and the string that it must be."""
NO_LIMIT_S = 1e9


class MissingError(Exception):
    """A peer that can't run here; the text says why."""


class Peer(Protocol):
    """A system under comparison, over the events of JSONBench."""

    name: ClassVar[str]
    indexes_every_field: ClassVar[bool]
    note: ClassVar[str]
    """How it is set up, where there was a choice."""

    def load(self, path: Path, seconds_max: float = NO_LIMIT_S) -> int:
        """Loads JSON lines from the beginning; all durable and queryable when it returns.

        Takes no more of them once ``seconds_max`` is over; returns how many it has.
        """
        ...

    def size_bytes(self) -> int:
        """Bytes on disk."""
        ...

    def close(self) -> None:
        """Ends it; its files stay."""
        ...


@runtime_checkable
class Questions(Peer, Protocol):
    """Answers JSONBench's questions exactly."""

    def ask(self, question: str) -> Rows:
        """The answer to Q1 ... Q5, values in the form of :func:`bench.questions.plain`."""
        ...


@runtime_checkable
class Search(Peer, Protocol):
    """Finds documents by ANDed terms."""

    def count(self, terms: Terms) -> int:
        """How many documents match."""
        ...

    def newest(self, terms: Terms, limit: int) -> list[int]:
        """``time_us`` of the newest matching documents, which are fetched whole."""
        ...


@runtime_checkable
class TimedSearch(Search, Protocol):
    """Tells how long its server took, without the way there."""

    def server_ms(self, terms: Terms) -> float:
        """Planning and execution of one count."""
        ...


@runtime_checkable
class Lookup(Peer, Protocol):
    """Gives documents back by their identity, the number of the row in the file, from 0."""

    def one(self, row: int) -> str:
        """The document as JSON text."""
        ...

    def many(self, rows: Sequence[int]) -> list[str]:
        """The documents, in any order."""
        ...


@runtime_checkable
class Stream(Peer, Protocol):
    """Takes small batches of any documents, durably, while it is asked."""

    def append(self, documents: Sequence[bytes]) -> None:
        """Returns when the documents are durable and a query sees them. Safe for threads."""
        ...

    def appended(self) -> int:
        """How many documents of :meth:`append` a query sees."""
        ...


def tree_bytes(folder: Path) -> int:
    """Bytes that the files below a folder occupy on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
