"""Dictionaries: the distinct strings of a column in a segment, sorted, and codes into them.

Sorted, so that the order of codes is the order of strings. Built only where values repeat enough
for codes to be smaller than the strings.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alder.errors import AlderError, Reason
from leaf.format.frame import framed, unframed
from leaf.format.pages import decode_values, encode_values

TERMS_MAX: Final = 1 << 18
REPEATS_MIN: Final = 1.5
"""Values per distinct string from which on codes and their dictionary are smaller than strings."""
SAMPLE_ROWS: Final = 4096
_KINDS: Final = {b"s": pa.string(), b"i": pa.int64()}


@dataclass(frozen=True, slots=True)
class Encoded:
    """``codes`` (int32, null where the value is null) index ``terms``, which ascend."""

    terms: pa.Array
    codes: pa.Array


def encode(values: pa.Array) -> Encoded:
    """The sorted distinct values and the codes, by bytes for strings."""
    return _sorted(values.dictionary_encode())


def encode_if_it_pays(values: pa.Array, repeats_min: float = REPEATS_MIN) -> Encoded | None:
    """As :func:`encode`; None where codes are not worth their dictionary."""
    encoded = values.dictionary_encode()
    if not pays(len(values) - values.null_count, len(encoded.dictionary), repeats_min):
        return None
    return _sorted(encoded)


def pays(values_count: int, terms_count: int, repeats_min: float = REPEATS_MIN) -> bool:
    """True if codes are worth their dictionary."""
    return terms_count <= TERMS_MAX and values_count >= repeats_min * terms_count


def repeats_little(values: pa.Array) -> bool:
    """True if the first values are mostly distinct, so that a dictionary may not pay.

    ``values`` have no nulls.
    """
    sample = values.slice(0, SAMPLE_ROWS)
    return bool(2 * pc.count_distinct(sample).as_py() > len(sample))


def encode_terms(terms: pa.Array) -> bytes:
    """A dictionary as stored: of strings, or of int64."""
    tag = next(tag for tag, kind in _KINDS.items() if kind == terms.type)
    return framed(tag + encode_values(terms))


def decode_terms(data: bytes, what: str) -> pa.Array:
    """The inverse of :func:`encode_terms`. Raises AlderError(CORRUPT)."""
    payload = memoryview(unframed(data, what))
    try:
        return decode_values(payload[1:], _KINDS[bytes(payload[:1])], TERMS_MAX)
    except (LookupError, ValueError, struct.error, pa.ArrowException) as error:
        raise AlderError(Reason.CORRUPT, f"{what} can't be decoded: {error}") from error


def _sorted(encoded: pa.DictionaryArray) -> Encoded:
    order = pc.array_sort_indices(encoded.dictionary)
    ranks = np.empty(len(order), dtype=np.int32)
    ranks[np.asarray(order)] = np.arange(len(order), dtype=np.int32)
    codes = pa.array(ranks).take(encoded.indices)
    return Encoded(encoded.dictionary.take(order), codes)
