"""Columns of documents that leaves have put together from patches.

A leaf has the documents and a tailer the decoder, so this is handed to leaves by whoever puts tiers
together. A document gets the same columns and event time as if it had come as it is.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.paths import RECORD_FIELDS
from tailer.decode import DecodeLimits, JsonDecoder
from tailer.evaluate import Evaluator
from tailer.eventtime import event_times


class MergedDocuments:
    """Implements :class:`alder.interfaces.DocumentColumns`. One call at a time."""

    def __init__(self, time_path: str, limits: DecodeLimits, known_paths: Iterable[str]) -> None:
        self.size_bytes_max: Final = limits.document_size_bytes_max
        self.fields_max: Final = limits.document_fields_max
        self._time_path = time_path
        self._decoder = JsonDecoder(limits, set(known_paths).difference(RECORD_FIELDS))
        self._evaluator = Evaluator()

    def columns(
        self, documents: pa.Array, log_times_us: NDArray[np.int64]
    ) -> tuple[pa.Table, bool]:
        """See the protocol. A document that the decoder refuses has no columns."""
        decoded = self._decoder.decode(documents)
        places = np.full(len(documents), -1)
        places[decoded.kept] = np.arange(len(decoded.kept))
        fields = decoded.batch.take(pa.array(places, mask=places < 0))
        times = event_times(fields, self._time_path, log_times_us, self._evaluator)
        table = pa.table(
            [pa.array(times).view(pa.timestamp("us")), *fields.columns],
            names=["_time", *fields.column_names],
        )
        return table, decoded.overflow or len(decoded.kept) < len(documents)


def merged_documents(limits: DecodeLimits) -> Callable[[str, Iterable[str]], MergedDocuments]:
    """Makes them for a collection, given the path of its event time and the paths it has."""

    def make(time_path: str, known_paths: Iterable[str]) -> MergedDocuments:
        return MergedDocuments(time_path, limits, known_paths)

    return make
