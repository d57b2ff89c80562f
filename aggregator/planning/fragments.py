"""What a plan asks of the leaves for one reference: fragments over the table `rows`.

A fragment names the columns that it reads and the terms of its conditions, for indexes to narrow
by; where it is simple enough it is also said in a form that leaves can run without the engine.
"""

from collections.abc import Container, Iterable, Sequence

from aggregator.functions import geo, text
from aggregator.planning import pushdown
from aggregator.planning.aggregation import described
from aggregator.planning.direct import selected
from aggregator.planning.plan import COUNT_COLUMN, Read
from aggregator.planning.terms import exact, terms
from aggregator.statement import tree
from aggregator.statement.scope import Bindings, Reference
from aggregator.statement.syntax import Parser
from alder.fieldtypes import ROW_COLUMN
from alder.v1 import leaf_pb2


def rows(
    parser: Parser,
    read_class: str,
    bindings: Bindings,
    reference: Reference,
    conditions: list[tree.Node],
    modifiers: Sequence[tree.Node] = (),
    wanted: Container[str] | None = None,
) -> Read:
    """Rows of a reference; ``wanted`` are the columns that the statement needs (None: all)."""
    columns = [
        (name, entry.sql_type)
        for entry, name in reference.columns.items()
        if wanted is None or name in wanted
    ]
    names = [name for name, _ in columns]
    items = [tree.column(name) for name in names]
    if not items:
        items = [tree.named(tree.constant("BOOLEAN", "true"), ROW_COLUMN)]
        columns = [(ROW_COLUMN, "BOOLEAN")]
    query = tree.select(
        items,
        tree.table(pushdown.ROWS),
        tree.conjunction(conditions),
        modifiers=list(modifiers),
    )
    sql, read = parser.to_sql(query), names_in([query])
    made = fragment(bindings, reference, sql, conditions, read)
    selection = selected(names, modifiers)
    if selection is not None:
        made.selection.CopyFrom(selection)
    return Read(reference.collection, reference.table, read_class, made, tuple(columns))


def count(
    parser: Parser, bindings: Bindings, reference: Reference, conditions: list[tree.Node]
) -> leaf_pb2.Fragment:
    """The fragment that counts the rows of a reference that meet conditions."""
    call = {**tree.function("count_star"), "export_state": True}
    query = tree.select(
        [tree.named(call, COUNT_COLUMN)],
        tree.table(pushdown.ROWS),
        tree.conjunction(conditions),
    )
    made = fragment(bindings, reference, parser.to_sql(query), conditions)
    made.partial_aggregate = True
    calls = [(COUNT_COLUMN, call)]
    simple = described([], calls, conditions, parser, bindings.field_of)
    if simple is not None:
        made.aggregation.CopyFrom(simple)
    return made


def fragment(
    bindings: Bindings,
    reference: Reference,
    sql: str,
    conditions: Sequence[tree.Node],
    read: Container[str] | None = None,
) -> leaf_pb2.Fragment:
    """A fragment; ``read`` are the columns that the SQL reads; None: all of the reference."""
    return leaf_pb2.Fragment(
        sql=sql,
        columns=[
            leaf_pb2.ColumnBinding(
                name=name,
                path=entry.path,
                sql_type=entry.sql_type,
                types=entry.types,
                overflow=entry.overflow,
            )
            for entry, name in reference.columns.items()
            if read is None or name in read
        ],
        terms=[
            *terms(conditions, bindings.field_of),
            *text.terms(conditions, bindings.field_of),
            *geo.terms(conditions, bindings.field_of),
        ],
        terms_exact=all(exact(one, bindings.field_of) for one in conditions),
    )


def names_in(nodes: Iterable[tree.Node]) -> frozenset[str]:
    """The columns that expressions read."""
    return frozenset(
        part["column_names"][-1]
        for node in nodes
        for part in tree.walk(node)
        if part.get("type") == "COLUMN_REF"
    )
