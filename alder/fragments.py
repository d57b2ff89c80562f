"""The answer to a fragment, as an aggregator gets it.

From another process it comes as messages, which :func:`joined` puts together. Within a process a
leaf hands its table over as it is, and where the engine would run over all rows at once anyway, it
may leave that to the caller: the rows that the fragment reads cost nothing to hand over, and the
caller's engine runs the fragment as a part of the statement.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pyarrow as pa

from alder.arrow import SMALL_BYTES, join_chunks
from alder.errors import AlderError, Reason
from alder.v1 import leaf_pb2

Take = Callable[[int], None]
"""Is told of bytes before they are kept. Raises AlderError(LIMIT) where they are too many."""


@dataclass(frozen=True, slots=True)
class FragmentAnswer:
    """What the stream of a fragment says (``leaf.proto``); ``size_bytes`` as it came.

    ``projection`` is empty where ``rows`` are the answer. Otherwise they are a table `physical` of
    which this SELECT makes the table `rows`, and the fragment's SQL is still to run over that.
    """

    rows: pa.Table
    trailer: leaf_pb2.FragmentTrailer
    size_bytes: int
    projection: str = ""


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
