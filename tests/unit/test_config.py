"""Settings files: what fits is taken, all else is named."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from alder.config import NodeConfig, load_node, settings_from
from alder.errors import AlderError


@dataclass(frozen=True)
class Inner:
    """Settings inside settings."""

    depth_max: int = 3


@dataclass(frozen=True)
class Sample:
    """A tier's settings."""

    rows_max: int = 10
    wait_s: float = 0.5
    name: str | None = None
    inner: "Inner" = Inner()


def test_fields_are_taken_and_others_keep_their_defaults() -> None:
    table = {"wait_s": 2, "name": "a", "inner": {"depth_max": 5}}
    assert settings_from(Sample, table, "x") == Sample(wait_s=2, name="a", inner=Inner(5))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"rows_mx": 1}, "did you mean 'rows_max'"),
        ({"rows_max": "many"}, "rows_max must be of type int"),
        ({"rows_max": True}, "rows_max must be of type int"),
        ({"wait_s": "1"}, "wait_s must be of type float"),
        ({"name": 3}, "name must be of type str"),
        ({"inner": {"depth": 3}}, "inner: there is no setting 'depth'"),
        ({"inner": 3}, "inner must be of type Inner"),
    ],
)
def test_what_does_not_fit_is_named(table: dict[str, object], words: str) -> None:
    with pytest.raises(AlderError, match=words):
        settings_from(Sample, table, "file.toml")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(AlderError, match=r"leaf\.toml: node_id must be set"):
        settings_from(NodeConfig, {}, "leaf.toml")


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "leaf.toml"
    path.write_text('node_id = "l1"\ndata = "d"\n[settings]\nseal_rows = 5\n')
    assert load_node(path) == NodeConfig("l1", data="d", settings={"seal_rows": 5})


@pytest.mark.parametrize(
    ("text", "words"), [("node_id = ", "not valid TOML"), (None, "can't read the settings file")]
)
def test_an_unreadable_file_is_an_error(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "leaf.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AlderError, match=words):
        load_node(path)
