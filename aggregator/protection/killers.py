"""Statements that were in flight when leaves died: after two deaths they are refused for a while.

A leaf that dies tells nobody why, so every statement with a fragment on it is a suspect, known by
its shape. Several calls that break off together are one death: a leaf dies once until it answers
again. A shape that was in flight at two deaths within an hour is refused. Innocents may be among
those, so it is not for ever: after the time one call of the shape runs as a trial, while others are
still refused. If it ends, all is forgotten; if a leaf dies under it, the time doubles. No query
sends a fragment again to a leaf that died under it. Time is given to every method.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from alder.errors import AlderError, Reason
from alder.sqltext import Kind, tokens

DEATHS_MAX: Final = 2
MEMORY_S: Final = 3_600.0
DOUBLINGS_MAX: Final = 6
SUSPECTS_MAX: Final = 1_000
SQL_CHARACTERS_MAX: Final = 500
_LITERALS: Final = frozenset({Kind.TEXT, Kind.NUMBER})
_LISTS: Final = re.compile(r"\?(?: , \?)+")


def fingerprint(sql: str) -> str:
    """What statements are called that differ in literals alone: 16 hexadecimal digits."""
    words = " ".join(
        "?" if token.kind in _LITERALS else token.text.lower() for token in tokens(sql)
    )
    shape = _LISTS.sub("?", words)
    return hashlib.blake2b(shape.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(slots=True)
class Suspect:
    """A shape that was in flight when leaves died. Times in seconds of the clock given."""

    statement: str
    sql: str
    deaths: dict[tuple[str, int], float] = field(default_factory=dict)
    refused_until_s: float | None = None
    refused_s: float = 0.0
    on_trial: bool = False


class Killers:
    """Who was there when leaves died. ``refused_s`` 0: nobody is refused."""

    def __init__(self, refused_s: float) -> None:
        self._refused_s = refused_s
        self._suspects: dict[str, Suspect] = {}
        self._deaths: dict[str, int] = {}
        self._dead: set[str] = set()

    def answered(self, leaves: Iterable[str]) -> None:
        """These leaves are alive: what breaks off on them later is another death."""
        self._dead.difference_update(leaves)

    def died(self, leaf: str, sql: str, now_s: float) -> None:
        """The connection to a leaf broke while it ran a fragment of the statement."""
        if leaf not in self._dead:
            self._dead.add(leaf)
            self._deaths[leaf] = self._deaths.get(leaf, 0) + 1
        if not self._refused_s:
            return
        statement = fingerprint(sql)
        if statement not in self._suspects and len(self._suspects) >= SUSPECTS_MAX:
            del self._suspects[next(iter(self._suspects))]
        suspect = self._suspects.setdefault(statement, Suspect(statement, sql[:SQL_CHARACTERS_MAX]))
        suspect.deaths[leaf, self._deaths[leaf]] = now_s
        suspect.deaths = {
            death: at_s for death, at_s in suspect.deaths.items() if at_s > now_s - MEMORY_S
        }
        if suspect.on_trial:
            suspect.refused_s = min(2 * suspect.refused_s, self._refused_s * 2**DOUBLINGS_MAX)
        elif suspect.refused_until_s is None and len(suspect.deaths) >= DEATHS_MAX:
            suspect.refused_s = self._refused_s
        else:
            return
        suspect.on_trial = False
        suspect.refused_until_s = now_s + suspect.refused_s

    def check(self, sql: str, now_s: float) -> bool:
        """Lets a statement run; True if this is its trial, whose end is to be told.

        Raises AlderError(QUARANTINED) for one that is refused.
        """
        suspect = self._suspect(sql)
        if suspect is None or suspect.refused_until_s is None:
            return False
        if not suspect.on_trial and now_s >= suspect.refused_until_s:
            suspect.on_trial = True
            return True
        left_s = max(suspect.refused_until_s - now_s, 1.0)
        raise AlderError(
            Reason.QUARANTINED,
            f"leaves died twice while they ran statements like this one, so it is refused "
            f"for {left_s:.0f} s; change it, or lift this by RELEASE '{suspect.statement}'",
            left_s,
        )

    def tried(self, sql: str, ended_well: bool) -> None:
        """The trial of a statement is over."""
        suspect = self._suspect(sql)
        if suspect is not None and suspect.on_trial:
            suspect.on_trial = False
            if ended_well:
                del self._suspects[suspect.statement]

    def release(self, statement: str) -> None:
        """Forgets a statement. Raises AlderError(INVALID_ARGUMENT) if it is not refused."""
        if statement not in {suspect.statement for suspect in self.refused()}:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"no statement {statement!r} is refused here; SHOW QUARANTINED STATEMENTS lists "
                "those that are",
            )
        del self._suspects[statement]

    def _suspect(self, sql: str) -> Suspect | None:
        return self._suspects.get(fingerprint(sql)) if self._suspects else None

    def refused(self) -> list[Suspect]:
        """The statements that are refused or on trial."""
        return [one for one in self._suspects.values() if one.refused_until_s is not None]
