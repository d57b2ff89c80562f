"""The distinct values of a column, and for each row the number of its value among them.

Numbers begin with 1, and 0 stands for NULL, wherever they come from: stored codes, a dictionary
made by hashing, or integers so close together that their differences are the numbers.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from leaf.format.buffers import validity
from leaf.format.dictionary import encode
from leaf.format.pages import integers_of, is_integral
from leaf.kernels.grouping import Codes
from leaf.kernels.unsupported import Unsupported

TERMS_FEW: Final = 1 << 14
"""Up to so many distinct values are few."""
_ORDERED_MIN: Final = 1 << 10
_COUNTED_ROWS: Final = 1 << 16


def numbered_values(column: pa.Array) -> tuple[pa.Array, NDArray[np.int32]]:
    """The distinct values, and the number of each row's. Raises Unsupported for other types.

    Few values are in order, so that a range of values is one of codes wherever codes grow. Those of
    a handful of rows are not: they cost more than they save, and most are known already.
    """
    kind = column.type
    if not (
        pa.types.is_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_signed_integer(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date32(kind)
    ):
        raise Unsupported
    many = len(column) >= _ORDERED_MIN
    if many and is_integral(kind) and kind.bit_width >= 32:
        near = _numbers_near(column)
        if near is not None:
            return near
    encoded = column.dictionary_encode()
    if not many or len(encoded.dictionary) > TERMS_FEW:
        return encoded.dictionary, _from_one(encoded.indices)
    ordered = encode(encoded)
    return ordered.terms, _from_one(ordered.codes)


def _numbers_near(column: pa.Array) -> tuple[pa.Array, NDArray[np.int32]] | None:
    """As :func:`numbered_values` for integers close together, which need no hashing."""
    plain = pa.int32() if column.type.bit_width == 32 else pa.int64()
    low, high = (bound.as_py() for bound in pc.min_max(column.view(plain)).values())
    if low is None or high - low >= TERMS_FEW:
        return None
    null = high - low + 1
    places = (integers_of(column) - low).astype(np.uint16)
    if column.null_count:
        places[~validity(column)] = null
    used = np.zeros(null + 1, dtype=bool)
    used[places] = True
    used[null] = False
    numbers = np.cumsum(used, dtype=np.int32) * used
    terms = pa.array(np.flatnonzero(used) + low, plain)
    return terms.view(column.type), numbers[places]


def counts_of(codes: Codes) -> NDArray[np.intp]:
    """How many rows have each code.

    Narrow codes are counted in runs, since counting begins with a copy in the width of an address.
    """
    if codes.dtype.itemsize > 2:
        return np.bincount(codes)
    counts = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.intp)
    for begin in range(0, len(codes), _COUNTED_ROWS):
        counts += np.bincount(codes[begin : begin + _COUNTED_ROWS], minlength=len(counts))
    return counts


def used_terms(terms: pa.Array, numbers: NDArray[np.integer]) -> tuple[pa.Array, NDArray[np.int32]]:
    """The terms that the numbers (from 1 on) name, and the numbers among those."""
    used = np.zeros(len(terms) + 1, dtype=bool)
    used[numbers] = True
    used[0] = False
    places = np.cumsum(used, dtype=np.int32)
    places[0] = 0
    return terms.take(pa.array(np.flatnonzero(used) - 1)), places[numbers]


def _from_one(codes: pa.Array) -> NDArray[np.int32]:
    filled = codes.fill_null(-1) if codes.null_count else codes
    shifted: NDArray[np.int32] = np.asarray(filled).astype(np.int32) + np.int32(1)
    return shifted
