"""How to reach the brokers of a URL: TLS and SASL settings, from a file of the tailer's operator.

The file is TOML with one table per list of brokers, named as URLs name it, of properties as
librdkafka calls them. A value ``env:NAME`` or ``file:PATH`` stands for what is there, read each
time a client is made, so that secrets are in no file of settings and can be changed. Secrets are
taken out of every message. A schema registry has a table by its URL.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from alder.config import load_table
from alder.errors import AlderError, Reason

_ENVIRONMENT: Final = "env:"
_FILE: Final = "file:"
_HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True)
class Login:
    """Properties of a client; ``secrets`` must be in no message."""

    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def without_secrets(self, text: str) -> str:
        """The text with every secret replaced."""
        for secret in self.secrets:
            text = text.replace(secret, _HIDDEN)
        return text


def login_of(config_file: str | None, server: str) -> Login:
    """What the file says about a server; nothing where it, or the file, has no such table.

    Raises AlderError(INVALID_ARGUMENT) for a file or a secret that can't be read.
    """
    if config_file is None:
        return Login()
    table = load_table(Path(config_file)).get(server, {})
    if not isinstance(table, Mapping):
        raise AlderError(Reason.INVALID_ARGUMENT, f"{config_file}: {server!r} must be a table")
    properties: dict[str, str] = {}
    secrets: list[str] = []
    for name, value in table.items():
        text = value if isinstance(value, str) else str(value).lower()
        properties[name] = _resolved(text, f"{config_file}: {name} of {server!r}")
        if properties[name] and (properties[name] != text or "password" in name):
            secrets.append(properties[name])
    return Login(properties, tuple(sorted(secrets, key=len, reverse=True)))


def _resolved(text: str, where: str) -> str:
    if text.startswith(_ENVIRONMENT):
        name = text.removeprefix(_ENVIRONMENT)
        found = os.environ.get(name)
        if found is None:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"{where}: the environment has no variable {name}"
            )
        return found
    if text.startswith(_FILE):
        path = Path(text.removeprefix(_FILE))
        try:
            return path.read_text().strip()
        except OSError as error:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"{where}: can't read {path}: {error.strerror}"
            ) from error
    return text
