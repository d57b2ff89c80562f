"""Words: the units of text that `match` looks for, as SQL of the engine and nothing else.

A word is a longest run of characters that separate no words, once accents are removed and letters
are lower case; so `L'École` holds the words `l` and `ecole`. White space, control characters,
punctuation and symbols separate; letters and digits of every script do not. Whoever needs words, to
test a row, to count or to index, has the engine evaluate one of these expressions, so an index and
a predicate can't disagree about a text. The words of a text don't depend on any other text.

What separates is a list of ranges, because the engine's regular expressions need ten milliseconds
to take in the Unicode categories of letters and digits, and half a millisecond for these. A test
holds the words of every character; they are part of stored indexes, and ``VERSION`` changes with
them.
"""

import re
from collections.abc import Sequence
from typing import Final

VERSION: Final = 1
"""Names what a word is; it is stored with every index of words."""
OPERATOR: Final = "match"
"""The operator of a term whose values are words in a row, of which a row holds at least one."""

_RANGES: Final = (
    "00-2F 3A-40 5B-60 7B-A9 AB-B1 B4 B6-B8 BB BF D7 F7 2C2-2C5 2D2-2DF 2E5-2EB 2ED 2EF-2FF 375 37E"
    " 384-385 387 3F6 482 55A-55F 589-58F 5BE-5C6 5F3-61F 66A-66D 6D4 6DD-6DE 6E9 6FD-6FE 700-70F"
    " 964-965 970 E3F E4F E5A-E5B F01-F1F F34-F3D 104A-104F 10FB 1360-1368 17D4-17D6 17D8-17DB"
    " 1800-180E 2000-206F 207A-207E 208A-208E 20A0-20CF 2190-245F 2500-2775 2794-2BFF 2E00-2E7F"
    " 3000-3004 3008-3020 3030 303D-303F 309B-309C 30A0 30FB FD3E-FD4F FE10-FE6B FEFF-FF0F"
    " FF1A-FF20 FF3B-FF40 FF5B-FF65 FFE0-FFFD 1F000-1FAFF"
)
"""What Unicode 15 files under P, S, Z, Cc and Cf in the scripts that are written most, with the
unassigned characters and the marks in between."""
_SEPARATORS: Final = "".join(
    "-".join(rf"\x{{{code}}}" for code in one.split("-")) for one in _RANGES.split()
)
_BEGIN: Final = f"(^|[{_SEPARATORS}])"
_BETWEEN: Final = f"[{_SEPARATORS}]+"
_END: Final = f"([{_SEPARATORS}]|$)"
_PLAIN: Final = re.compile("[0-9a-z\x80-\U0010ffff]+")
_PREFIX: Final = "*"


def plain_sql(text: str) -> str:
    """A text without accents, in lower case. ``text`` is SQL, here and below."""
    return f"lower(strip_accents({text}))"


def words_sql(text: str) -> str:
    """The list of a text's words, in order."""
    return f"regexp_extract_all({plain_sql(text)}, '[^{_SEPARATORS}]+')"


def holds_sql(text: str, words: Sequence[str], prefix: bool) -> str:
    """True for a text that holds these words in a row; with ``prefix`` the last one may go on.

    The plain search only spares most texts the costlier one.
    """
    plain = plain_sql(text)
    searches = [f"contains({plain}, '{word}')" for word in dict.fromkeys(words)]
    return " AND ".join([*searches, f"regexp_matches({plain}, '{pattern(words, prefix)}')"])


def pattern(words: Sequence[str], prefix: bool) -> str:
    """The regular expression of words in a row."""
    return f"{_BEGIN}{_BETWEEN.join(words)}{'' if prefix else _END}"


def of_pattern(text: str) -> tuple[tuple[str, ...], bool] | None:
    """The inverse of :func:`pattern`; None for any other text."""
    body = text.removeprefix(_BEGIN)
    words = tuple(body.removesuffix(_END).split(_BETWEEN))
    prefix = not body.endswith(_END)
    plain = all(_PLAIN.fullmatch(word) for word in words)
    return (words, prefix) if plain and pattern(words, prefix) == text else None


def written(words: Sequence[str], prefix: bool) -> str:
    """Words in a row as one text, which :func:`of_written` reads."""
    return " ".join(words) + (_PREFIX if prefix else "")


def of_written(text: str) -> tuple[tuple[str, ...], bool]:
    """The inverse of :func:`written`."""
    return tuple(text.removesuffix(_PREFIX).split(" ")), text.endswith(_PREFIX)


def occurrences_sql(text: str, words: Sequence[str], prefix: bool) -> str:
    """How often a text holds these words in a row, none counted twice.

    Each word stands between blanks of its own, so that neighbours are found one by one.
    """
    padded = f"' ' || array_to_string({words_sql(text)}, '  ') || ' '"
    wanted = " " + "  ".join(words) + ("" if prefix else " ")
    return f"(len(string_split({padded}, '{wanted}')) - 1)"
