r"""Dotted paths: the names of fields inside nested documents.

A path is the keys from the root joined with dots. So that every key has exactly one spelling, a dot
or a backslash inside a key is written ``\.`` or ``\\``, an empty key ``\e``, and a root key that
has the name of a system field or of a field of records gets a backslash before it (``\_id`` is the
user's own ``_id``).
``split`` and ``join`` are inverses for every list of keys; a property test holds that.
"""

from collections.abc import Sequence
from typing import Final

SYSTEM_FIELDS: Final = ("_id", "_time", "_log_time", "_source", "_partition", "_offset", "_doc")
RECORD_FIELDS: Final = ("_key", "_headers")
"""Paths of what a record of a log may have beside its document; stored like fields of documents."""
_RESERVED: Final = frozenset((*SYSTEM_FIELDS, *RECORD_FIELDS))
CAUSES: Final = "\\causes"
"""Stands for no path of a document: what in the log changed a row, where changes are read."""


def escape(key: str) -> str:
    """One key as a component of a path."""
    if not key:
        return "\\e"
    return key.replace("\\", "\\\\").replace(".", "\\.")


def join(keys: Sequence[str]) -> str:
    """The path of these keys, from the root. Raises ValueError for no keys."""
    if not keys:
        raise ValueError("a path needs at least one key")
    path = ".".join(escape(key) for key in keys)
    return "\\" + path if keys[0] in _RESERVED else path


def child(parent: str, key: str) -> str:
    """The path of ``key`` inside the object at ``parent`` (an empty parent is the root)."""
    return f"{parent}.{escape(key)}" if parent else join([key])


def split(path: str) -> list[str]:
    """The keys of a path. Raises ValueError where the path is not well formed."""
    keys: list[str] = []
    key: list[str] = []
    characters = iter(path)
    for character in characters:
        if character == ".":
            keys.append("".join(key))
            key = []
        elif character == "\\":
            escaped = next(characters, "")
            if escaped in {".", "\\"}:
                key.append(escaped)
            elif escaped == "e":
                key.append("")
            elif escaped == "_" and not keys and not key:
                key.append("_")
            else:
                raise ValueError(f"{path!r} is not a path: a backslash before {escaped!r}")
        else:
            key.append(character)
    keys.append("".join(key))
    return keys


def json_pointer(keys: Sequence[str]) -> str:
    """The RFC 6901 pointer to these keys."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)
