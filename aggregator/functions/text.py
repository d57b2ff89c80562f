"""Text search: `match` and `score` as plain SQL, and back from that SQL to what an index needs.

`match(text, 'query')` becomes a condition over the words of the text (`alder/words.py`), wherever
it stands, so a search means the same in every class, over sealed rows and live ones, with an index
and without. Conditions on words are recognised by their form alone and given to the leaves' indexes
as terms.

`score()` is the sum over the matches of its SELECT's WHERE of BM25 with k1 = 1.2 and b = 0.75
(Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009), with idf as in Lucene:
ln(1 + (N - n + 0.5) / (n + 0.5)). Each word, phrase or prefix of the query that is not negated
counts as one term. N, n and the mean length are those of the whole collection at the query's cut:
statements of their own ask for them first, and they stand in the expression as constants.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from aggregator.functions.lists import MATCH
from aggregator.functions.textquery import Both, Either, Not, Query, Words, parse, written
from aggregator.functions.textstats import Statistic, Statistics, statistics
from aggregator.statement import tree
from aggregator.statement.names import Field
from aggregator.statement.scope import Bindings
from aggregator.statement.syntax import Parser
from alder import words
from alder.errors import AlderError, Reason
from alder.v1 import leaf_pb2

K1: Final = 1.2
B: Final = 0.75
CLAUSES_MAX: Final = 16
_SUBJECT: Final = "subject"
_TEXTS: Final = frozenset({"VARCHAR", "JSON", ""})
Typed = Callable[[tree.Node], tuple[tree.Node, str]]
"""Binds an expression and tells its SQL type, "" where that isn't known."""
Clause = tuple[Words, ...]
"""Words and phrases of which a row holds at least one."""


def matched(call: tree.Node, typed: Typed, parser: Parser) -> tree.Node:
    """The condition that a call of `match` stands for.

    Raises AlderError: INVALID_ARGUMENT, SYNTAX, WRONG_TYPE.
    """
    subject, query = _parsed(call, parser)
    text, sql_type = typed(subject)
    if sql_type not in _TEXTS:
        raise AlderError(
            Reason.WRONG_TYPE,
            f"match searches text, not {sql_type}; cast a value to VARCHAR, "
            "or join a list with array_to_string(list, ' ')",
        )
    if sql_type != "VARCHAR":
        text = tree.cast(text, "VARCHAR")
    return _over(text, _condition(query), parser)


def _parsed(call: tree.Node, parser: Parser) -> tuple[tree.Node, Query]:
    """The text and the query of a call of `match`."""
    arguments = tree.arguments(call)
    found = tree.literal(arguments[1]) if len(arguments) == 2 else None
    if found is None or found[0] != "STRING":
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            "match takes a text and a query, which is a literal or a parameter: "
            "match(message, 'timeout OR \"connection reset\"')",
        )
    return arguments[0], parse(found[1], parser.words)


def _condition(query: Query) -> str:
    match query:
        case Words(found, prefix):
            return words.holds_sql(_SUBJECT, found, prefix)
        case Not(part):
            return f"NOT ({_condition(part)})"
        case Both(parts):
            return " AND ".join(f"({_condition(part)})" for part in parts)
        case Either(parts):
            return " OR ".join(f"({_condition(part)})" for part in parts)


def _over(subject: tree.Node, sql: str, parser: Parser) -> tree.Node:
    """The tree of an expression over ``subject``."""

    def replace(node: tree.Node) -> tree.Node:
        if node.get("type") == "COLUMN_REF":
            return subject
        return tree.mapped(node, replace)

    return replace(parser.parse(f"SELECT {sql}").node["select_list"][0])


def searched(where: tree.Node | None) -> list[tree.Node]:
    """The calls of `match` in a condition that are not negated."""
    if where is None or where.get("type") == "OPERATOR_NOT" or where.get("type") == "SUBQUERY":
        return []
    if where.get("type") == "FUNCTION" and str(where["function_name"]).lower() == MATCH:
        return [where]
    return [call for child in tree.children(where) for call in searched(child)]


def scored(
    call: tree.Node,
    calls: Sequence[tree.Node],
    typed: Typed,
    bindings: Bindings,
    parser: Parser,
) -> tree.Node:
    """The expression that a call of `score` stands for: it sums up these calls of `match`.

    Statistics that the bindings do not know are noted there as wanted, and the expression means
    nothing. Raises AlderError(UNSUPPORTED) where there is no match, or not of a field.
    """
    if tree.arguments(call):
        raise AlderError(Reason.INVALID_ARGUMENT, "score() has no arguments")
    parts = [_scored(call, typed, bindings, parser) for call in calls]
    if not parts:
        raise AlderError(
            Reason.UNSUPPORTED,
            "score() tells how well a row meets the match(...) in the WHERE of its SELECT, "
            "and there is none",
        )
    total = parts[0]
    for part in parts[1:]:
        total = tree.operator("+", total, part)
    return total


def _scored(call: tree.Node, typed: Typed, bindings: Bindings, parser: Parser) -> tree.Node:
    subject, query = _parsed(call, parser)
    text, sql_type = typed(subject)
    found = bindings.field_at(text)
    if found is None or sql_type != "VARCHAR":
        raise AlderError(
            Reason.UNSUPPORTED,
            "score() counts words over a collection, so each match(...) in the WHERE must be "
            "over a field that holds text",
        )
    asked = statistics(found[0].collection, found[1].path, query)
    missing = [one for one in asked if one not in bindings.statistics]
    bindings.wanted += missing
    sql = "0::DOUBLE" if missing else _score(asked, bindings.statistics)
    return _over(text, sql, parser)


def _score(asked: Iterable[Statistic], known: Statistics) -> str:
    texts, *terms = asked
    documents, words_count = known[texts]
    mean = words_count / documents if words_count else 1.0
    length = f"{K1} * ({1 - B} + {B} * len({words.words_sql(_SUBJECT)}) / {_number(mean)})"
    parts = []
    for term in terms:
        if term.words is None:
            continue
        holding, _ = known[term]
        idf = math.log1p((documents - holding + 0.5) / (holding + 0.5))
        times = words.occurrences_sql(_SUBJECT, term.words.words, term.words.prefix)
        ratio = f"1 + {length} / nullif({times}, 0)"
        parts.append(f"coalesce({_number(idf * (K1 + 1))} / ({ratio}), 0)")
    return " + ".join(parts) or "0::DOUBLE"


def _number(value: float) -> str:
    return f"{value!r}::DOUBLE"


def terms(
    conditions: Iterable[tree.Node], field_of: Callable[[str], Field | None]
) -> list[leaf_pb2.Term]:
    """The conditions on words among conditions that must all hold, for the leaf's indexes."""
    found = []
    for condition in conditions:
        for column, clauses in _clauses(condition).items():
            entry = field_of(column)
            if entry is not None and not entry.overflow:
                found += [_term(entry.path, clause) for clause in clauses]
    return found


def _term(path: str, clause: Clause) -> leaf_pb2.Term:
    texts = [words.written(one.words, one.prefix) for one in clause]
    return leaf_pb2.Term(
        path=path, operator=words.OPERATOR, values_json=[f'"{text}"' for text in texts]
    )


def _clauses(node: tree.Node) -> Mapping[str, list[Clause]]:
    """By column: clauses that all hold for a row that meets the condition."""
    match node.get("type"):
        case "CONJUNCTION_AND":
            merged: dict[str, list[Clause]] = {}
            for child in node["children"]:
                for column, clauses in _clauses(child).items():
                    merged.setdefault(column, []).extend(clauses)
            return merged
        case "CONJUNCTION_OR":
            first, *others = (_clauses(child) for child in node["children"])
            for other in others:
                first = {
                    column: _either(clauses, other[column])
                    for column, clauses in first.items()
                    if column in other and len(clauses) * len(other[column]) <= CLAUSES_MAX
                }
            return first
        case "FUNCTION":
            found = _search(node)
            if found is not None and found[0].get("type") == "COLUMN_REF":
                return {str(found[0]["column_names"][-1]): [(found[1],)]}
    return {}


def _either(left: list[Clause], right: list[Clause]) -> list[Clause]:
    return [tuple(dict.fromkeys(one + other)) for one in left for other in right]


def _search(node: tree.Node) -> tuple[tree.Node, Words] | None:
    """The text and the words that a regular expression is about, if it is one of ours."""
    arguments = tree.arguments(node)
    if node["function_name"] != "regexp_matches" or len(arguments) != 2:
        return None
    pattern = tree.literal(arguments[1])
    found = words.of_pattern(pattern[1]) if pattern is not None else None
    text = _made_plain(arguments[0])
    return (text, Words(*found)) if found is not None and text is not None else None


def _made_plain(node: tree.Node) -> tree.Node | None:
    """The text of which an expression is the plain form; None if it isn't one."""
    for name in ("lower", "strip_accents"):
        if node.get("type") != "FUNCTION" or node["function_name"] != name:
            return None
        node = tree.arguments(node)[0]
    return node


def shown(node: tree.Node) -> tree.Node:
    """The tree with `match` in place of what it became, for people to read."""
    found = tree.mapped(node, shown)
    if node.get("type") == "FUNCTION":
        search = _search(node)
        if search is not None:
            query = tree.constant("STRING", written(search[1]))
            return tree.named(tree.function(MATCH, search[0], query), node.get("alias", ""))
    if node.get("type") == "CONJUNCTION_AND":
        needed = deciding(node["children"])
        pairs = zip(node["children"], found["children"], strict=True)
        kept = [after for before, after in pairs if any(before is one for one in needed)]
        return {**found, "children": kept} if len(kept) > 1 else kept[0]
    return found


def deciding(conditions: Sequence[tree.Node]) -> list[tree.Node]:
    """The conditions, all of which must hold, without those that only spare others their work."""
    searches = [_search(one) for one in conditions if one.get("type") == "FUNCTION"]
    spared = {
        (tree.identity(search[0]), word)
        for search in searches
        if search is not None
        for word in search[1].words
    }
    return [one for one in conditions if _plain_search(one) not in spared]


def _plain_search(node: tree.Node) -> tuple[str, str] | None:
    """The text and the word of the search that stands before each costlier one."""
    if node.get("type") != "FUNCTION" or node["function_name"] != "contains":
        return None
    text, word = tree.arguments(node)
    plain, found = _made_plain(text), tree.literal(word)
    return (tree.identity(plain), found[1]) if plain is not None and found is not None else None
