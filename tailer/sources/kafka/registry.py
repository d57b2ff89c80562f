"""A schema registry, asked for schemas by their numbers, which never change their meaning."""

from collections.abc import Callable, Iterator
from typing import Final

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from httpx2 import HTTPError

from alder.errors import AlderError, Reason
from tailer.sources.kafka.logins import login_of

PayloadDecoder = Callable[[bytes], bytes]
"""A value with its header to JSON text. Raises ValueError for one that is not of its schema."""
HEADER_BYTES: Final = 5
"""What comes before the payload: a zero byte and the number of the schema."""
_NOT_FOUND: Final = 404
_REFERENCES_MAX: Final = 1_000


class SchemaUnknown(Exception):
    """The registry has no such schema, or one that can't be read."""


class SchemaRegistry:
    """One registry. Its client keeps what it was told."""

    def __init__(self, url: str, config_file: str | None, timeout_s: float) -> None:
        """Raises AlderError(INVALID_ARGUMENT) for a login that can't be."""
        self._url = url
        login = login_of(config_file, url)
        try:
            self._client = SchemaRegistryClient(
                {"url": url, "timeout": timeout_s, "max.retries": 0, **login.properties}
            )
        except (ValueError, TypeError) as error:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"no client for the schema registry {url}: {login.without_secrets(str(error))}",
            ) from error

    def schema(self, number: int, form: str | None = None) -> Schema:
        """A schema, in another form than its own text where one is named.

        Raises SchemaUnknown, and AlderError(UNAVAILABLE) where the registry does not answer.
        """
        return self._asked(f"schema {number}", lambda: self._client.get_schema(number, fmt=form))

    def referenced(self, schema: Schema, form: str | None = None) -> Iterator[tuple[str, Schema]]:
        """What a schema refers to, by the names it uses, each after what it refers to itself.

        Raises as :meth:`schema`, and SchemaUnknown for more than a registry sensibly holds.
        """
        return self._walked(schema, form, set())

    def _walked(
        self, schema: Schema, form: str | None, known: set[str]
    ) -> Iterator[tuple[str, Schema]]:
        for one in schema.references or ():
            name, subject, version = one.name, one.subject, one.version
            if name is None or subject is None or version is None or name in known:
                continue
            if len(known) >= _REFERENCES_MAX:
                raise SchemaUnknown(f"a schema refers to more than {_REFERENCES_MAX} others")
            known.add(name)
            found = self._version(subject, version, form)
            yield from self._walked(found, form, known)
            yield name, found

    def _version(self, subject: str, version: int, form: str | None) -> Schema:
        return self._asked(
            f"version {version} of {subject}",
            lambda: self._client.get_version(subject, version, fmt=form).schema,
        )

    def _asked(self, what: str, ask: Callable[[], Schema]) -> Schema:
        try:
            return ask()
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                raise SchemaUnknown(f"the schema registry has no {what}") from error
            raise self._unavailable(what, str(error)) from error
        except (OSError, HTTPError) as error:
            raise self._unavailable(what, str(error)) from error

    def _unavailable(self, what: str, why: str) -> AlderError:
        return AlderError(
            Reason.UNAVAILABLE, f"the schema registry {self._url} does not tell {what}: {why}"
        )
