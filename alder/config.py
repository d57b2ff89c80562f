"""Settings: frozen dataclasses read from TOML, with an error for everything that doesn't fit.

A tier's settings are the fields of its dataclass: one table of the file, or flags of a command.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from alder.errors import AlderError, Reason

DEFAULT_ADDRESS: Final = "127.0.0.1:7700"
SERVER_VARIABLE: Final = "ALDER_SERVER"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The file of ``alder leaf|tailer|aggregator|controller``.

    ``listen`` is the address to bind (port 0: any free one), ``advertise`` the host that others use
    to reach it (default: the host of ``listen``), ``controller`` the controller's address (not used
    by the controller itself), ``data`` a directory (leaf and controller), ``metrics_port`` where
    Prometheus may ask (default: nowhere), and ``settings`` what the tier's own settings dataclass
    takes.
    """

    node_id: str
    listen: str = "127.0.0.1:0"
    advertise: str = ""
    controller: str = ""
    data: str = ""
    metrics_port: int = 0
    settings: Mapping[str, object] = field(default_factory=dict)


def load_node(path: Path) -> NodeConfig:
    """Reads a node's file. Raises AlderError(INVALID_ARGUMENT) naming what is wrong and where."""
    return settings_from(NodeConfig, load_table(path), str(path))


def load_table(path: Path) -> dict[str, object]:
    """Reads a TOML file. Raises AlderError(INVALID_ARGUMENT) where it can't."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        message = f"can't read the settings file {path}: {error.strerror}"
        raise AlderError(Reason.INVALID_ARGUMENT, message) from error
    except tomllib.TOMLDecodeError as error:
        message = f"{path} is not valid TOML: {error}"
        raise AlderError(Reason.INVALID_ARGUMENT, message) from error


T = typing.TypeVar("T")


def settings_from(kind: type[T], table: Mapping[str, object], where: str) -> T:
    """An instance of the dataclass ``kind`` with the fields of ``table``; others keep defaults.

    Raises AlderError(INVALID_ARGUMENT) for an unknown name (with the nearest), a value of another
    type, or a missing field without default.
    """
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"{kind.__name__} is not a dataclass")
    hints = typing.get_type_hints(kind)
    for name, value in table.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            advice = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(hints)}"
            message = f"{where}: there is no setting {name!r}{advice}"
            raise AlderError(Reason.INVALID_ARGUMENT, message)
        if not _fits(value, hints[name]):
            message = f"{where}: {name} must be of type {_type_name(hints[name])}, not {value!r}"
            raise AlderError(Reason.INVALID_ARGUMENT, message)
    missing = [
        entry.name
        for entry in dataclasses.fields(kind)
        if entry.name not in table
        and entry.default is dataclasses.MISSING
        and entry.default_factory is dataclasses.MISSING
    ]
    if missing:
        message = f"{where}: {', '.join(missing)} must be set"
        raise AlderError(Reason.INVALID_ARGUMENT, message)
    values = {
        name: settings_from(hints[name], value, f"{where}: {name}")
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping)
        else value
        for name, value in table.items()
    }
    return kind(**values)


def _fits(value: object, hint: object) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if dataclasses.is_dataclass(hint):
        return isinstance(value, Mapping)
    kind = typing.get_origin(hint) or hint
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(kind, type) and isinstance(value, kind)


def _type_name(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
