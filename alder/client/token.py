"""Tokens: how far the log reached when something was appended or read.

A token given to a later query makes the answer include at least that much: read your own writes,
from any process, since a token is plain text. Merging keeps the later position of each partition,
so merging is commutative, associative and idempotent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from alder.client.errors import ProgrammingError
from alder.errors import AlderError, Reason
from alder.positions import PositionVector, vectors_of_text, vectors_text
from alder.v1 import query_pb2


@dataclass(frozen=True, slots=True)
class Token:
    """The next offset per source and partition, for each collection."""

    positions: Mapping[str, PositionVector] = field(default_factory=dict)

    def __or__(self, other: "Token") -> "Token":
        names = {**self.positions, **other.positions}
        empty = PositionVector()
        return Token(
            {
                name: self.positions.get(name, empty).merged(other.positions.get(name, empty))
                for name in names
            }
        )

    def to_json(self) -> str:
        """JSON text: ``{collection: {source: {partition: next offset}}}``."""
        tree: dict[str, dict[str, dict[str, int]]] = {}
        for name, vector in sorted(self.positions.items()):
            sources = tree.setdefault(name, {})
            for (source, partition), offset in sorted(vector.offsets.items()):
                sources.setdefault(source, {})[str(partition)] = offset
        return orjson.dumps(tree).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Token":
        """The inverse of :meth:`to_json`. Raises ProgrammingError for any other text."""
        try:
            return cls(
                {
                    name: PositionVector(
                        {
                            (source, int(partition)): _offset(offset)
                            for source, partitions in sources.items()
                            for partition, offset in partitions.items()
                        }
                    )
                    for name, sources in orjson.loads(text).items()
                }
            )
        except (ValueError, AttributeError, TypeError) as error:
            raise ProgrammingError(
                Reason.INVALID_ARGUMENT,
                "this is not a token; use the text that Token.to_json() gave",
            ) from error

    def __str__(self) -> str:
        """The text that AS OF POSITION takes: ``ev=log/0:12, log/1:7; users=log/0:3``."""
        return vectors_text(self.positions)

    @classmethod
    def from_text(cls, text: str) -> "Token":
        """The inverse of ``str``; also positions that name no collection, which stand for each.

        Raises ProgrammingError for any other text.
        """
        try:
            return cls(vectors_of_text(text))
        except AlderError as error:
            raise ProgrammingError(error.reason, error.message) from error

    def to_proto(self) -> list[query_pb2.MinPositions]:
        """The token as a query sends it."""
        return [
            query_pb2.MinPositions(collection=name, positions=vector.to_proto())
            for name, vector in sorted(self.positions.items())
        ]


def merged(tokens: "Token | Iterable[Token] | None") -> Token:
    """One token that is as far as each of the given."""
    if tokens is None:
        return Token()
    result = Token()
    for token in (tokens,) if isinstance(tokens, Token) else tokens:
        if not isinstance(token, Token):
            raise ProgrammingError(
                Reason.INVALID_ARGUMENT,
                "min_positions takes the token of an append or of a result, or a list of tokens",
            )
        result |= token
    return result


def _offset(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(value)
    return value
