"""Kafka topics as sources: ``kafka://host:port[,host:port...]/topic?format=...``.

The URL says what to read, never how to log in: whoever may create a collection would else choose
where a tailer's secrets go. Those are settings of the tailers, by the brokers of the URL.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from alder.catalog import KAFKA_SCHEME
from alder.errors import AlderError, Reason

FORMATS: Final = ("json", "avro", "protobuf")
STARTS: Final = ("earliest", "latest")
KEYS: Final = ("plain", "schema")
_BROKER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_EXAMPLE: Final = "kafka://broker1:9092,broker2:9092/events?format=json&start=earliest"


@dataclass(frozen=True, slots=True)
class TopicUrl:
    """``brokers`` is ``host:port,...``; ``registry`` the schema registry's URL, empty for JSON.

    ``start`` says where the first registration begins: ``earliest`` or ``latest``. ``keys`` says
    whether the records' keys are texts or have a schema of the registry, as values do: ``plain`` or
    ``schema``.
    """

    brokers: str
    topic: str
    value_format: str = "json"
    registry: str = ""
    start: str = "earliest"
    keys: str = "plain"

    @classmethod
    def parse(cls, url: str) -> "TopicUrl":
        """Raises AlderError(INVALID_ARGUMENT) saying what is wrong and how it is written."""
        parts = urlsplit(url)
        topic = unquote(parts.path.removeprefix("/"))
        brokers = parts.netloc.split(",")
        if not url.startswith(KAFKA_SCHEME) or not all(map(_BROKER.fullmatch, brokers)):
            raise _wrong("it names no brokers as host:port; the login is a setting of the tailers")
        if not _TOPIC.fullmatch(topic) or topic in {".", ".."} or parts.fragment:
            raise _wrong("it names no topic after the brokers")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        value_format = options.pop("format", "json")
        registry = options.pop("registry", "")
        start = options.pop("start", "earliest")
        keys = options.pop("keys", "plain")
        if options:
            known = "format, registry, keys, start"
            raise _wrong(f"it has an option {min(options)!r}; known are {known}")
        if value_format not in FORMATS:
            raise _wrong(f"its format is none of {', '.join(FORMATS)}")
        if start not in STARTS:
            raise _wrong(f"its start is none of {', '.join(STARTS)}")
        if keys not in KEYS or (keys == "schema" and not registry):
            raise _wrong("its keys are neither plain nor, with a registry, schema")
        if (value_format == "json") != (registry == ""):
            raise _wrong("a schema registry is needed for Avro and Protobuf, and only for them")
        if registry and not registry.startswith(("http://", "https://")):
            raise _wrong("its registry is no http:// or https:// URL")
        return cls(parts.netloc, topic, value_format, registry, start, keys)


def _wrong(why: str) -> AlderError:
    return AlderError(
        Reason.INVALID_ARGUMENT, f"the source can't be read as a Kafka topic: {why}; as {_EXAMPLE}"
    )
