"""The tables of a statement of ours are SELECTs: how it becomes a statement that says so.

Each SELECT stands where the statement names its table, as a subquery. The engine plans it as if the
statement had been written so, while across a common table expression it moves fewer conditions and
takes longer. Where the names are is told by the engine's own tokens, so that nothing within a text
or a longer name is taken for one; a name that is there more than once, perhaps as that of a column,
is left alone, and the statement begins with a common table expression.
"""

from collections.abc import Iterator, Mapping

import duckdb

from alder.fieldtypes import quote


def with_tables(sql: str, queries: Mapping[str, str]) -> str:
    """A statement in which these SELECTs are the tables of their names."""
    text = sql.encode()
    places: dict[str, list[slice]] = {name: [] for name in queries}
    for name, place in _identifiers(text):
        if name in places:
            places[name].append(place)
    once = {name: found[0] for name, found in places.items() if len(found) == 1}
    for name, place in sorted(once.items(), key=lambda entry: -entry[1].start):
        text = text[: place.start] + f"({queries[name]})".encode() + text[place.stop :]
    others = {name: query for name, query in queries.items() if name not in once}
    return _after_tables(text.decode(), others)


def _identifiers(text: bytes) -> Iterator[tuple[str, slice]]:
    """The identifiers of a statement without their quotes, and where they are."""
    tokens = duckdb.tokenize(text.decode())
    ends = [*(begin for begin, _ in tokens[1:]), len(text)]
    for (begin, kind), end in zip(tokens, ends, strict=True):
        if kind == duckdb.token_type.identifier:
            token = text[begin:end].rstrip()
            yield token.decode().strip('"'), slice(begin, begin + len(token))


def _after_tables(sql: str, queries: Mapping[str, str]) -> str:
    tables = ", ".join(
        f"{quote(name)} AS NOT MATERIALIZED ({query})" for name, query in queries.items()
    )
    if not tables:
        return sql
    for begin in ("WITH RECURSIVE ", "WITH "):
        if sql.startswith(begin):
            return f"{begin}{tables}, {sql.removeprefix(begin)}"
    return f"WITH {tables} {sql}"
