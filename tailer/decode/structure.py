"""What a decoder knows about the documents of its collection: a tree of keys.

Two things live in the tree. *Fields*: the paths that have columns, admitted in order of appearance
up to a limit, never forgotten. *Heat*: how often each path was met lately. Hot paths make the plan
that DuckDB extracts; rows with anything else take the slower strict path. Heat is a cache only:
both paths give the same columns, so it changes cost and never an answer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from alder import paths

# A column of the plan costs every row some nanoseconds, a row outside the plan some ten
# microseconds.
_HOT_SHARE: Final = 0.004
_COLD_SHARE: Final = 0.001
# Above this share of strings a path is read as text; a row with another value there is read twice.
_TEXTUAL_SHARE: Final = 0.95
_WINDOW_ROWS: Final = 8_192
# DuckDB refuses keys in one structure that differ in case only; they go to further structures.
_LAYERS_MAX: Final = 4


class Node:
    """A key below its parents. ``atoms`` counts recent values that are no filled object,
    ``strings`` those of them that are strings; ``textual`` says that nearly all are.
    """

    __slots__ = (
        "atoms",
        "children",
        "field",
        "hot_atom",
        "hot_object",
        "key",
        "path",
        "plan",
        "strings",
        "textual",
    )

    def __init__(self, key: str, path: str) -> None:
        self.key = key
        self.path = path
        self.children: dict[str, Node] = {}
        self.field = False
        self.atoms = 0.0
        self.strings = 0.0
        self.textual = False
        self.hot_atom = False
        self.hot_object = False
        self.plan: Plan | None = None

    def walk(self) -> Iterator["Node"]:
        """This node and all below."""
        yield self
        for child in self.children.values():
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a structure: JSON text if ``inner`` is empty, else an object of further slots."""

    node: Node
    inner: "dict[str, Slot]"


@dataclass(frozen=True, slots=True)
class Plan:
    """Structures to extract from the objects at one node; together they hold each hot path once."""

    layers: list[dict[str, Slot]]


class Structure:
    """The tree of one decoder."""

    def __init__(self, fields_max: int, known_paths: Iterable[str]) -> None:
        self.root = Node("", "")
        self.overflow = False
        self._fields_max = fields_max
        self._fields = 0
        self._rows = 0.0
        for path in known_paths:
            node: Node | None = self.root
            for key in paths.split(path):
                node = self.child(node, key) if node else None
            if node:
                self.admit(node)

    def child(self, parent: Node, key: str) -> Node | None:
        """The node of a key, made if there is room for more fields; None notes an overflow."""
        node = parent.children.get(key)
        if node is None:
            if self._fields >= self._fields_max:
                self.overflow = True
                return None
            node = Node(key, paths.child(parent.path, key))
            parent.children[key] = node
        return node

    def admit(self, node: Node) -> bool:
        """Whether the values at a node have a column."""
        if not node.field:
            if self._fields >= self._fields_max:
                self.overflow = True
                return False
            node.field = True
            self._fields += 1
        return True

    def observe(self, row_count: int) -> None:
        """After ``row_count`` more rows: choose the hot paths again, and plan if they changed."""
        self._rows += row_count
        changed = _heat(self.root, self._rows)
        if self._rows > _WINDOW_ROWS:
            self._rows /= 2
            for node in self.root.walk():
                node.atoms /= 2
                node.strings /= 2
        if changed or self.root.plan is None:
            self.root.plan = make_plan(self.root)


def make_plan(node: Node) -> Plan:
    """The plan for objects at ``node``, and for every node below that holds both kinds of
    values."""
    layers: list[dict[str, Slot]] = []
    for chain in _hot_chains(node):
        for layer in layers:
            if _insert(layer, chain):
                break
        else:
            if len(layers) < _LAYERS_MAX:
                layers.append({})
                _insert(layers[-1], chain)
    return Plan(layers)


def _hot_chains(top: Node) -> Iterator[list[Node]]:
    for child in top.children.values():
        if not _extractable(child.key):
            continue
        child.plan = make_plan(child) if child.hot_atom and child.hot_object else None
        if child.hot_atom:
            yield [child]
        elif child.hot_object:
            for chain in _hot_chains(child):
                yield [child, *chain]


def _insert(layer: dict[str, Slot], chain: list[Node]) -> bool:
    """Add a path to a structure; False, and nothing added, if a key collides with another."""
    level = layer
    for node in chain:
        slot = level.get(node.key.casefold())
        if slot is None:
            break
        if slot.node is not node:
            return False
        level = slot.inner
    level = layer
    for node in chain:
        level = level.setdefault(node.key.casefold(), Slot(node, {})).inner
    return True


def _extractable(key: str) -> bool:
    """DuckDB refuses an empty key in a structure and cuts one at NUL."""
    return bool(key) and "\0" not in key


def _heat(node: Node, rows: float) -> bool:
    changed = False
    hot_object = False
    for child in node.children.values():
        changed |= _heat(child, rows)
        hot_object |= child.hot_atom or child.hot_object
    share = _COLD_SHARE if node.hot_atom else _HOT_SHARE
    hot_atom = node.field and node.atoms > share * rows
    changed |= hot_atom != node.hot_atom or hot_object != node.hot_object
    node.hot_atom, node.hot_object = hot_atom, hot_object
    node.textual = not hot_object and node.strings > _TEXTUAL_SHARE * node.atoms
    return changed
