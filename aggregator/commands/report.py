"""EXPLAIN: a plan, and with ANALYZE what became of it, as the lines of a tree.

Everything is told in the user's names: the columns and tables that planning made up are replaced in
the syntax tree, never in the text, so that a literal which looks like one of them stays as it is.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import duckdb

from aggregator.execution.coverage import Missing, share_of
from aggregator.execution.gathered import Gathered, LeafAnswer
from aggregator.execution.model import Answered, Prepared, Run
from aggregator.functions import text
from aggregator.planning import pushdown
from aggregator.planning.plan import Plan, Read
from aggregator.statement import tree
from aggregator.statement.syntax import Parser
from aggregator.statement.tablename import TableName
from alder import paths
from alder.catalog import Collection
from alder.errors import AlderError
from alder.positions import PartitionKey, PositionVector
from alder.v1 import leaf_pb2

Ends = Mapping[int, Mapping[PartitionKey, int]]
"""By collection id and partition: the next offset that the log gives out, where it is known."""

CLASSES: Final[Mapping[str, str]] = {
    "a": "aggregate of one collection; leaves send states of groups, which combine here",
    "b": "scan of one collection; leaves filter, order and limit",
    "e": "leaves send what each read asks for; the statement runs here",
}
READ_CLASSES: Final[Mapping[str, str]] = {
    "a": "states of groups",
    "b": "rows, the best ones where there is a limit",
    "e": "columns",
}
TEXT_CHARACTERS_MAX: Final = 4_000
VALUES_MAX: Final = 8
SHARDS_MAX: Final = 256
_ENGINES: Final = {
    leaf_pb2.FRAGMENT_ENGINE_KERNELS: "kernels",
    leaf_pb2.FRAGMENT_ENGINE_DIRECT: "direct lookup",
    leaf_pb2.FRAGMENT_ENGINE_STORED: "stored partials",
}
_MADE_UP: Final = re.compile(r"__c_*([akpdgs])(\d*)\Z")
_ALIAS: Final = "__t"
_KINDS: Final = {
    "a": "state",
    "k": "key",
    "p": "argument",
    "d": "distinct_key",
    "g": "grouping",
    "s": "other_values",
}
_OURS: Final = {"__groups": "grouped", "__row": "one"}


@dataclass(slots=True)
class Branch:
    """A line and the lines below it."""

    text: str
    inside: "list[Branch]" = field(default_factory=list)

    def add(self, text: str) -> "Branch":
        """A new line below this one."""
        branch = Branch(text)
        self.inside.append(branch)
        return branch

    def lines(self) -> list[str]:
        """The tree as text; every line is printable."""
        found = [_one_line(self.text)]
        for branch in self.inside:
            last = branch is self.inside[-1]
            first, *others = branch.lines()
            found.append(("└─ " if last else "├─ ") + first)
            found += [("   " if last else "│  ") + line for line in others]
        return found


def planned(prepared: Prepared, parser: Parser) -> list[str]:
    """The tree of a plan."""
    root = _root(prepared.plan)
    names = _Names(prepared.plan, parser)
    _add_joins(root, prepared.plan, names)
    for read in prepared.plan.reads:
        _add_read(root, read, prepared.at.collections[read.collection], names)
    root.add(f"finish: {names.finish_sql()}")
    return root.lines()


def analyzed(run: Run, answered: Answered, ends: Ends, parser: Parser) -> list[str]:
    """The tree of a plan with what each leaf and shard did for it."""
    prepared = answered.prepared
    root = _root(prepared.plan)
    total_us = run.plan_us + run.scatter_us + run.finish_us
    root.add(
        f"time: {_ms(total_us)} (plan {_ms(run.plan_us)}, leaves {_ms(run.scatter_us)}, "
        f"finish {_ms(run.finish_us)}); {_count(answered.result.num_rows, 'row')} in the result"
    )
    names = _Names(prepared.plan, parser)
    if answered.told:
        joins = root.add("joins:")
        for line in answered.told:
            joins.add(line)
    for read, answer in zip(prepared.plan.reads, answered.answers, strict=True):
        collection = prepared.at.collections[read.collection]
        branch = _add_read(root, read, collection, names)
        key = collection.collection_id
        _add_cut(branch, prepared.at.positions[read.collection], answer, ends.get(key, {}))
        for line in answer.told:
            branch.add(line)
        if answer.input_bytes:
            branch.add(f"went along: {_count(answer.input_bytes, 'byte')}")
        _add_missing(branch, collection, prepared.at.missing.get(key, {}))
        _add_leaves(branch, answer)
    root.add(f"finish: {names.finish_sql()}")
    return root.lines()


def _root(plan: Plan) -> Branch:
    return Branch(f"class {plan.plan_class}: {CLASSES[plan.plan_class]}")


def _add_joins(root: Branch, plan: Plan, names: "_Names") -> None:
    """What may be chosen once rows are counted."""
    if not plan.reductions and not plan.broadcasts and not plan.colocated:
        return
    joins = root.add("joins: as counts of rows tell when it runs")
    reads = {read.table: read for read in plan.reads}
    for one in plan.reductions:
        target, source = names.label(reads[one.target]), names.label(reads[one.source])
        column, other = plan.user_names[one.column], plan.user_names[one.source_column]
        joins.add(f"reduce {target} to rows whose {column} is a {other} of {source}")
    for table, _ in plan.broadcasts:
        joins.add(f"broadcast the others to the leaves of {names.label(reads[table])}")
    for table, joined in plan.colocated:
        [beside] = [read.joined for read in joined.reads if read.joined]
        joins.add(
            f"colocated: the leaves of {names.label(reads[table])} have their "
            f"{names.label(reads[beside])} themselves"
        )


def _add_read(root: Branch, read: Read, collection: Collection, names: "_Names") -> Branch:
    leaves = len(collection.shards_by_leaf())
    shards = _count(len(collection.shards), "shard")
    on = "1 leaf" if leaves == 1 else f"{leaves} leaves"
    label = names.label(read)
    called = "" if label == collection.name else f" as {label}"
    as_of = TableName.decode(read.collection).as_of
    moment = "" if as_of is None else f" {as_of}"
    branch = root.add(f"read {collection.name}{moment}{called}: {shards} on {on}")
    branch.add(f"class {read.read_class}: {READ_CLASSES[read.read_class]}")
    if read.whole_key and leaves > 1:
        path = collection.key_path or collection.shard_by_path
        branch.add(f"groups: sharded by {path}, so those with one are on one leaf each")
    elif read.search is not None and leaves > 1:
        branch.add(f"groups: the first {read.search.rows} of each leaf, then those missing")
    elif read.counted:
        branch.add("groups: distinct values, of sealed segments only where they changed")
    columns = [f"{column.path} {column.sql_type}" for column in read.fragment.columns]
    branch.add(f"columns: {', '.join(columns) or 'none'}")
    sql, conditions = names.fragment(read, collection.name)
    branch.add(f"pushed down: {' AND '.join(conditions) or 'no condition'}")
    terms = "; ".join(map(_term, read.fragment.terms))
    branch.add(f"for indexes: {terms or 'no condition'}")
    branch.add(f"fragment: {sql}")
    return branch


def _add_cut(
    branch: Branch, at: PositionVector, answer: Gathered, ends: Mapping[PartitionKey, int]
) -> None:
    newest: dict[PartitionKey, int] = {}
    for scan in answer.scans:
        for key, offset in PositionVector.from_proto(scan.positions).offsets.items():
            newest[key] = max(newest.get(key, 0), offset)
    ahead = sum(max(offset - at[key], 0) for key, offset in newest.items())
    beyond = sum(max(offset - at[key], 0) for key, offset in ends.items())
    behind = f"{beyond} behind the log's end" if ends else "the log's end is not known"
    branch.add(f"cut: {at if at.offsets else 'nothing yet'}")
    branch.add(f"lag: {ahead} records behind the shard that is furthest, {behind}")


def _add_missing(branch: Branch, collection: Collection, missing: Mapping[int, Missing]) -> None:
    if missing:
        inside = branch.add(
            f"not in the answer: {_count(len(missing), 'shard')}; it stands for "
            f"{100 * share_of(collection):.1f} % of {collection.name}"
        )
        for number, one in sorted(missing.items()):
            inside.add(f"shard {number} on {one.leaf}: {one.why}")


def _add_leaves(branch: Branch, answer: Gathered) -> None:
    scans = {scan.shard: scan for scan in answer.scans}
    slowest_first = sorted(answer.leaves, key=lambda entry: (-entry.waited_us, entry.leaf))
    shown = 0
    for entry in slowest_first:
        slowest = len(slowest_first) > 1 and entry is slowest_first[0]
        leaf = branch.add(_leaf_line(entry) + (", the slowest" if slowest else ""))
        for shard in sorted(entry.shards):
            if shown < SHARDS_MAX:
                leaf.add(shard_line(scans[shard]))
            shown += 1
    if shown > SHARDS_MAX:
        branch.add(f"(the first {SHARDS_MAX} of {shown} shards)")


def _leaf_line(entry: LeafAnswer) -> str:
    sent = "handed over" if entry.unfinished else "sent"
    return (
        f"leaf {entry.leaf}: {_ms(entry.elapsed_us)} there, {_ms(entry.waited_us)} until its "
        f"answer was here; {sent} {_count(entry.rows, 'row')}, {_count(entry.size_bytes, 'byte')}"
    )


def shard_line(scan: leaf_pb2.ShardScan) -> str:
    """What one shard did for a fragment."""
    by = ", ".join(scan.access_paths)
    candidates = f"{scan.rows_candidate} candidates by {by}" if by else "no index narrowed"
    line = (
        f"shard {scan.shard}: {_count(scan.rows_total, 'row')} in the cut, {candidates}, "
        f"{scan.rows_scanned} read; {scan.segments_pruned} of "
        f"{_count(scan.segments_total, 'segment')} pruned"
    )
    if scan.partials_hits or scan.partials_misses:
        line += f"; partials of {scan.partials_hits} from memory, {scan.partials_misses} computed"
    if scan.partials_stored:
        line += f"; stored partials of {_count(scan.partials_stored, 'segment')}"
    line += f"; by {_ENGINES.get(scan.engine, 'the engine')}"
    if scan.pages_read or scan.pages_cached:
        line += f"; {_count(scan.pages_read, 'page')} read, {scan.pages_cached} from memory"
    return line


def _term(term: leaf_pb2.Term) -> str:
    values = [str(value) for value in term.values_json]
    if len(values) == 1 and term.operator != "in":
        return f"{term.path} {term.operator} {values[0]}"
    more = f", … {len(values) - VALUES_MAX} more" if len(values) > VALUES_MAX else ""
    return f"{term.path} {term.operator} ({', '.join(values[:VALUES_MAX])}{more})"


class _Names:
    """Prints the SQL of one plan in the user's names."""

    def __init__(self, plan: Plan, parser: Parser) -> None:
        self._plan = plan
        self._parser = parser
        self._labels = _labels(plan)
        partials = {read.table for read in plan.reads if read.read_class == "a"}
        self._tables = {
            table: f"{label}_partials" if table in partials else label
            for table, label in self._labels.items()
        }

    def label(self, read: Read) -> str:
        """What a read is called."""
        return self._labels[read.table]

    def fragment(self, read: Read, collection: str) -> tuple[str, list[str]]:
        """The SQL that a leaf runs and the conditions in it."""
        return self._printed(read.fragment.sql, {pushdown.ROWS: collection})

    def finish_sql(self) -> str:
        """The SQL that runs over what the leaves sent."""
        return self._printed(self._plan.sql, {})[0]

    def _printed(self, sql: str, more: Mapping[str, str]) -> tuple[str, list[str]]:
        try:
            node = text.shown(self._parser.parse(sql).node)
            aliases = _aliases(node, self._tables)
            renamed = self._node(node, {**_OURS, **self._tables, **aliases, **more})
            conditions = tree.conjuncts(_innermost(renamed).get("where_clause"))
            texts = [self._parser.expression_text(entry) for entry in conditions]
            return self._parser.to_sql(renamed), texts
        except (AlderError, RecursionError, duckdb.Error):
            # What is too large to be parsed once more is still told, in the names of the plan.
            return sql, []

    def _node(self, node: tree.Node, tables: Mapping[str, str]) -> tree.Node:
        found = tree.mapped(node, lambda child: self._node(child, tables))
        for key in ("alias", "key", "cte_name"):
            if isinstance(found.get(key), str):
                found[key] = tables.get(found[key], _plain(found[key]))
        match found.get("type"):
            case "COLUMN_REF":
                found["column_names"] = self._column(found["column_names"], tables)
            case "BASE_TABLE":
                name = tables.get(found["table_name"], found["table_name"])
                found = tree.renamed_table(found, name)
                if found["alias"] == name:
                    found["alias"] = ""
        return found

    def _column(self, names: Sequence[str], tables: Mapping[str, str]) -> list[str]:
        *qualifier, name = names
        path = self._plan.user_names.get(name)
        parts = [_plain(name)] if path is None else _parts(path)
        return [*(tables.get(part, part) for part in qualifier), *parts]


def _name(read: Read) -> str:
    return TableName.decode(read.collection).name


def _labels(plan: Plan) -> dict[str, str]:
    """Gathered tables by the name of their collection, numbered where one is read repeatedly."""
    labels: dict[str, str] = {}
    for read in plan.reads:
        name = _name(read)
        same = [other.table for other in plan.reads if _name(other) == name]
        number = same.index(read.table) + 1
        labels[read.table] = name if len(same) == 1 else f"{name}_{number}"
    return labels


def _aliases(node: tree.Node, labels: Mapping[str, str]) -> dict[str, str]:
    """The aliases of the gathered tables, also of one that is wrapped for a USING."""
    found: dict[str, str] = {}
    for part in tree.walk(node):
        source = part
        if part.get("type") == "SUBQUERY" and str(part.get("alias")).startswith(_ALIAS):
            source = part["subquery"]["node"].get("from_table", {})
        if source.get("type") == "BASE_TABLE" and source["table_name"] in labels:
            found[part["alias"]] = labels[source["table_name"]]
    found.pop("", None)
    return found


def _innermost(query: tree.Node) -> tree.Node:
    """The SELECT that reads a table, of one over subqueries."""
    while query.get("from_table", {}).get("type") == "SUBQUERY":
        query = query["from_table"]["subquery"]["node"]
    return query


def _plain(name: str) -> str:
    """A key or state of the plan under a name that can be read; any other name as it is."""
    made_up = _MADE_UP.match(name)
    return f"{_KINDS[made_up[1]]}{made_up[2]}" if made_up else name


def _parts(path: str) -> list[str]:
    keys = paths.split(path)
    return keys if ".".join(keys) == path and all(keys) else [path]


def _one_line(text: str) -> str:
    shown = text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"
    if shown.isprintable():
        return shown
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in shown
    )


def _ms(elapsed_us: int) -> str:
    return f"{elapsed_us / 1000:.1f} ms"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
