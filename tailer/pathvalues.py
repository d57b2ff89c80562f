"""The value at one path as text, for each row: keys, and the values that decide a shard.

The text depends on the document alone. Columns give most of it; a row whose value has no column of
a simple type (an object, a list, a fraction, or a path that got no column because the collection
has too many) is read from the document itself.
"""

import json
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alder.fieldtypes import column_name
from alder.paths import RECORD_FIELDS, json_pointer, split
from tailer.evaluate import Evaluator, sql_text

_SIMPLE_TAGS: Final = ("string", "int", "bool")


def key_texts(path: str, columns: pa.Table, docs: pa.Array, evaluator: Evaluator) -> pa.Array:
    """A string as it is, any other value as JSON text; null where there is none, or JSON null."""
    texts = pa.nulls(len(docs), pa.string())
    for tag in _SIMPLE_TAGS:
        texts = pc.coalesce(texts, _column(columns, tag, path))
    return _completed(texts, path, docs, f"v ->> {_pointer(path)}", evaluator)


def json_texts(path: str, columns: pa.Table, docs: pa.Array, evaluator: Evaluator) -> pa.Array:
    """Every value as JSON text, so that ``1`` and ``"1"`` differ; null as in :func:`key_texts`."""
    texts = _quoted(_column(columns, "string", path))
    for tag in _SIMPLE_TAGS[1:]:
        texts = pc.coalesce(texts, _column(columns, tag, path))
    expression = f"nullif((v -> {_pointer(path)})::VARCHAR, 'null')"
    return _completed(texts, path, docs, expression, evaluator)


def texts_in(path: str, docs: pa.Array, evaluator: Evaluator) -> pa.Array:
    """As :func:`key_texts`, of documents that have no columns."""
    return evaluator.map(f"v ->> {_pointer(path)}", docs).cast(pa.string())


def _pointer(path: str) -> str:
    return sql_text(json_pointer(split(path)))


def _column(columns: pa.Table, tag: str, path: str) -> pa.Array:
    name = column_name(tag, path)
    if name not in columns.column_names:
        return pa.nulls(columns.num_rows, pa.string())
    return columns.column(name).combine_chunks().cast(pa.string())


def _quoted(texts: pa.Array) -> pa.Array:
    encoded = texts.dictionary_encode()
    quoted = [json.dumps(text, ensure_ascii=False) for text in encoded.dictionary.to_pylist()]
    return pa.array(quoted, pa.string()).take(encoded.indices)


def _completed(
    texts: pa.Array, path: str, docs: pa.Array, expression: str, evaluator: Evaluator
) -> pa.Array:
    if not texts.null_count or path in RECORD_FIELDS:
        return texts
    missing = pc.is_null(texts)
    found = evaluator.map(expression, docs.filter(missing)).cast(pa.string())
    places = np.cumsum(missing.to_numpy(zero_copy_only=False)) - 1
    spread = found.take(pa.array(np.maximum(places, 0)))
    return pc.if_else(missing, spread, texts)
