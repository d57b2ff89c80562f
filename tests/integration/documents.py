"""Documents for integration tests: generated ones, and real GitHub events where present."""

import json
import os
import random
from pathlib import Path

from reference import Field, field

_SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "github-events.jsonl"
GITHUB_EVENTS = Path(os.environ.get("ALDER_GITHUB_EVENTS", _SAMPLE))

_GENERATED_FIELDS: tuple[Field, ...] = (
    field("id", "VARCHAR"),
    field("kind", "VARCHAR"),
    field("size", "BIGINT"),
    field("score", "DOUBLE"),
    field("mixed", "VARIANT"),
    field("flag", "BOOLEAN"),
    field("select", "VARCHAR"),
    field("tags", "VARCHAR[]"),
    field("numbers", "BIGINT[]"),
    field("user.name", "VARCHAR"),
    field("user.age", "BIGINT"),
    field("user.address.city", "VARCHAR"),
)
_EVENT_FIELDS: tuple[Field, ...] = (
    field("type", "VARCHAR"),
    field("public", "BOOLEAN"),
    field("created_at", "VARCHAR"),
    field("actor.login", "VARCHAR"),
    field("actor.id", "BIGINT"),
    field("repo.name", "VARCHAR"),
    field("payload.ref", "VARCHAR"),
    field("payload.size", "BIGINT"),
    field("payload.action", "VARCHAR"),
    field("payload.pull_request.additions", "BIGINT"),
    field("payload.pull_request.user.login", "VARCHAR"),
)
FIELDS = _GENERATED_FIELDS + (_EVENT_FIELDS if GITHUB_EVENTS.exists() else ())
"""Fields that statements name: a collection has no others."""

REF_FIELDS: tuple[Field, ...] = (
    field("name", "VARCHAR"),
    field("kind", "VARCHAR"),
    field("level", "BIGINT"),
    field("weight", "DOUBLE"),
    field("boss", "VARCHAR"),
    field("since", "BIGINT"),
    field("labels", "VARCHAR[]"),
    field("flag", "BOOLEAN"),
    field("mixed", "VARIANT"),
    field("profile.city", "VARCHAR"),
    field("profile.age", "BIGINT"),
)
"""Fields of documents that others join with; some have the names of fields in ``FIELDS``."""


def github_events() -> list[str]:
    """The lines of the sample; none where it is not present."""
    if not GITHUB_EVENTS.exists():
        return []
    return GITHUB_EVENTS.read_text().splitlines()


def generated(count: int, seed: int = 7) -> list[str]:
    """Nested events with nulls, gaps, lists, mixed types and unusual keys, as JSON texts."""
    rng = random.Random(seed)
    return [json.dumps(_event(rng, number), ensure_ascii=False) for number in range(count)]


def _event(rng: random.Random, number: int) -> dict[str, object]:
    event: dict[str, object] = {
        "id": f"g{number:06d}",
        "kind": rng.choice(["click", "view", "buy", "zurück", "日本"]),
        "size": rng.choice([None, rng.randrange(10), rng.randrange(10**6), -rng.randrange(100)]),
        "score": rng.choice([rng.randrange(100), round(rng.uniform(-5, 5), 3), 1e15, None]),
        "mixed": rng.choice([rng.randrange(10), "seven", True, 2.5, "3", None]),
        "tags": rng.choice([[], ["a"], ["a", "b", "ü"], ["c", None], None]),
        "numbers": [rng.randrange(5) for _ in range(rng.randrange(4))],
    }
    if rng.random() < 0.5:
        event["flag"] = rng.random() < 0.5
    if rng.random() < 0.3:
        event["select"] = rng.choice(["from", 'quote " and \\ slash', "line\nbreak", ""])
    if rng.random() < 0.8:
        address = {"city": rng.choice(["Bern", "Basel", "Zürich"])} if rng.random() < 0.5 else None
        event["user"] = {
            "name": rng.choice(["ann", "bob", "cyd", None]),
            "age": rng.choice([rng.randrange(90), None]),
            "address": address,
        }
    return event


def generated_refs(count: int, seed: int = 11) -> list[str]:
    """Documents with unique names, a tree of bosses and the values that events have, as JSON."""
    rng = random.Random(seed)
    names = ["ann", "bob", "cyd", *(f"n{number}" for number in range(3, count))]
    return [json.dumps(_ref(rng, names, number), ensure_ascii=False) for number in range(count)]


def _ref(rng: random.Random, names: list[str], number: int) -> dict[str, object]:
    ref: dict[str, object] = {
        "name": names[number],
        "kind": rng.choice(["click", "view", "buy", "日本", "other", None]),
        "level": rng.choice([rng.randrange(10), None]),
        "weight": rng.choice([round(rng.uniform(-5, 5), 2), rng.randrange(50)]),
        "since": rng.choice([rng.randrange(10), rng.randrange(10**6), -rng.randrange(100)]),
        "labels": rng.choice([["a"], ["b", "ü"], [], None]),
        "mixed": rng.choice([rng.randrange(4), "seven", False, None]),
    }
    if number:
        ref["boss"] = names[rng.randrange(number)]
    if rng.random() < 0.6:
        ref["flag"] = rng.random() < 0.5
    if rng.random() < 0.7:
        ref["profile"] = {"city": rng.choice(["Bern", "Genf"]), "age": rng.randrange(90)}
    return ref
