"""The documentation says what the code does: settings, commands, and the files that it names."""

import dataclasses
import re
from pathlib import Path

import pytest

from aggregator.service import AggregatorSettings
from alder.cli.main import COMMANDS
from controller.log import LogSettings
from controller.settings import ControllerSettings
from leaf.settings import LeafSettings
from tailer.settings import TailerSettings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, type] = {
    "controller": ControllerSettings,
    "log": LogSettings,
    "tailer": TailerSettings,
    "leaf": LeafSettings,
    "aggregator": AggregatorSettings,
}
_ROW = re.compile(r"^\| `([\w.]+)` \| (\S+) \| .+ \|$", re.MULTILINE)
_NAMED_FILE = re.compile(r"`((?:alder|tailer|leaf|aggregator|controller|tests|bench)/[\w/.*]+)`")


def _defaults(kind: type, prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    instance = kind()
    for entry in dataclasses.fields(kind):
        value = getattr(instance, entry.name)
        if dataclasses.is_dataclass(value):
            found |= _defaults(type(value), f"{prefix}{entry.name}.")
        else:
            found[prefix + entry.name] = str(value)
    return found


@pytest.mark.parametrize("tier", SETTINGS)
def test_every_setting_is_documented_with_its_default(tier: str) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text.split(f"\n### {tier}\n")[1].split("\n### ")[0]
    assert dict(_ROW.findall(section)) == _defaults(SETTINGS[tier])


def test_every_command_is_in_a_document() -> None:
    text = "".join(path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
    assert [name for name in COMMANDS if f"alder {name}" not in text] == []


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md", "docs/operations.md"])
def test_files_that_are_named_exist(name: str) -> None:
    named = _NAMED_FILE.findall((ROOT / name).read_text())
    assert [path for path in named if not list(ROOT.glob(path.rstrip("/")))] == []
