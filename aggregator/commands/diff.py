"""``DIFF (query) BETWEEN POSITION 'a' AND 'b'``: how an answer changed, and what in the log did it.

Rows of the answer at ``a`` that are not in the one at ``b`` are `removed`, the reverse `added`,
each as often as it is there more often. :mod:`aggregator.planning.difference` says what is asked
for; what comes of it is compared here by the engine.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from aggregator.commands.model import Answer, Server
from aggregator.commands.words import Words, blanked
from aggregator.execution.engine import Input
from aggregator.execution.model import Run
from aggregator.planning.difference import Difference, difference, reads_one_table
from aggregator.statement import tree
from aggregator.statement.names import Names
from alder.arrow import SQL_TYPE_KEY
from alder.positions import PositionVector, vectors_of_text, vectors_text
from alder.sqltext import Token
from alder.v1 import query_pb2

_FORM: Final = "DIFF (SELECT ...) BETWEEN POSITION 'log/0:12' AND 'log/0:34'"
_CHANGE: Final = "CASE WHEN sum(sign) > 0 THEN 'added' ELSE 'removed' END"
_BOTH: Final = (
    "(SELECT *, 1 AS sign FROM later UNION ALL SELECT *, -1 AS sign FROM earlier) AS signed"
)
_OFFSETS: Final = (
    "list_transform(list_sort(list_transform(list_distinct(flatten(list(causes))), "
    "lambda one: {'partition': regexp_replace(one, '[0-9]+$', ''), "
    "'offset': regexp_extract(one, '[0-9]+$')::BIGINT, 'id': one})), lambda one: one.id)"
)
_UNKNOWN: Final = "NULL::VARCHAR[]"


@dataclass(frozen=True, slots=True)
class Diff:
    """The difference of a query's answers at two cuts, given as texts of positions."""

    sql: str
    earlier: str
    later: str

    async def run(self, run: Run, server: Server) -> Answer:
        """The columns of the query, then ``_change`` and ``_offsets``."""
        node = await server.queries.literal_tree(self.sql, run.request.parameters)
        names = await _names(node, run, server)
        found = difference(node, server.queries.aggregates, names)
        return await self._compared(found, _Asking(run, server))

    async def _compared(self, found: Difference, asking: "_Asking") -> Answer:
        if found.collection is None:
            later, earlier = await self._at_both(found, asking)
            return await asking.answer(
                _rows(later.num_columns, _UNKNOWN), later.num_columns, later, earlier
            )
        won = await asking.rows(found.changed(self.later, self.earlier))
        lost = await asking.rows(found.changed(self.earlier, self.later))
        if found.keys is None:
            count = won.num_columns - 1
            return await asking.answer(_rows(count, _OFFSETS), count, won, lost)
        keys = won.num_columns - 1
        causes = pa.concat_tables([won, lost], promote_options="permissive")
        touched = found.of_groups(causes.select(range(keys)))
        later, earlier = await self._at_both(touched, asking)
        count = later.num_columns - keys
        sql = _groups(count, keys, found.alone)
        return await asking.answer(sql, count, later, earlier, causes)

    async def _at_both(self, found: Difference, asking: "_Asking") -> tuple[pa.Table, pa.Table]:
        later = await asking.rows(found.at(self.later))
        return later, await asking.rows(found.at(self.earlier))


def parse(sql: str, first: Sequence[Token]) -> Diff | None:
    """The command in a text."""
    if [token.word or token.text for token in first[:2]] != ["DIFF", "("]:
        return None
    words = Words(sql, _FORM)
    words.expect("DIFF")
    begin = first[1].end
    end = begin + len(words.brackets())
    words.expect("BETWEEN", "POSITION")
    earlier = _positions(words.text())
    words.expect("AND")
    later = _positions(words.text())
    words.end()
    return Diff(blanked(sql, begin)[:end], earlier, later)


def _positions(text: str) -> str:
    """Positions in their only spelling. Raises AlderError(INVALID_ARGUMENT)."""
    return vectors_text(vectors_of_text(text))


async def _names(node: tree.Node, run: Run, server: Server) -> Names | None:
    """The names of the one collection that a query reads; None for any other query."""
    if not reads_one_table(node):
        return None
    collection = await server.queries.collection(node["from_table"]["table_name"])
    left_s = server.queries.left_s(run)
    state = await server.queries.scatter.state(collection, PositionVector(), left_s)
    return Names(state.schema)


@dataclass(slots=True)
class _Asking:
    """Runs the queries of a command, and keeps what they read."""

    run: Run
    server: Server
    reads: list[query_pb2.CollectionRead] = field(default_factory=list)
    references: list[query_pb2.ReferenceRead] = field(default_factory=list)

    async def rows(self, node: tree.Node) -> pa.Table:
        """The result of a query."""
        sql = await self.server.queries.with_parser(lambda parser: parser.to_sql(node))
        asked = self.run.request
        request = query_pb2.ExecuteRequest(
            no_memoised_partials=asked.no_memoised_partials,
            no_code_kernels=asked.no_code_kernels,
            no_direct_lookup=asked.no_direct_lookup,
            no_index_kinds=asked.no_index_kinds,
        )
        inner = dataclasses.replace(
            self.run, request=request, sql=sql, plan_us=0, scatter_us=0, finish_us=0
        )
        answered = await self.server.queries.answer(inner)
        self.run.plan_us += inner.plan_us
        self.run.scatter_us += inner.scatter_us
        self.run.finish_us += inner.finish_us
        self.reads += answered.reads()
        self.references += answered.references()
        return answered.result

    async def answer(
        self,
        sql: str,
        columns: int,
        later: pa.Table,
        earlier: pa.Table,
        causes: pa.Table | None = None,
    ) -> Answer:
        """The differing rows by a statement of this module, under the names of ``later``."""
        keys = 0 if causes is None else causes.num_columns - 1
        inputs = [
            _input("later", later, columns, keys),
            _input("earlier", earlier, columns, keys),
            *([] if causes is None else [_input("changes", causes, 0, keys)]),
        ]
        result = await self.server.queries.combined(sql, inputs)
        own = [later.schema.field(place).name for place in range(columns)]
        fields = [
            entry.with_name(name)
            for entry, name in zip(result.schema, [*own, "_change", "_offsets"], strict=True)
        ]
        rows = pa.Table.from_arrays(result.columns, schema=pa.schema(fields))
        return Answer(rows, "", self.reads, self.references)


def _input(name: str, table: pa.Table, columns: int, keys: int) -> Input:
    """A table whose columns are c0, c1, ..., then k0, k1, ..., then causes."""
    names = [*(f"c{n}" for n in range(columns)), *(f"k{n}" for n in range(keys)), "causes"]
    names = names[: table.num_columns]
    types = [(entry.metadata or {}).get(SQL_TYPE_KEY, b"").decode() for entry in table.schema]
    return Input(name, tuple(zip(names, types, strict=True)), table.rename_columns(names))


def _listed(letter: str, count: int) -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def _rows(columns: int, offsets: str) -> str:
    """Rows, with what tells the causes of each."""
    names = ", ".join(_listed("c", columns))
    counted = (
        f"SELECT {names}, sum(sign) AS more, {_CHANGE} AS change, {offsets} AS offsets "
        f"FROM {_BOTH} GROUP BY {names} HAVING sum(sign) <> 0"
    )
    return _repeated(counted, names, f"{names}, change DESC")


def _groups(columns: int, keys: int, alone: bool) -> str:
    """Groups with the causes of all their rows; of those that stand alone only the touched."""
    names, by = ", ".join(_listed("c", columns)), _listed("k", keys)
    all_names = ", ".join([*by, names])
    grouped = f" GROUP BY {', '.join(by)}" if by else ""
    same = " AND ".join(f"one.{key} IS NOT DISTINCT FROM why.{key}" for key in by) or "true"
    join = "JOIN" if alone else "LEFT JOIN"
    counted = (
        f"SELECT one.*, coalesce(why.offsets, []) AS offsets FROM (SELECT {all_names}, "
        f"sum(sign) AS more, {_CHANGE} AS change FROM {_BOTH} GROUP BY {all_names} "
        f"HAVING sum(sign) <> 0) AS one {join} (SELECT {', '.join([*by, ''])}{_OFFSETS} AS offsets "
        f"FROM changes{grouped}) AS why ON {same}"
    )
    return _repeated(counted, names, ", ".join([*by, "change DESC", names]))


def _repeated(counted: str, names: str, order: str) -> str:
    """Each row as often as it is there more often."""
    return (
        f"SELECT {names}, change, offsets FROM ({counted}) AS found, "
        f"LATERAL range(abs(more)::BIGINT) AS times ORDER BY {order}"
    )
