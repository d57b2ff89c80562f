"""Names of tables in a statement: which collection or view, which version, read at which moment.

In the engine's grammar a table has one name, so the three are one identifier there. Names of
collections and views hold no ``@``, so an identifier says no more than one thing.
"""

import re
from dataclasses import dataclass
from typing import Final

POSITION: Final = "POSITION"
TIMESTAMP: Final = "TIMESTAMP"
_KINDS: Final = {POSITION[0]: POSITION, TIMESTAMP[0]: TIMESTAMP}
_ENCODED: Final = re.compile(
    r"(?P<name>[^@]+)(?:@(?P<version>\d{1,18}))?"
    r"(?:@@(?:D(?P<unless>[^@]*)@)?(?P<kind>[PT])(?P<text>.*))?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class AsOf:
    """A moment: ``kind`` is POSITION or TIMESTAMP, ``text`` what the literal behind it says.

    With ``unless``, the text of positions, only rows that are not in the answer there.
    """

    kind: str
    text: str
    unless: str | None = None

    def __str__(self) -> str:
        literal = self.text.replace("'", "''")
        but = "" if self.unless is None else f" BUT NOT AT '{self.unless}'"
        return f"AS OF {self.kind} '{literal}'{but}"


@dataclass(frozen=True, slots=True)
class TableName:
    """A table as a statement names it; without a version the newest, without a moment now."""

    name: str
    version: int | None = None
    as_of: AsOf | None = None

    @classmethod
    def decode(cls, text: str) -> "TableName":
        """The inverse of :meth:`encode`; any other text is a plain name."""
        found = _ENCODED.fullmatch(text)
        if found is None:
            return cls(text)
        version = int(found["version"]) if found["version"] else None
        kind = _KINDS.get(found["kind"])
        as_of = AsOf(kind, found["text"], found["unless"]) if kind is not None else None
        return cls(found["name"], version, as_of)

    def encode(self) -> str:
        """One identifier; the plain name where there is no more to say."""
        version = "" if self.version is None else f"@{self.version}"
        moment = ""
        if self.as_of is not None:
            unless = "" if self.as_of.unless is None else f"D{self.as_of.unless}@"
            moment = f"@@{unless}{self.as_of.kind[0]}{self.as_of.text}"
        return f"{self.name}{version}{moment}"

    def __str__(self) -> str:
        version = "" if self.version is None else f"@{self.version}"
        moment = "" if self.as_of is None else f" {self.as_of}"
        return f"{self.name}{version}{moment}"
