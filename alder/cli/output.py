"""Query results as JSON lines, JSON, CSV, Arrow, Parquet or a table.

JSON and CSV are made batch by batch as one DuckDB expression per column, so that they stream and
cost no Python per row. They are exact: every digit of integers and decimals, JSON as it is, times
in ISO 8601 (UTC), bytes in base64; NaN and infinities, which JSON doesn't have, become null there.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet
from rich.table import Table
from rich.text import Text

from alder.cli.errors import CommandError
from alder.cli.options import console, printable
from alder.client.values import plain_type, unique_names
from alder.fieldtypes import quote

FORMATS: Final = ("table", "csv", "jsonl", "json", "arrow", "parquet")
BINARY_FORMATS: Final = ("arrow", "parquet")
TABLE_ROWS_MAX: Final = 1000
_NUMBERS: Final = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_WITH_COMMAS: Final = ", ',', "
_CSV_SPECIAL: Final = '[",\\r\\n]'
_INTERRUPTED: Final = "Query interrupted"
"""What DuckDB raises as a RuntimeError after Ctrl-C, if it does not raise InterruptException."""


def write(form: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], sink: IO[bytes]) -> None:
    """Writes a result to ``sink`` in one of :data:`FORMATS` except ``table``."""
    try:
        _WRITERS[form](schema, batches, sink)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise CommandError(f"the result can't be written as {form}: {error}") from error


def json_object(schema: pa.Schema, columns: Iterable[str]) -> str:
    """SQL for the JSON text of a row whose columns are the given SQL expressions."""
    keys = [json.dumps(name, ensure_ascii=False) for name in unique_names(schema.names)]
    members = [
        f"{_literal(key + ':')}, coalesce({json_text(kind, column)}, 'null')"
        for key, kind, column in zip(keys, schema.types, columns, strict=True)
    ]
    return f"concat('{{', {_WITH_COMMAS.join(members)}, '}}')" if members else "'{}'"


def json_text(data_type: pa.DataType, column: str) -> str:
    """SQL for the JSON text of a column; NULL where the value is NULL."""
    if _is_json(data_type):
        # Line ends in JSON text are white space between tokens; jsonl has one document per line.
        return f"translate({column}::VARCHAR, chr(10) || chr(13), '  ')"
    data_type = plain_type(data_type)
    if pa.types.is_floating(data_type):
        return f"CASE WHEN isfinite({column}) THEN to_json({column})::VARCHAR END"
    if any(test(data_type) for test in _NUMBERS) or pa.types.is_boolean(data_type):
        return f"{column}::VARCHAR"
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        item = f"coalesce({json_text(data_type.value_type, 'x')}, 'null')"
        items = f"array_to_string(list_transform({column}, lambda x: {item}), ',')"
        return f"'[' || {items} || ']'"
    if pa.types.is_struct(data_type):
        fields = [f"{column}.{quote(field.name)}" for field in data_type]
        row = json_object(pa.schema(list(data_type)), fields)
        return f"CASE WHEN {column} IS NOT NULL THEN {row} END"
    return f"to_json({_scalar_text(data_type, column)})::VARCHAR"


def plain_text(data_type: pa.DataType, column: str) -> str:
    """SQL for a column as text outside of JSON; NULL where the value is NULL."""
    if _is_json(data_type):
        return f"{column}::VARCHAR"
    data_type = plain_type(data_type)
    if pa.types.is_nested(data_type):
        return json_text(data_type, column)
    return f"({_scalar_text(data_type, column)})::VARCHAR"


@contextmanager
def text_engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """The DuckDB that evaluates :func:`json_text` and :func:`plain_text`."""
    try:
        with duckdb.connect() as engine:
            engine.execute("SET python_enable_replacements=false")
            engine.execute("SET TimeZone='UTC'")
            yield engine
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except duckdb.Error as error:
        raise CommandError(f"a value can't be written as text: {error}") from error
    except RuntimeError as error:
        if str(error) != _INTERRUPTED:
            raise
        raise KeyboardInterrupt from error


def column_names(schema: pa.Schema) -> list[str]:
    """c0, c1, ...: names that need no quoting and never collide."""
    return [f"c{index}" for index in range(len(schema))]


def _scalar_text(data_type: pa.DataType, column: str) -> str:
    if pa.types.is_timestamp(data_type):
        if data_type.tz is not None:
            return f"replace({column}::TIMESTAMP::VARCHAR, ' ', 'T') || 'Z'"
        return f"replace({column}::VARCHAR, ' ', 'T')"
    if pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type):
        return f"base64({column})"
    return column


def _is_json(data_type: pa.DataType) -> bool:
    return isinstance(data_type, pa.JsonType)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _renamed(batch: pa.RecordBatch) -> pa.Table:
    return pa.table(batch.columns, names=column_names(batch.schema))


def _lines(batches: Iterable[pa.RecordBatch], expression: str) -> Iterator[pa.ChunkedArray]:
    """One text per row, batch by batch."""
    with text_engine() as engine:
        for batch in batches:
            if batch.num_rows:
                engine.register("batch", _renamed(batch))
                lines = engine.sql(f"SELECT {expression} AS line FROM batch").to_arrow_table()
                engine.unregister("batch")
                yield lines.column(0)


def _write_jsonl(schema: pa.Schema, batches: Iterable[pa.RecordBatch], sink: IO[bytes]) -> None:
    for lines in _lines(batches, json_object(schema, column_names(schema))):
        sink.write(("\n".join(lines.to_pylist()) + "\n").encode())


def _write_json(schema: pa.Schema, batches: Iterable[pa.RecordBatch], sink: IO[bytes]) -> None:
    before = "[\n"
    for lines in _lines(batches, json_object(schema, column_names(schema))):
        sink.write((before + ",\n".join(lines.to_pylist())).encode())
        before = ",\n"
    sink.write(b"[]\n" if before == "[\n" else b"\n]\n")


def _write_csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch], sink: IO[bytes]) -> None:
    def quoted(text: str) -> str:
        return (
            f"CASE WHEN {text} = '' OR regexp_matches({text}, '{_CSV_SPECIAL}') "
            f"THEN '\"' || replace({text}, '\"', '\"\"') || '\"' ELSE coalesce({text}, '') END"
        )

    fields = zip(schema.types, column_names(schema), strict=True)
    row = _WITH_COMMAS.join(quoted(plain_text(kind, column)) for kind, column in fields)
    header = ",".join(_csv_field(name) for name in schema.names)
    sink.write((header + "\n").encode())
    for lines in _lines(batches, f"concat({row})"):
        sink.write(("\n".join(lines.to_pylist()) + "\n").encode())


def _csv_field(text: str) -> str:
    if text and not any(character in text for character in '",\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


def _write_arrow(schema: pa.Schema, batches: Iterable[pa.RecordBatch], sink: IO[bytes]) -> None:
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], sink: IO[bytes]) -> None:
    with pyarrow.parquet.ParquetWriter(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


_WRITERS: Final[dict[str, Callable[[pa.Schema, Iterable[pa.RecordBatch], IO[bytes]], None]]] = {
    "jsonl": _write_jsonl,
    "json": _write_json,
    "csv": _write_csv,
    "arrow": _write_arrow,
    "parquet": _write_parquet,
}


def print_result(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """A table on stdout of the first :data:`TABLE_ROWS_MAX` rows; reads all batches."""
    table = Table(header_style="bold", show_edge=True)
    for field in schema:
        right = any(test(plain_type(field.type)) for test in _NUMBERS)
        table.add_column(
            Text(printable(field.name)), justify="right" if right else "left", overflow="fold"
        )
    texts = [
        plain_text(kind, column)
        for kind, column in zip(schema.types, column_names(schema), strict=True)
    ]
    total = shown = 0
    with text_engine() as engine:
        for batch in batches:
            total += batch.num_rows
            wanted = batch.slice(0, TABLE_ROWS_MAX - shown)
            if wanted.num_rows:
                engine.register("batch", _renamed(wanted))
                for row in engine.sql(f"SELECT {', '.join(texts)} FROM batch").fetchall():
                    table.add_row(*map(_cell, row))
                shown += wanted.num_rows
    console().print(table)
    if shown < total:
        print(
            f"(the first {shown:,} of {total:,} rows; --format csv or jsonl gives all)",
            file=sys.stderr,
        )


def _cell(text: str | None) -> Text:
    return Text("NULL", style="dim") if text is None else Text(printable(text))
