"""The number of each document's version: the value at the collection's version path.

Integers are taken as they are, and times in text, with or without a zone, are microseconds since
1970 UTC. What a value is depends on the value alone.
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from alder.fieldtypes import column_name
from alder.paths import json_pointer, split
from tailer.evaluate import Evaluator, sql_text

NUMBER_MIN: Final = -(1 << 63) + 1
"""The smallest that a document may have."""


def version_numbers(path: str, columns: pa.Table, docs: pa.Array, evaluator: Evaluator) -> pa.Array:
    """int64, null where a document has no version."""
    name = column_name("int", path)
    if name in columns.column_names:
        numbers = columns.column(name).combine_chunks()
    else:
        numbers = pa.nulls(len(docs), pa.int64())
    missing = pc.is_null(numbers)
    if missing.true_count:
        found = numbers_in(json_pointer(split(path)), docs.filter(missing), evaluator)
        numbers = pc.replace_with_mask(numbers, missing, found)
    return _in_range(numbers)


def numbers_in(pointer: str, docs: pa.Array, evaluator: Evaluator) -> pa.Array:
    """As :func:`version_numbers`, of JSON texts that have no columns."""
    at = sql_text(pointer)
    value = f"(v::JSON ->> {at})"
    expression = (
        f"CASE json_type(v::JSON, {at}) "
        f"WHEN 'VARCHAR' THEN epoch_us(try_cast({value} AS TIMESTAMPTZ)) "
        f"WHEN 'BIGINT' THEN try_cast({value} AS BIGINT) "
        f"WHEN 'UBIGINT' THEN try_cast({value} AS BIGINT) END"
    )
    return _in_range(evaluator.map(expression, docs).cast(pa.int64()))


def _in_range(numbers: pa.Array) -> pa.Array:
    return pc.if_else(pc.greater_equal(numbers, NUMBER_MIN), numbers, None)
