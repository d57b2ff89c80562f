"""Synthetic events in the shape of a social network's firehose, about 480 bytes each.

Shape and shares follow what JSONBench publishes of its data: the shares of collections and
operations per million events, nested records, and a `subject` that is a string in some events and
an object in others. The values are random, drawn from one seed.
"""

import random
import string
from collections.abc import Iterator
from typing import Final

import orjson

FIRST_EVENT_US: Final = 1_732_206_349_000_000
INTERVAL_US: Final = 813
COLLECTIONS: Final = {
    "app.bsky.feed.like": (448_944, 0.990),
    "app.bsky.graph.follow": (360_374, 0.938),
    "app.bsky.feed.post": (90_816, 0.956),
    "app.bsky.feed.repost": (58_540, 0.974),
    "app.bsky.graph.block": (14_040, 0.938),
    "app.bsky.actor.profile": (11_762, 0.454),
    "app.bsky.graph.listitem": (8_103, 0.938),
    "": (5_328, 0.0),
    "app.bsky.graph.listblock": (895, 0.938),
    "app.bsky.feed.threadgate": (604, 0.938),
}
_LETTERS: Final = string.ascii_lowercase + "234567"
_SUBJECTS: Final = frozenset({"app.bsky.feed.like", "app.bsky.feed.repost"})


def events(count: int, seed: int = 1) -> Iterator[bytes]:
    """That many events as JSON, in the order of their time."""
    rng = random.Random(seed)
    people = [_word(rng, 24) for _ in range(max(10, count // 8))]
    kinds = list(COLLECTIONS)
    weights = [share for share, _ in COLLECTIONS.values()]
    for number, collection in enumerate(rng.choices(kinds, weights, k=count)):
        time_us = FIRST_EVENT_US + number * INTERVAL_US
        person = f"did:plc:{people[int(rng.random() ** 2 * len(people))]}"
        event: dict[str, object] = {"did": person, "time_us": time_us}
        event |= _commit(rng, collection, people) if collection else _identity(rng, person)
        yield orjson.dumps(event)


def _commit(rng: random.Random, collection: str, people: list[str]) -> dict[str, object]:
    commit: dict[str, object] = {"rev": _word(rng, 13), "collection": collection}
    commit["rkey"] = _word(rng, 13)
    if rng.random() < COLLECTIONS[collection][1]:
        commit |= {"operation": "create", "cid": "baf" + _word(rng, 56)}
        commit["record"] = _record(rng, collection, people)
    else:
        commit["operation"] = "delete"
    return {"kind": "commit", "commit": commit}


def _record(rng: random.Random, collection: str, people: list[str]) -> dict[str, object]:
    record: dict[str, object] = {"$type": collection, "createdAt": "2024-11-21T16:25:49.000Z"}
    if collection in _SUBJECTS:
        uri = f"at://did:plc:{rng.choice(people)}/app.bsky.feed.post/{_word(rng, 13)}"
        return record | {"subject": {"cid": "baf" + _word(rng, 56), "uri": uri}}
    if collection == "app.bsky.feed.post":
        words = " ".join(_word(rng, rng.randint(2, 9)) for _ in range(rng.randint(3, 25)))
        return record | {"text": words, "langs": [rng.choice(["en", "ja", "pt", "de"])]}
    return record | {"subject": f"did:plc:{rng.choice(people)}"}


def _identity(rng: random.Random, person: str) -> dict[str, object]:
    identity = {"did": person, "handle": _word(rng, 12), "seq": rng.randrange(10**10)}
    return {"kind": "identity", "identity": identity}


def _word(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(_LETTERS, k=length))
