"""The keys of records, as connectors write them: which key of a document they name.

A record's key is a text, or JSON, bare or as the ``payload`` beside a ``schema`` (JsonConverter,
https://kafka.apache.org/documentation/#connect). An object has the columns of a table's key by
their names. What a record's key names depends on it and the key path alone (I1).
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from alder.paths import RECORD_FIELDS, json_pointer, split
from tailer.evaluate import Evaluator, sql_text

_JSON: Final = "try_cast(TRY(decode(v)) AS JSON)"
_SIMPLE: Final = f"IF(json_type({_JSON}) = 'VARCHAR', {_JSON} ->> '$', TRY(decode(v)))"
"""What is no object: the content of a JSON string, or the text; null where it is no UTF-8."""


def bare_keys(keys: pa.Array, evaluator: Evaluator) -> pa.Array:
    """The texts (string) of binary keys without a schema around; null where one is no text.

    An object keeps the order of its fields.
    """
    payload = f"{_JSON} ->> '/payload'"
    is_wrapped = f"json_exists({_JSON}, '/schema') AND {payload} IS NOT NULL"
    expression = (
        f"CASE WHEN json_type({_JSON}) = 'OBJECT' THEN IF({is_wrapped}, {payload}, {_JSON} ->> '$')"
        f" ELSE {_SIMPLE} END"
    )
    return evaluator.map(expression, keys).cast(pa.string())


def document_keys(path: str, keys: pa.Array, evaluator: Evaluator) -> pa.Array:
    """The keys of documents (string) that binary keys of records name; null where there is none.

    Of an object it is the value at ``path``, and the object itself where the record's key is that
    of the collection.
    """
    if path in RECORD_FIELDS:
        return bare_keys(keys, evaluator)
    at = json_pointer(split(path))
    expression = (
        f"CASE json_type({_JSON}) WHEN 'OBJECT' THEN coalesce("
        f"{_JSON} ->> {sql_text('/payload' + at)}, {_JSON} ->> {sql_text(at)}) "
        f"ELSE {_SIMPLE} END"
    )
    return evaluator.map(expression, keys).cast(pa.string())


def with_bare_keys(columns: pa.Table, keys: pa.Array, evaluator: Evaluator) -> pa.Table:
    """The columns of records, with keys as :func:`bare_keys` says in the place of texts."""
    place = columns.column_names.index("string:_key")
    texts = pc.coalesce(bare_keys(keys, evaluator), columns.column(place).combine_chunks())
    return columns.set_column(place, "string:_key", texts)
