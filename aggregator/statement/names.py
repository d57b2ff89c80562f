"""Names in SQL to paths in documents: one collection's fields as a tree of keys.

A name is resolved key by key: the exact spelling first, then the only one that differs in case.
Between a field and something inside another field the longest known path wins. A path that other
paths continue is an object and reads as JSON; so does a path without a column,
where the limit on fields was reached.
"""

import difflib
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Final

from alder import paths
from alder.errors import AlderError, Reason
from alder.fieldtypes import sql_type
from alder.schema import Schema

SYSTEM_TYPES: Final = {
    "_id": "VARCHAR",
    "_time": "TIMESTAMP",
    "_log_time": "TIMESTAMP",
    "_source": "VARCHAR",
    "_partition": "INTEGER",
    "_offset": "BIGINT",
    "_doc": "JSON",
}
_NEAREST_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Field:
    """What a name stands for: a path, its SQL type and its physical types (none: from _doc).

    ``overflow``: some rows may have their value in the document only.
    """

    path: str
    sql_type: str
    types: tuple[str, ...] = ()
    overflow: bool = False


@dataclass(slots=True)
class _Key:
    """A key of the tree: the types of the values right here, and the keys inside."""

    types: frozenset[str] = frozenset()
    inside: dict[str, "_Key"] = field(default_factory=dict)
    folded: dict[str, list[str]] = field(default_factory=dict)

    def child(self, name: str) -> "_Key":
        if name not in self.inside:
            self.inside[name] = _Key()
            self.folded.setdefault(name.lower(), []).append(name)
        return self.inside[name]

    def find(self, name: str) -> str | None:
        if name in self.inside:
            return name
        alike = self.folded.get(name.lower(), [])
        return alike[0] if len(alike) == 1 else None


class Names:
    """The names of one collection at one version of its schema.

    Where ``changes`` are read there is :data:`alder.paths.CAUSES`, too.
    """

    def __init__(self, schema: Schema, changes: bool = False) -> None:
        self.overflow = schema.overflow
        self._changes = changes
        self._aliases: dict[str, str] = {}
        self._root = _Key()
        self._paths = list(schema.fields)
        for path, types in schema.fields.items():
            key = self._root
            for name in _tree_keys(path):
                key = key.child(name)
            key.types = key.types | types

    def renamed(self, table: str, aliases: Sequence[str]) -> "Names":
        """The names where the first fields of ``table`` are known by aliases alone.

        Raises AlderError(WRONG_TYPE) for more aliases than fields.
        """
        keys = list(self._root.inside)
        if len(aliases) > len(keys):
            raise AlderError(
                Reason.WRONG_TYPE,
                f"{table} has {len(keys)} columns, but {len(aliases)} are named after it",
            )
        other = copy(self)
        other._aliases = dict(zip(keys, aliases, strict=False))
        return other

    def top_level(self) -> list[tuple[str, Field]]:
        """The fields of the documents themselves, by the user's name, in the order first seen."""
        return [
            (self._aliases.get(name, _user_name(name)), self._field([name]))
            for name in self._root.inside
            if name not in paths.RECORD_FIELDS
        ]

    def spelled(self, entry: Field) -> str:
        """What a field at the top level is called here."""
        keys = _tree_keys(entry.path)
        return self._aliases.get(keys[0], _user_name(keys[0]))

    def inside(self, name: str) -> list[tuple[str, Field]]:
        """The fields right inside of the objects at the top level that have this name."""
        keys = self._unaliased([name])
        found = self._root.find(keys[0]) if keys is not None else None
        if found is None:
            return []
        return [(key, self._field([found, key])) for key in self._root.inside[found].inside]

    def by_path(self) -> list[tuple[str, Field]]:
        """Every path that has values of its own, in the order first seen."""
        return [(path, self._field(_tree_keys(path))) for path in self._paths]

    def resolve(self, parts: Sequence[str]) -> Field | None:
        """The field of a name given in parts; None if the collection has none."""
        keys = self._unaliased(parts)
        if keys is None:
            return None
        if keys[0] is not parts[0]:
            return self._known(keys)
        system = self._system(parts)
        if system is not None:
            return system
        found = self._known(parts)
        if found is not None:
            return found
        if len(parts) == 1:
            return self._dotted(parts[0])
        return None

    def resolve_overflow(self, parts: Sequence[str]) -> Field | None:
        """The JSON of a name without a column, where paths without columns may exist."""
        if not self.overflow:
            return None
        return Field(paths.join(list(parts)), "JSON")

    def nearest(self, parts: Sequence[str]) -> list[str]:
        """Known names that are spelled like this one."""
        fields = [path for path in self._paths if _tree_keys(path)[0] not in self._aliases]
        known = [*self._aliases.values(), *fields, *paths.SYSTEM_FIELDS]
        folded = {name.lower(): name for name in known}
        wanted = ".".join(parts).lower()
        close = difflib.get_close_matches(wanted, folded, n=_NEAREST_MAX, cutoff=0.6)
        return [folded[name] for name in close]

    def _unaliased(self, parts: Sequence[str]) -> list[str] | None:
        """The keys that a name starts with; None if an alias has taken its place."""
        first, *others = parts
        for key, alias in self._aliases.items():
            if alias.lower() == first.lower():
                return [key, *others]
        if self._aliases and self._root.find(first) in self._aliases:
            return None
        return [first, *others]

    def _system(self, parts: Sequence[str]) -> Field | None:
        name = parts[0].lower()
        if self._changes and name == paths.CAUSES:
            return Field(name, "VARCHAR[]")
        if name not in SYSTEM_TYPES:
            return None
        if len(parts) == 1:
            return Field(name, SYSTEM_TYPES[name])
        if name == "_doc":
            known = None if parts[1] in paths.RECORD_FIELDS else self._known(parts[1:])
            return known or Field(paths.join(list(parts[1:])), "JSON")
        return None

    def _known(self, parts: Sequence[str]) -> Field | None:
        key = self._root
        keys: list[str] = []
        for index, part in enumerate(parts):
            name = key.find(part)
            if name is None:
                holds_json = "json" in key.types or any(tag.startswith("list") for tag in key.types)
                if keys and holds_json and not key.inside:
                    return Field(_path([*keys, *parts[index:]]), "JSON")
                return None
            keys.append(name)
            key = key.inside[name]
        return self._field(keys)

    def _dotted(self, name: str) -> Field | None:
        """A whole path written as one quoted name, as `describe` prints it."""
        if "." not in name and "\\" not in name:
            return None
        try:
            keys = _tree_keys(name)
        except ValueError:
            return None
        return self._known(keys)

    def _field(self, keys: Sequence[str]) -> Field:
        key = self._root
        for name in keys:
            key = key.inside[name]
        path = _path(keys)
        if key.inside or not key.types:
            return Field(path, "JSON")
        overflow = self.overflow and path not in paths.RECORD_FIELDS
        return Field(path, sql_type(key.types), tuple(sorted(key.types)), overflow)


def nearest_of(name: str, known: Iterable[str]) -> list[str]:
    """Names that are spelled like this one."""
    folded = {entry.lower(): entry for entry in known}
    close = difflib.get_close_matches(name.lower(), folded, n=_NEAREST_MAX, cutoff=0.6)
    return [folded[entry] for entry in close]


def did_you_mean(names: Sequence[str]) -> str:
    """The end of an error sentence that offers names."""
    if not names:
        return ""
    return f"; did you mean {' or '.join(names)}?"


def _user_name(key: str) -> str:
    return key[1:] if _is_escaped_system(key) else key


def _is_escaped_system(name: str) -> bool:
    return name.startswith("\\") and paths.join([name[1:]]) == name


def _tree_keys(path: str) -> list[str]:
    """The keys of a path, the user's own `_id` at the root kept apart from the system's."""
    keys = paths.split(path)
    if keys[0] in paths.SYSTEM_FIELDS or path.startswith("\\_"):
        keys[0] = "\\" + keys[0]
    return keys


def _path(keys: Sequence[str]) -> str:
    if keys[0] in paths.RECORD_FIELDS:
        return ".".join(map(paths.escape, keys))
    return paths.join([_user_name(keys[0]), *keys[1:]])
