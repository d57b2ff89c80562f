"""Views and saved queries: statements that the catalog keeps under a name, in all their versions.

A version never changes, so whoever has seen one may keep what was made of it. The bare name means
the newest version, ``name@2`` a pinned one.
"""

import re
from dataclasses import dataclass
from typing import Final

from alder.errors import AlderError, Reason
from alder.v1 import catalog_pb2

_PINNED: Final = re.compile(r"(.+)@([1-9][0-9]{0,8})\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a saved query; ``default_sql``: a literal, None if a value must be given."""

    name: str
    default_sql: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One version; ``reads`` are the collections and views after its FROMs, ``v@2`` if pinned.

    ``columns`` names a view's columns from the first on, ``parameters`` are a saved query's.
    """

    number: int
    sql: str
    columns: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    reads: tuple[str, ...] = ()

    @classmethod
    def from_proto(cls, message: catalog_pb2.DefinitionVersion) -> "Version":
        """The version in a snapshot or a request."""
        return cls(
            message.version,
            message.sql,
            tuple(message.columns),
            tuple(
                Parameter(entry.name, entry.default_sql if entry.HasField("default_sql") else None)
                for entry in message.parameters
            ),
            tuple(message.reads),
        )

    def to_proto(self) -> catalog_pb2.DefinitionVersion:
        """The version as it travels."""
        return catalog_pb2.DefinitionVersion(
            version=self.number,
            sql=self.sql,
            columns=self.columns,
            parameters=[
                catalog_pb2.QueryParameter(name=entry.name, default_sql=entry.default_sql)
                for entry in self.parameters
            ],
            reads=self.reads,
        )


@dataclass(frozen=True, slots=True)
class Definition:
    """A view or a saved query; versions ascend from 1."""

    name: str
    kind: catalog_pb2.DefinitionKind
    versions: tuple[Version, ...]
    accelerate: bool = False

    @classmethod
    def from_proto(cls, message: catalog_pb2.Definition) -> "Definition":
        """The definition in a snapshot."""
        return cls(
            message.name,
            message.kind,
            tuple(Version.from_proto(entry) for entry in message.versions),
            message.accelerate,
        )

    def to_proto(self) -> catalog_pb2.Definition:
        """The definition as it travels."""
        return catalog_pb2.Definition(
            name=self.name,
            kind=self.kind,
            versions=[entry.to_proto() for entry in self.versions],
            accelerate=self.accelerate,
        )

    @property
    def is_view(self) -> bool:
        """True for a view, False for a saved query."""
        return self.kind == catalog_pb2.DEFINITION_KIND_VIEW

    @property
    def newest(self) -> Version:
        """The version that the bare name means."""
        return self.versions[-1]

    def version(self, number: int | None) -> Version | None:
        """A pinned version, or the newest for None; None if there is no such version."""
        if number is None:
            return self.newest
        return self.versions[number - 1] if 1 <= number <= len(self.versions) else None


def unpinned(name: str) -> tuple[str, int | None]:
    """A name as written after FROM, and the version that it pins, if it does."""
    match = _PINNED.match(name)
    return (match[1], int(match[2])) if match else (name, None)


def no_version(known: Definition, number: int | None) -> AlderError:
    """The error for a version that a definition does not have."""
    return AlderError(
        Reason.UNKNOWN_COLLECTION,
        f"{known.name} has no version {number}; its newest is {known.newest.number}",
    )
