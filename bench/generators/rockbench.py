"""Documents in the shape of RockBench: about 1.2 kB with 46 values, nested, high in cardinality.

The shape is that of github.com/rockset/rockbench, `generator/document.go`. Two differences: the
identity is in ``id``, since ``_id`` is a name of its own in some systems, and what is sent is made
from a pool of bodies, each sent under identities and times of its own, so that the generator never
is what limits a rate.
"""

import random
import string
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

_FIRST: Final = ("Ann", "Bo", "Carl", "Dina", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jo", "Kim")
_LAST: Final = ("Ames", "Berg", "Chen", "Diaz", "Egan", "Fox", "Ghosh", "Hart", "Ito", "Juarez")
_COMPANIES: Final = ("Acorn", "Birch", "Cedar", "Dogwood", "Elm", "Fir")
_STREETS: Final = tuple(f"{name} Street" for name in (*_LAST[:5], *_FIRST[:5]))
_CITIES: Final = ("Aarhus", "Bergen", "Cadiz", "Delft", "Essen", "Faro")
_WORDS: Final = (
    "at",
    "by",
    "do",
    "ever",
    "field",
    "given",
    "house",
    "into",
    "just",
    "kept",
    "light",
)
_BEGINNING: Final = datetime(2020, 1, 1, tzinfo=UTC)


def bodies(count: int, seed: int = 1) -> list[bytes]:
    """That many documents without their identity and times, open at the front."""
    rng = random.Random(seed)
    return [orjson.dumps(_document(rng))[1:] for _ in range(count)]


def stamped(bodies: Sequence[bytes], first: int, count: int, time_us: int) -> list[bytes]:
    """Documents number ``first`` and following, as of a time."""
    head = b'{"id":"%%024d","_event_time":%d,"_ts":%d,' % (time_us, time_us)
    size = len(bodies)
    return [head % number + bodies[number % size] for number in range(first, first + count)]


def _document(rng: random.Random) -> dict[str, object]:
    name = {"First": rng.choice(_FIRST), "Last": rng.choice(_LAST)}
    return {
        "generator_identifier": "bench",
        "Guid": _word(rng, 25),
        "IsActive": rng.random() < 0.5,
        "Balance": round(rng.random() * 1e4, 2),
        "Picture": _word(rng, 25),
        "Age": rng.choice((15, 27, 61)),
        "Name": name,
        "Company": rng.choice(_COMPANIES),
        "Email": f"{_word(rng, 12)}@example.com",
        "Phone": f"{rng.randrange(10**9, 10**10)}",
        "About": _text(rng, 12),
        "Registered": (_BEGINNING + timedelta(seconds=rng.randrange(10**8))).isoformat(),
        "Greeting": _text(rng, 40),
        "Address": {
            "Street": rng.choice(_STREETS),
            "City": rng.choice(_CITIES),
            "ZipCode": rng.randrange(1 << 15),
            "Coordinates": {
                "Latitude": round(rng.uniform(-90, 90), 5),
                "Longitude": round(rng.uniform(-180, 180), 5),
            },
        },
        "Tags": [_word(rng, 14) for _ in range(9)],
        "Friends": {
            f"Friend{number}": {
                "Name": {"First": rng.choice(_FIRST), "Last": rng.choice(_LAST)},
                "Age": rng.choice((15, 27, 61)),
            }
            for number in range(1, 6)
        },
    }


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words)) + "."


def _word(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(string.ascii_letters, k=length))
