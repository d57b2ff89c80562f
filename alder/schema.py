"""The schema of a shard or of a collection: paths, their physical types, and a version.

A schema only grows, so a union of schemas is their merge, and a larger version means more fields.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from alder.fieldtypes import split_column_name
from alder.v1 import common_pb2


@dataclass(frozen=True, slots=True)
class Schema:
    """Paths in the order first seen, each with the set of its type tags."""

    version: int = 0
    fields: Mapping[str, frozenset[str]] = field(default_factory=dict)
    overflow: bool = False

    @classmethod
    def from_proto(cls, message: common_pb2.Schema) -> "Schema":
        """The schema that a leaf sent."""
        fields = {entry.path: frozenset(entry.types) for entry in message.fields}
        return cls(message.version, fields, message.overflow)

    def to_proto(self) -> common_pb2.Schema:
        """The schema as it travels."""
        return common_pb2.Schema(
            version=self.version,
            fields=[
                common_pb2.SchemaField(path=path, types=sorted(types))
                for path, types in self.fields.items()
            ],
            overflow=self.overflow,
        )

    def with_columns(self, columns: Iterable[str], overflow: bool = False) -> "Schema":
        """The schema after rows with these physical columns; itself, if nothing is new."""
        fields = dict(self.fields)
        for column in columns:
            tag, path = split_column_name(column)
            known = fields.get(path, frozenset())
            if tag not in known:
                fields[path] = known | {tag}
        if fields == self.fields and (self.overflow or not overflow):
            return self
        return Schema(self.version + 1, fields, self.overflow or overflow)

    def merged(self, other: "Schema") -> "Schema":
        """The union. Its version is the sum, which grows whenever that of a part does."""
        fields = dict(self.fields)
        for path, types in other.fields.items():
            fields[path] = fields.get(path, frozenset()) | types
        return replace(
            self,
            version=self.version + other.version,
            fields=fields,
            overflow=self.overflow or other.overflow,
        )
