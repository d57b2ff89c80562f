"""Documents for integration tests: generated ones, and real GitHub events where present."""

import json
import os
import random
from pathlib import Path

from reference import Field, field

_SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "github-events.jsonl"
GITHUB_EVENTS = Path(os.environ.get("ALDER_GITHUB_EVENTS", _SAMPLE))

FIELDS: tuple[Field, ...] = (
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
