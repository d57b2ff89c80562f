"""Settings of a connection, and the statements that change them: ``SET name = value``, ``RESET``.

They live in the client alone and travel with every query, so a server keeps nothing between two
queries and any aggregator can answer the next one. The grammar is small on purpose: what is not
exactly a known setting with a fitting value is an error, never silently something else.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from alder.client.errors import ProgrammingError, as_client_error
from alder.client.token import Token as Positions
from alder.errors import AlderError, Reason
from alder.indexing import ACCESS_KINDS
from alder.policy import Policy
from alder.sqltext import Kind, Token, text_of, tokens

JOIN_STRATEGIES: Final = ("auto", "gather", "reduce", "broadcast", "colocated")
TIMEOUT_S_MAX: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What queries of a connection are asked with, unless a call says otherwise.

    ``consistency``: ``cut`` (one cut of the log) or ``latest`` (the newest each shard has).
    ``plan_class``: ``a``, ``b``, ``e``, or ``auto`` to let the planner choose. ``timeout_s``: the
    deadline, None for the connection's. ``memoise_partials``, ``code_kernels`` and
    ``direct_lookup``: whether leaves may answer from partials in memory, by kernels, and by reading
    and comparing single rows, instead of by the engine. ``index_kinds``: the kinds of index that
    may leave rows out, of :data:`alder.indexing.ACCESS_KINDS`. ``as_of``: the text of positions to
    read at where a statement names no moment, "" for the newest. ``policy``: what answers
    must stand for.

    ``join_strategy``: how joins are gathered where it is possible, of :data:`JOIN_STRATEGIES`.
    """

    consistency: str = "cut"
    plan_class: str = "auto"
    memoise_partials: bool = True
    code_kernels: bool = True
    direct_lookup: bool = True
    index_kinds: tuple[str, ...] = ACCESS_KINDS
    join_strategy: str = "auto"
    timeout_s: float | None = None
    as_of: str = ""
    policy: Policy = field(default_factory=Policy)


DEFAULTS: Final = Settings()
Change = Callable[[Settings], Settings]


@dataclass(frozen=True, slots=True)
class Script:
    """A text taken apart: what its leading SET and RESET do, and the rest."""

    changes: tuple[Change, ...]
    rest: str

    def changed(self, settings: Settings) -> Settings:
        """The settings after the changes."""
        for change in self.changes:
            settings = change(settings)
        return settings


def is_setting(sql: str) -> bool:
    """True if a statement is SET or RESET."""
    first = next(tokens(sql), None)
    return first is not None and first.word in _VERBS


def leading(sql: str) -> Script:
    """The changes at the beginning of a text and the text after them ("": there is none).

    Raises ProgrammingError for a statement that changes no setting.
    """
    changes: list[Change] = []
    while is_setting(sql):
        words: list[Token] = []
        end = len(sql)
        for token in tokens(sql):
            if token.text == ";":
                end = token.end
                break
            words.append(token)
        changes.append(_change(words))
        sql = sql[end:]
    if changes and next(tokens(sql), None) is None:
        sql = ""
    return Script(tuple(changes), sql)


def _change(words: Sequence[Token]) -> Change:
    verb, *rest = words
    named = bool(rest) and rest[0].kind is Kind.WORD
    if named and verb.word == "RESET" and len(rest) == 1:
        return (lambda _: DEFAULTS) if rest[0].word == "ALL" else _reader(rest[0].text)(None)
    if named and verb.word == "SET" and len(rest) > 2:
        name, between, *value = rest
        if between.text == "=" or between.word == "TO":
            return _reader(name.text)(_text(value))
    raise ProgrammingError(
        Reason.SYNTAX, f"write SET name = value, or RESET name; settings are {_NAMES}"
    )


def _reader(name: str) -> "_Reader":
    known = _READERS.get(name.lower())
    if known is not None:
        return known
    close = difflib.get_close_matches(name.lower(), _READERS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"settings are {_NAMES}"
    raise ProgrammingError(Reason.INVALID_ARGUMENT, f"there is no setting {name}; {hint}")


def _text(value: Sequence[Token]) -> str | None:
    """A value as text: a string without its quotes, a word or a number; None for DEFAULT."""
    first = value[0]
    if len(value) == 1 and first.word == "DEFAULT":
        return None
    literal = text_of(first) if len(value) == 1 else None
    if literal is not None:
        return literal
    return "".join(token.text for token in value)


def _consistency(text: str | None) -> Change:
    default = DEFAULTS.consistency
    value = default if text is None else _one_of("consistency", text, ("cut", "latest"))
    return lambda settings: replace(settings, consistency=value)


def _plan_class(text: str | None) -> Change:
    default = DEFAULTS.plan_class
    value = default if text is None else _one_of("plan_class", text, ("a", "b", "e", "auto"))
    return lambda settings: replace(settings, plan_class=value)


def _memoise_partials(text: str | None) -> Change:
    value = DEFAULTS.memoise_partials if text is None else _boolean("memoise_partials", text)
    return lambda settings: replace(settings, memoise_partials=value)


def _code_kernels(text: str | None) -> Change:
    value = DEFAULTS.code_kernels if text is None else _boolean("code_kernels", text)
    return lambda settings: replace(settings, code_kernels=value)


def _direct_lookup(text: str | None) -> Change:
    value = DEFAULTS.direct_lookup if text is None else _boolean("direct_lookup", text)
    return lambda settings: replace(settings, direct_lookup=value)


def _index_kinds(text: str | None) -> Change:
    value = DEFAULTS.index_kinds if text is None else _some_of("index_kinds", text, ACCESS_KINDS)
    return lambda settings: replace(settings, index_kinds=value)


def _join_strategy(text: str | None) -> Change:
    default = DEFAULTS.join_strategy
    value = default if text is None else _one_of("join_strategy", text, JOIN_STRATEGIES)
    return lambda settings: replace(settings, join_strategy=value)


def _timeout_s(text: str | None) -> Change:
    value = DEFAULTS.timeout_s if text is None else _seconds("timeout_s", text)
    return lambda settings: replace(settings, timeout_s=value)


def _as_of(text: str | None) -> Change:
    value = DEFAULTS.as_of if text is None else str(Positions.from_text(text)) if text else ""
    return lambda settings: replace(settings, as_of=value)


def _policy(text: str | None) -> Change:
    value = DEFAULTS.policy if text is None else policy_of(text)
    return lambda settings: replace(settings, policy=value)


def policy_of(text: str) -> Policy:
    """The policy in a text. Raises ProgrammingError where it is none."""
    try:
        return Policy.parse(text)
    except AlderError as error:
        raise as_client_error(error) from error


def _one_of(name: str, text: str, allowed: Sequence[str]) -> str:
    if text.lower() not in allowed:
        raise _wrong(name, text, " or ".join(map(repr, allowed)))
    return text.lower()


def _some_of(name: str, text: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Names separated by commas, or `all` or `none` of them."""
    named = {part.strip() for part in text.lower().split(",")}
    if named == {"all"}:
        return tuple(allowed)
    if named == {"none"}:
        return ()
    if not named <= set(allowed):
        raise _wrong(name, text, f"all, none, or some of '{', '.join(allowed)}'")
    return tuple(one for one in allowed if one in named)


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise _wrong(name, text, "true or false")
    return _BOOLEANS[text.lower()]


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= TIMEOUT_S_MAX:
        raise _wrong(name, text, f"a number of seconds above 0, up to {TIMEOUT_S_MAX:.0f}")
    return value


def _wrong(name: str, text: str, wanted: str) -> ProgrammingError:
    return ProgrammingError(Reason.INVALID_ARGUMENT, f"{name} is {wanted}, not {text[:80]!r}")


_Reader = Callable[[str | None], Change]
_VERBS: Final = frozenset({"SET", "RESET"})
_BOOLEANS: Final = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
_READERS: Final[Mapping[str, _Reader]] = {
    "consistency": _consistency,
    "plan_class": _plan_class,
    "memoise_partials": _memoise_partials,
    "code_kernels": _code_kernels,
    "direct_lookup": _direct_lookup,
    "index_kinds": _index_kinds,
    "join_strategy": _join_strategy,
    "timeout_s": _timeout_s,
    "as_of": _as_of,
    "policy": _policy,
}
_NAMES: Final = ", ".join(_READERS)
