"""Dotted paths: every list of keys has one spelling, and reads back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alder import paths

KEYS = st.lists(st.one_of(st.text(alphabet=".\\e_ida", max_size=5), st.text()), min_size=1)


@given(KEYS)
def test_split_is_the_inverse_of_join(keys: list[str]) -> None:
    assert paths.split(paths.join(keys)) == keys


@given(KEYS)
def test_child_builds_the_same_path_key_by_key(keys: list[str]) -> None:
    path = ""
    for key in keys:
        path = paths.child(path, key)
    assert path == paths.join(keys)


@given(KEYS, KEYS)
def test_different_keys_have_different_paths(one: list[str], other: list[str]) -> None:
    assert (paths.join(one) == paths.join(other)) == (one == other)


@pytest.mark.parametrize("name", [*paths.SYSTEM_FIELDS, *paths.RECORD_FIELDS])
def test_a_users_field_never_has_the_name_of_a_system_field(name: str) -> None:
    assert paths.join([name]) == "\\" + name
    assert paths.join([name, "x"]) == "\\" + name + ".x"
    assert paths.join(["x", name]) == "x." + name
    assert paths.split(name) == [name]


@pytest.mark.parametrize(
    ("keys", "path"), [(["a.b"], "a\\.b"), (["a", "b"], "a.b"), ([""], "\\e"), (["\\e"], "\\\\e")]
)
def test_escapes(keys: list[str], path: str) -> None:
    assert paths.join(keys) == path
    assert paths.split(path) == keys


@pytest.mark.parametrize("path", ["a\\", "a\\b", "\\x", "a.\\_id", "a\\e\\"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        paths.split(path)


def test_no_keys_have_no_path() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        paths.join([])


@pytest.mark.parametrize(
    ("keys", "pointer"), [(["a", "b"], "/a/b"), (["a/b", "~"], "/a~1b/~0"), ([""], "/")]
)
def test_json_pointer(keys: list[str], pointer: str) -> None:
    assert paths.json_pointer(keys) == pointer
