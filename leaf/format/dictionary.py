"""Dictionaries: the distinct strings of a column in a segment, sorted, and codes into them.

Sorted, so that the order of codes is the order of strings. Built only where values repeat enough
for codes to be smaller than the strings.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alder.arrow import from_bytes, to_bytes
from leaf.format.frame import framed, unframed

TERMS_MAX: Final = 65_536
REPEATS_MIN: Final = 2
"""Values per distinct value from which on a dictionary pays."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """``codes`` (int32, null where the value is null) index ``terms``, which ascend."""

    terms: pa.Array
    codes: pa.Array


def encode(values: pa.Array) -> Encoded:
    """The sorted distinct values and the codes, by bytes for strings."""
    return _sorted(values.dictionary_encode())


def encode_if_it_pays(values: pa.Array) -> Encoded | None:
    """As :func:`encode`; None where codes are not worth their dictionary."""
    encoded = values.dictionary_encode()
    if not pays(len(values) - values.null_count, len(encoded.dictionary)):
        return None
    return _sorted(encoded)


def pays(values_count: int, terms_count: int) -> bool:
    """True if codes are worth their dictionary."""
    return terms_count <= TERMS_MAX and values_count >= REPEATS_MIN * terms_count


def encode_terms(terms: pa.Array) -> bytes:
    """A dictionary as stored."""
    return framed(to_bytes(pa.table({"terms": terms})))


def decode_terms(data: bytes, what: str) -> pa.Array:
    """The inverse of :func:`encode_terms`. Raises AlderError(CORRUPT)."""
    column = from_bytes(unframed(data, what)).column("terms")
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _sorted(encoded: pa.DictionaryArray) -> Encoded:
    order = pc.array_sort_indices(encoded.dictionary)
    ranks = np.empty(len(order), dtype=np.int32)
    ranks[np.asarray(order)] = np.arange(len(order), dtype=np.int32)
    codes = pa.array(ranks).take(encoded.indices)
    return Encoded(encoded.dictionary.take(order), codes)
