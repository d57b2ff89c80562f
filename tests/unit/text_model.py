"""Text search in plain Python: what queries mean and how BM25 scores, over lists of words."""

import math
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from aggregator.functions.textquery import Both, Either, Not, Query, Words, wanted

VOCABULARY = ["a", "b", "ab", "abc", "école", "Ab", "x1", "AND", "日本", "é"]
SEPARATORS = [" ", "  ", ", ", "-", "\n", "!", "…", "\u00a0", "\0", "'", '"', "*", "("]


def texts() -> st.SearchStrategy[str]:
    """Texts in which words repeat, meet and lie inside each other."""
    parts = st.lists(st.sampled_from([*VOCABULARY, *SEPARATORS, *SEPARATORS]), max_size=12)
    return parts.map("".join)


def queries() -> st.SearchStrategy[Query]:
    """Queries over plain words, each in the form that parsing gives."""
    word = st.sampled_from(["a", "b", "ab", "abc", "ecole", "x1", "and", "日本", "e", "ec"])
    row = st.lists(word, min_size=1, max_size=3).map(tuple)
    leaf = st.builds(Words, row, st.booleans())

    def grown(inner: st.SearchStrategy[Query]) -> st.SearchStrategy[Query]:
        several = st.lists(inner, min_size=2, max_size=3)
        return st.one_of(
            several.map(lambda parts: joined(Both, parts)),
            several.map(lambda parts: joined(Either, parts)),
            inner.map(Not),
        )

    return st.recursive(leaf, grown, max_leaves=6)


def joined(kind: type[Both] | type[Either], parts: Sequence[Query]) -> Query:
    """The parts joined, those of the same kind flat."""
    flat: list[Query] = []
    for part in parts:
        same = isinstance(part, (Both, Either)) and type(part) is kind
        flat += part.parts if same and isinstance(part, (Both, Either)) else [part]
    return kind(tuple(flat))


def places(text: Sequence[str], one: Words) -> list[int]:
    """Where words in a row begin in a text, none overlapping the one before."""
    found: list[int] = []
    free = 0
    for begin in range(len(text) - len(one.words) + 1):
        *before, last = text[begin : begin + len(one.words)]
        *first, end = one.words
        fits = last.startswith(end) if one.prefix else last == end
        if before == first and fits and begin >= free:
            found.append(begin)
            free = begin + len(one.words)
    return found


def matches(text: Sequence[str], query: Query) -> bool:
    """True if a text given by its words matches."""
    match query:
        case Words():
            return bool(places(text, query))
        case Not(part):
            return not matches(text, part)
        case Both(parts):
            return all(matches(text, part) for part in parts)
        case Either(parts):
            return any(matches(text, part) for part in parts)


def scores(corpus: Mapping[int, Sequence[str]], query: Query) -> dict[int, float]:
    """The BM25 of every text of a corpus."""
    mean = sum(map(len, corpus.values())) / len(corpus) or 1.0
    found = dict.fromkeys(corpus, 0.0)
    for one in wanted(query):
        times = {number: len(places(text, one)) for number, text in corpus.items()}
        holding = sum(count > 0 for count in times.values())
        idf = math.log(1 + (len(corpus) - holding + 0.5) / (holding + 0.5))
        for number, count in times.items():
            norm = 1.2 * (0.25 + 0.75 * len(corpus[number]) / mean)
            found[number] += idf * 2.2 * count / (count + norm)
    return found
