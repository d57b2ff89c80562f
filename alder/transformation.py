"""The transformation of a collection: a SELECT over ``_input`` that makes documents of records.

``_input`` has one row per record: ``_doc`` (JSON), ``_source``, ``_partition``, ``_offset`` and
``_log_time``. The SELECT has a document for each row that passes its WHERE: the column ``_doc``
where that is the only one, else an object with its columns. Lists are taken apart by ``unnest``, in
the select list or in FROM, and UNION ALL puts several SELECTs together, so a record may become
several documents. What a record becomes depends on the record alone (invariant I1): only functions
of their arguments are allowed, nothing that counts, orders or joins rows of different records, and
a record that can't be transformed fails for itself.

The tree that is checked is the one that runs, with more columns that tell the records apart and
order the documents of each: by the SELECT of the union, then by the places in the lists of its
FROM. The engine joins these lists in an order that depends on what else it was given; lists of a
select list it takes apart one row after the other.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from alder.transformationtree import (
    BRANCH,
    BRANCHES_MAX,
    INPUT,
    PLACES,
    ROW,
    Node,
    branches_of,
    lists_max,
    numbered,
    takes_apart,
    unlike,
)

DOCUMENT: Final = "_doc"
COLUMNS: Final = pa.schema(
    [
        (DOCUMENT, pa.string()),
        ("_source", pa.string()),
        ("_partition", pa.int32()),
        ("_offset", pa.int64()),
        ("_log_time", pa.timestamp("us")),
    ]
)
"""What is known of each record; documents are valid JSON."""
TEXT_CHARACTERS_MAX: Final = 16_384
MEMORY: Final = "256MB"
ORDINAL_BITS: Final = 10
"""Bits of the number of a document within its record, where one may become several."""
MADE_BYTES_MAX: Final = 16 << 20
"""Documents of one record, and what is made at once of several."""
_BATCH_ROWS: Final = 8_192
_REASON_CHARACTERS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Transformed:
    """Documents (string) of the next records, with the numbers of these, ascending; and failures.

    They are of the records before ``end`` that the one before was not of. A record that is in
    neither was left out by the WHERE, or its lists are empty.
    """

    end: int
    rows: NDArray[np.int64]
    documents: pa.Array
    failed: dict[int, str]


@dataclass(frozen=True, slots=True)
class _Run:
    """What became of some records: documents, or why there are none."""

    end: int
    made: pa.Table
    failed: dict[int, str]


class Transformation:
    """A checked transformation with an engine of its own. Not for two threads at once.

    ``explodes``: a record may become several documents.
    """

    def __init__(self, sql: str, ordinal_bits: int = ORDINAL_BITS) -> None:
        """A record becomes at most as many documents as these bits can number.

        Raises AlderError: SYNTAX, FORBIDDEN, UNSUPPORTED, WRONG_TYPE, LIMIT.
        """
        if len(sql) > TEXT_CHARACTERS_MAX:
            raise AlderError(
                Reason.LIMIT, f"a transformation has at most {TEXT_CHARACTERS_MAX} characters"
            )
        self._documents_max = 1 << ordinal_bits
        self._connection = _connect()
        node = self._parsed(sql)
        branches = list(branches_of(node))
        self.explodes = len(branches) > 1 or any(map(takes_apart, branches))
        if len(branches) > BRANCHES_MAX:
            raise AlderError(
                Reason.LIMIT, f"a transformation unites at most {BRANCHES_MAX} SELECTs"
            )
        self._order = [ROW, BRANCH, *PLACES[: lists_max(branches)]]
        self._sql = self._prepared(node)

    def apply(self, records: pa.Table) -> Iterator[Transformed]:
        """Transforms records, given in :data:`COLUMNS`; as many at once as their documents let."""
        numbered = records.append_column(ROW, pa.array(range(records.num_rows), pa.int64()))
        runs: list[_Run] = []
        size_bytes = 0
        for run in self._runs(numbered, records.num_rows):
            runs.append(run)
            size_bytes += run.made.nbytes
            if size_bytes > MADE_BYTES_MAX:
                yield self._joined(runs)
                runs, size_bytes = [], 0
        if runs:
            yield self._joined(runs)

    def _joined(self, runs: Sequence[_Run]) -> Transformed:
        made = pa.concat_tables([run.made for run in runs])
        by = self._order if self.explodes else [ROW]
        # Stable, so rows of a list that the select list takes apart stay in its order.
        made = made.sort_by([(name, "ascending") for name in by])
        failed = {row: reason for run in runs for row, reason in run.failed.items()}
        rows = made.column(ROW).to_numpy()
        documents = made.column(DOCUMENT).combine_chunks()
        failed.update(
            dict.fromkeys(
                rows[documents.is_null().to_numpy(zero_copy_only=False)].tolist(),
                "the transformation gives NULL in the place of a document",
            )
        )
        found, counts = np.unique(rows, return_counts=True)
        failed.update(
            (row, f"it becomes {count:,} documents, more than {self._documents_max:,}")
            for row, count in zip(found.tolist(), counts.tolist(), strict=True)
            if count > self._documents_max
        )
        if failed:
            kept = ~np.isin(rows, list(failed))
            rows, documents = rows[kept], documents.filter(pa.array(kept))
        return Transformed(runs[-1].end, rows, documents, failed)

    def _runs(self, records: pa.Table, end: int) -> Iterator[_Run]:
        """What becomes of records up to ``end``; failures are narrowed down to single ones."""
        if not records.num_rows:
            return
        try:
            yield _Run(end, self._run(records), {})
        except (duckdb.Error, _TooMuchError) as error:
            if records.num_rows == 1:
                failed = {records.column(ROW)[0].as_py(): _reason(error)}
                yield _Run(end, self._nothing, failed)
                return
            middle = records.num_rows // 2
            yield from self._runs(records.slice(0, middle), end - records.num_rows + middle)
            yield from self._runs(records.slice(middle), end)

    def _run(self, records: pa.Table) -> pa.Table:
        """Raises _TooMuchError as soon as it is."""
        self._connection.register("records", records)
        try:
            batches, size_bytes = [], 0
            with self._connection.sql(self._sql).to_arrow_reader(_BATCH_ROWS) as reader:
                for batch in reader:
                    batches.append(batch)
                    size_bytes += batch.nbytes
                    if size_bytes > MADE_BYTES_MAX:
                        raise _TooMuchError(
                            f"it becomes more than {MADE_BYTES_MAX >> 20} MB of documents"
                        )
                return pa.Table.from_batches(batches, reader.schema).cast(self._nothing.schema)
        except (duckdb.InternalException, duckdb.FatalException):
            # The engine refuses everything after such an error.
            self._connection = _connect()
            raise
        except UnicodeDecodeError as error:
            # The engine cuts the text that it quotes in a message, also inside of a character.
            raise duckdb.InvalidInputException("a value can't be converted") from error

    @property
    def _nothing(self) -> pa.Table:
        order = [(name, pa.int64()) for name in self._order]
        return pa.schema([*order, (DOCUMENT, pa.string())]).empty_table()

    def _prepared(self, node: Node) -> str:
        """The statement that runs. Raises AlderError for one that can't."""
        select = self._text(numbered(node, itertools.count(), len(self._order) - 2))
        given = ", ".join(
            f"CAST({name} AS JSON) AS {name}" if name == DOCUMENT else name
            for name in COLUMNS.names
        )
        source = f"WITH {INPUT} AS (SELECT {given}, {ROW} FROM records)"
        self._connection.register("records", _NO_RECORDS)
        try:
            found = self._connection.execute(f"DESCRIBE {source} {select}").fetchall()
        except duckdb.Error as error:
            raise AlderError(Reason.WRONG_TYPE, f"the transformation: {_reason(error)}") from error
        finally:
            self._connection.unregister("records")
        every = [str(name) for name, *_ in found]
        if len({name.lower() for name in every}) < len(every):
            raise AlderError(
                Reason.INVALID_ARGUMENT, "the transformation names a column twice; use AS"
            )
        names = [name for name in every if name not in self._order]
        quoted = [f"{_literal(name)}, made.{quote(name)}" for name in names]
        whole = names == [DOCUMENT]
        document = f"made.{DOCUMENT}" if whole else f"json_object({', '.join(quoted)})"
        order = ", ".join(f"CAST(made.{name} AS BIGINT) AS {name}" for name in self._order)
        return (
            f"SELECT {order}, CAST({document} AS VARCHAR) AS {DOCUMENT} "
            f"FROM ({source} {select}) AS made"
        )

    def _parsed(self, sql: str) -> Node:
        query = "SELECT json_serialize_sql(?::VARCHAR)"
        try:
            parsed: Node = json.loads(self._connection.execute(query, [sql]).fetchall()[0][0])
        except (duckdb.Error, RecursionError) as error:
            raise AlderError(
                Reason.SYNTAX, f"the transformation can't be parsed: {_reason(error)}"
            ) from error
        if parsed["error"]:
            message = str(parsed["error_message"]).splitlines()[0]
            raise AlderError(Reason.SYNTAX, f"the transformation can't be parsed: {message}")
        if len(parsed["statements"]) != 1:
            raise unlike("it is not one statement")
        node: Node = parsed["statements"][0]["node"]
        return node

    def _text(self, node: Node) -> str:
        tree = {"error": False, "statements": [{"node": node, "named_param_map": []}]}
        query = "SELECT json_deserialize_sql(?::JSON)"
        return str(self._connection.execute(query, [json.dumps(tree)]).fetchall()[0][0])


def ordinal_bits_of(sql: str) -> int:
    """The bits that number the documents of a record; 0 where it becomes one at most.

    ``sql`` is empty for no transformation. Raises AlderError as :class:`Transformation`.
    """
    return ORDINAL_BITS if sql and Transformation(sql).explodes else 0


_NO_RECORDS: Final = COLUMNS.empty_table().append_column(ROW, pa.array([], pa.int64()))


class _TooMuchError(Exception):
    """More is made of some records than may be at once."""


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "threads": 1,
            "memory_limit": MEMORY,
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _reason(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line[:_REASON_CHARACTERS_MAX]
