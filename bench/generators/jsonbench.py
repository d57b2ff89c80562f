"""Events in the shape of JSONBench: a social network's firehose, about 480 bytes each.

Shares of collections and operations, distinct people per collection, and the shape of records are
those that JSONBench publishes of its data (github.com/ClickHouse/JSONBench, its query results): a
`subject` is a string in some events and an object in others, deletions have no record, and events
without a commit exist. Events come in the order of their time, and no two have the same time, so
``time_us`` names an event.
"""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from bench.generators import files, strings
from bench.generators.strings import Numbers, joined

FIRST_EVENT_US: Final = 1_732_206_349_000_000
INTERVAL_US: Final = 813
_ACTIVITY_EXPONENT: Final = 2.5
"""People are drawn as pool * u ** exponent: the larger, the more the most active ones do."""
_SALT_PERSON: Final = 100
_SALT_POST: Final = 200
_SALT_CID: Final = 300


@dataclass(frozen=True, slots=True)
class Kind:
    """A collection: events per million, share of creations, and people at 1M and 10M events."""

    events: int
    create_share: float
    people: tuple[int, int] | None = None


KINDS: Final = {
    "app.bsky.feed.like": Kind(448_944, 0.990, (117_617, 694_849)),
    "app.bsky.graph.follow": Kind(360_374, 0.938, (63_957, 463_192)),
    "app.bsky.feed.post": Kind(90_816, 0.956, (50_464, 327_190)),
    "app.bsky.feed.repost": Kind(58_540, 0.974, (26_581, 188_549)),
    "app.bsky.graph.block": Kind(14_040, 0.938, (5_785, 45_808)),
    "app.bsky.actor.profile": Kind(11_762, 0.454),
    "app.bsky.graph.listitem": Kind(8_103, 0.938),
    "": Kind(5_328, 0.0),
    "app.bsky.graph.listblock": Kind(895, 0.938),
    "app.bsky.graph.starterpack": Kind(405, 0.257),
    "app.bsky.graph.list": Kind(356, 0.938),
    "app.bsky.feed.threadgate": Kind(255, 0.938),
    "app.bsky.feed.postgate": Kind(104, 0.938),
    "app.bsky.feed.generator": Kind(74, 0.938),
    "app.bsky.labeler.service": Kind(4, 0.938),
}
_OBJECT_SUBJECTS: Final = frozenset({"app.bsky.feed.like", "app.bsky.feed.repost"})
_LANGUAGES: Final = {"en": 60, "ja": 14, "pt": 11, "de": 5, "es": 4, "ko": 2, "fr": 2, "tr": 1}


def write(path: Path, events: int, seed: int = 1) -> Path:
    """The file of that many events as JSON lines, made unless it is there."""
    return files.write(path, events, partial(chunk, events, seed))


def write_more(path: Path, events: int, skipped: int, more: int, seed: int = 1) -> Path:
    """A file of ``more`` events that follow those of :func:`write`, after ``skipped`` others."""
    return files.write(path, more, partial(_later_chunk, events, seed, events + skipped))


def _later_chunk(events: int, seed: int, before: int, first: int, rows: int) -> bytes:
    return chunk(events, seed, before + first, rows)


def chunk(events: int, seed: int, first: int, rows: int) -> bytes:
    """Lines of the events ``first`` .. ``first + rows`` of a file of ``events`` events."""
    rng = np.random.default_rng([seed, first])
    shares = np.array([kind.events for kind in KINDS.values()], dtype=float)
    kinds = rng.choice(len(KINDS), rows, p=shares / shares.sum())
    jitter = rng.integers(0, INTERVAL_US, rows)
    times_us = FIRST_EVENT_US + np.arange(first, first + rows) * INTERVAL_US + jitter
    parts, places = [], []
    for code, (collection, kind) in enumerate(KINDS.items()):
        here = np.flatnonzero(kinds == code)
        created = rng.random(len(here)) < kind.create_share
        for is_created in (True, False):
            chosen = here[created == is_created]
            if len(chosen):
                maker = _Events(rng, events, collection, times_us[chosen])
                parts.append(maker.creations() if is_created else maker.others())
                places.append(chosen)
    order = np.argsort(np.concatenate(places), kind="stable")
    return files.lines(pa.concat_arrays(parts).take(pa.array(order)))


def people_pool(events: int, collection: str) -> int:
    """How many people to draw from, for the published number of distinct ones to appear."""
    kind = KINDS[collection]
    one, ten = kind.people or (int(kind.events * 0.6) + 1, int(kind.events * 4.5) + 1)
    wanted = one * (events / 1e6) ** np.log10(ten / one)
    draws = kind.events * events / 1e6 * max(kind.create_share, 0.05)
    return _pool_for(max(draws, 1.0), min(wanted, 0.95 * draws))


@cache
def _pool_for(draws: float, distinct: float) -> int:
    """The pool of which ``draws`` draws are expected to hit ``distinct`` members; by bisection."""
    low, high = max(distinct, 2.0), max(distinct, 2.0) * 1e4
    grid = np.linspace(0, 1, 20_001)[1:] ** 4
    widths = np.diff(grid, prepend=0.0)
    density = grid ** (1 / _ACTIVITY_EXPONENT - 1) / _ACTIVITY_EXPONENT
    for _ in range(60):
        pool = (low * high) ** 0.5
        hit = pool * float(np.sum(widths * -np.expm1(-draws / pool * density)))
        low, high = (pool, high) if hit < distinct else (low, pool)
    return int(high) + 1


@cache
def _prose() -> strings.Prose:
    return strings.Prose(7)


class _Events:
    """The events of one collection in a chunk, as columns of text."""

    def __init__(
        self, rng: np.random.Generator, events: int, collection: str, times_us: Numbers
    ) -> None:
        self._rng = rng
        self._events = events
        self._collection = collection
        self._times_us = times_us
        self._rows = len(times_us)

    def creations(self) -> pa.StringArray:
        """Commits with a record and its content id."""
        cid = joined("bafyrei", strings.random_words(self._rng, self._rows, 52))
        return self._commits("create", joined('","record":', self._record(), ',"cid":"', cid))

    def others(self) -> pa.StringArray:
        """Deletions, without a record; where there is no collection, events without a commit."""
        if self._collection:
            updated = self._collection == "app.bsky.actor.profile"
            return self._commits("update" if updated else "delete", "")
        return self._accounts()

    def _commits(self, operation: str, rest: pa.StringArray | str) -> pa.StringArray:
        clocks = self._rng.integers(0, 1024, self._rows)
        made_us = self._times_us - self._rng.integers(1_000, 900_000, self._rows)
        return joined(
            self._head("commit"),
            ',"commit":{"rev":"',
            strings.time_words(made_us, clocks),
            f'","operation":"{operation}","collection":"{self._collection}","rkey":"',
            strings.time_words(made_us - 40_000, clocks),
            rest,
            '"}}\n',
        )

    def _accounts(self) -> pa.StringArray:
        people = self._people("")
        numbers = strings.decimals(self._rng.integers(10**9, 10**10, self._rows))
        common = joined('"did":"', people, '","seq":', numbers, ',"time":"')
        times = joined(common, strings.iso_times(self._times_us), '"')
        handles = strings.hashed_words(self._rng.integers(0, 10**6, self._rows), 9, 17)
        identity = joined(
            self._head("identity", people),
            ',"identity":{"handle":"',
            handles,
            '.bsky.social",',
            times,
            "}}\n",
        )
        account = joined(self._head("account", people), ',"account":{"active":true,', times, "}}\n")
        is_identity = pa.array(self._rng.random(self._rows) < 0.6)
        return pa.compute.if_else(is_identity, identity, account)

    def _head(self, kind: str, people: pa.StringArray | None = None) -> pa.StringArray:
        return joined(
            '{"did":"',
            self._people(self._collection) if people is None else people,
            '","time_us":',
            strings.decimals(self._times_us),
            f',"kind":"{kind}"',
        )

    def _people(self, collection: str) -> pa.StringArray:
        pool = people_pool(self._events, collection)
        drawn = pool * self._rng.random(self._rows) ** _ACTIVITY_EXPONENT
        return _did(drawn.astype(np.int64))

    def _record(self) -> pa.StringArray:
        made_us = self._times_us - self._rng.integers(0, 2_000_000, self._rows)
        head = joined(
            f'{{"$type":"{self._collection}","createdAt":"', strings.iso_times(made_us), '"'
        )
        if self._collection in _OBJECT_SUBJECTS:
            return joined(head, ',"subject":', self._post(), "}")
        if self._collection == "app.bsky.feed.post":
            return self._text_of(head)
        if self._collection == "app.bsky.actor.profile":
            words = _prose().texts(self._rng, self._rows, 2, 18)
            return joined(head, ',"displayName":"', words, '","description":"', words, '"}')
        return joined(head, ',"subject":"', self._people("app.bsky.feed.like"), '"}')

    def _post(self) -> pa.StringArray:
        """The address of a post; some posts are liked again and again."""
        pool = max(self._events // 3, 100)
        posts = (pool * self._rng.random(self._rows) ** 3).astype(np.int64)
        authors = (strings.mixed(posts, 5) % np.uint64(max(self._events // 10, 10))).astype(
            np.int64
        )
        return joined(
            '{"cid":"bafyrei',
            strings.hashed_words(posts, 52, _SALT_CID),
            '","uri":"at://',
            _did(authors),
            "/app.bsky.feed.post/3l",
            strings.hashed_words(posts, 11, _SALT_POST),
            '"}',
        )

    def _text_of(self, head: pa.StringArray) -> pa.StringArray:
        text = _prose().texts(self._rng, self._rows, 2, 32)
        language = strings.picked(self._rng, self._rows, _LANGUAGES)
        body = joined(head, ',"text":"', text, '","langs":["', language, '"]')
        is_reply = pa.array(self._rng.random(self._rows) < 0.45)
        reply = joined(',"reply":{"parent":', self._post(), ',"root":', self._post(), "}")
        has_image = pa.array(self._rng.random(self._rows) < 0.2)
        none = pa.array([""] * self._rows)
        reply = pa.compute.if_else(is_reply, reply, none)
        image = pa.compute.if_else(has_image, self._image(), none)
        return joined(body, reply, image, "}")

    def _image(self) -> pa.StringArray:
        sizes = [strings.decimals(self._rng.integers(300, 2000, self._rows)) for _ in range(3)]
        return joined(
            ',"embed":{"$type":"app.bsky.embed.images","images":[{"alt":"',
            _prose().texts(self._rng, self._rows, 1, 8),
            '","aspectRatio":{"height":',
            sizes[0],
            ',"width":',
            sizes[1],
            '},"image":{"$type":"blob","ref":{"$link":"bafkrei',
            strings.random_words(self._rng, self._rows, 52),
            '"},"mimeType":"image/jpeg","size":',
            sizes[2],
            "000}}]}",
        )


def _did(numbers: Numbers) -> pa.StringArray:
    return joined("did:plc:", strings.hashed_words(numbers, 24, _SALT_PERSON))
