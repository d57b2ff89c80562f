"""The answer to a fragment, as an aggregator gets it.

From another process it comes as messages, which :func:`joined` puts together. Within a process a
leaf hands its table over as it is, and where the engine would run over all rows at once anyway, it
may leave that to the caller: the rows that the fragment reads cost nothing to hand over, and the
caller's engine runs the fragment as a part of the statement.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass

import pyarrow as pa

from alder.arrow import SMALL_BYTES, join_chunks
from alder.errors import AlderError, Reason
from alder.v1 import leaf_pb2

Take = Callable[[int], None]
"""Is told of bytes before they are kept. Raises AlderError(LIMIT) where they are too many."""


@dataclass(frozen=True, slots=True)
class FixedRows:
    """Says of ``rows`` rows of a table, from the one at ``begin`` on, that they never change.

    Within this process ``name`` names the same rows in the same order for ever. ``columns`` are
    what the table's columns are called where they are stored, each once, and mean the same wherever
    rows of this name are handed over.
    """

    name: Hashable
    columns: tuple[str, ...]
    begin: int
    rows: int


@dataclass(frozen=True, slots=True)
class FragmentAnswer:
    """What the stream of a fragment says (``leaf.proto``); ``size_bytes`` as it came.

    ``projection`` is empty where ``rows`` are the answer. Otherwise it is the select list that
    makes the table `rows` of them, over which the fragment's SQL is still to run. So the caller may
    keep copies of those that are ``fixed``, which follow one another from the first row on.
    """

    rows: pa.Table
    trailer: leaf_pb2.FragmentTrailer
    size_bytes: int
    projection: str = ""
    fixed: tuple[FixedRows, ...] = ()


async def joined(stream: AsyncIterator[leaf_pb2.FragmentResponse], take: Take) -> FragmentAnswer:
    """The answer that a stream holds. Raises AlderError(UNAVAILABLE) where it breaks off."""
    parts: list[bytes] = []
    trailer: leaf_pb2.FragmentTrailer | None = None
    async for response in stream:
        take(len(response.arrow))
        parts.append(response.arrow)
        if response.HasField("trailer"):
            trailer = response.trailer
    if trailer is None:
        raise AlderError(Reason.UNAVAILABLE, "the answer broke off; try again")
    size_bytes = sum(map(len, parts))
    if size_bytes <= SMALL_BYTES:
        return FragmentAnswer(join_chunks(parts), trailer, size_bytes)
    rows = await asyncio.to_thread(join_chunks, parts)
    return FragmentAnswer(rows, trailer, size_bytes)
