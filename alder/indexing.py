"""Index settings: which index a path of a collection gets, where the default won't do.

A setting is written ``PATH=KIND``. Kinds: ``auto`` is the default, which suits the values of each
segment; ``none`` keeps zone maps only; ``terms`` has postings of each value, however rarely it
repeats; ``hashes`` finds equal strings; ``sorted`` keeps numbers and times in order, also where
they are clustered; ``text`` has, beside the default, the rows of each word for `match`, and ``geo``
the rows of each cell of the Earth for points that are lists.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from alder import paths
from alder.errors import AlderError, Reason

AUTO: Final = "auto"
NONE: Final = "none"
ACCESS_KINDS: Final = ("births", "elements", "geo", "hashes", "sorted", "terms", "text", "zones")
"""Kinds of index as queries take them: ``elements`` are those of lists, however they are kept;
``births`` find rows by ``_id``; ``zones`` know also where no value is."""
KINDS: Final = (AUTO, NONE, "terms", "hashes", "sorted", "text", "geo")


@dataclass(frozen=True, slots=True)
class IndexSetting:
    """The kind of index that the values at a path get."""

    path: str
    kind: str

    @classmethod
    def parse(cls, text: str) -> "IndexSetting":
        """The setting in ``PATH=KIND``. Raises AlderError(INVALID_ARGUMENT)."""
        path, equals, kind = text.rpartition("=")
        if not equals or not path.strip():
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"{text!r} is no index setting; write PATH=KIND, such as 'tags=none'",
            )
        return cls(path.strip(), kind.strip())

    def __str__(self) -> str:
        return f"{self.path}={self.kind}"


def wanted_kind(settings: Iterable[IndexSetting], path: str) -> str:
    """The kind of index that the values at a path get."""
    return next((setting.kind for setting in settings if setting.path == path), AUTO)


def check_index_settings(
    settings: Iterable[IndexSetting], settings_max: int, characters_max: int
) -> None:
    """Raises AlderError(INVALID_ARGUMENT, LIMIT) for settings that can't work."""
    known: set[str] = set()
    for setting in settings:
        if setting.kind not in KINDS:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"there is no index {setting.kind!r}; {setting.path} can have {', '.join(KINDS)}",
            )
        if setting.path in paths.SYSTEM_FIELDS:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"the index of {setting.path} is fixed; name fields of the documents",
            )
        if len(setting.path) > characters_max:
            raise AlderError(Reason.LIMIT, f"a path has at most {characters_max} characters")
        try:
            paths.split(setting.path)
        except ValueError as error:
            raise AlderError(Reason.INVALID_ARGUMENT, f"the index path: {error}") from error
        if setting.path in known:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"{setting.path} has two index settings; give it one"
            )
        known.add(setting.path)
    if len(known) > settings_max:
        raise AlderError(Reason.LIMIT, f"a collection has at most {settings_max} index settings")
