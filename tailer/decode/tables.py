"""Typed tables in, the columns and documents of their rows out."""

import pyarrow as pa

from tailer.decode.documents import documents
from tailer.decode.engine import Engine
from tailer.decode.model import Decoded
from tailer.decode.typed import decode_table


class TableDecoder:
    """Decodes tables one after the other. Not for use from two threads at once."""

    def __init__(self) -> None:
        self._engine = Engine()

    def decode(self, table: pa.Table) -> Decoded:
        """See :func:`decode_table`. Raises AlderError."""
        return decode_table(table, self._engine)

    def documents(self, table: pa.Table) -> pa.ChunkedArray:
        """See :func:`documents`."""
        return documents(table, self._engine)
