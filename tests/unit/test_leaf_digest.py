"""Digests: the same for the same rows in any batches, another for any other row."""

from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaf.digest import MODULUS, combined, digest_rows, to_hex

Rows = list[tuple[int, str | None]]


def digest(rows: Rows, source: str = "log", partition: int = 0) -> int:
    offsets = np.asarray([offset for offset, _ in rows], np.int64)
    documents = pa.chunked_array([pa.array([text for _, text in rows], pa.string())])
    return digest_rows(source, partition, offsets, documents)


@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 42), st.none() | st.text()), unique_by=lambda row: row[0]
    ),
    st.randoms(),
)
def test_order_and_batches_do_not_matter(rows: Rows, chance: Random) -> None:
    whole = digest(rows)
    assert 0 <= whole < MODULUS
    chance.shuffle(rows)
    at = len(rows) // 3
    assert combined(digest(rows[at:]), digest(rows[:at])) == whole


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 200, 1_000])
def test_every_byte_counts(length: int) -> None:
    text = "x" * length
    others = [text[:at] + "y" + text[at + 1 :] for at in range(length)]
    others += [text + "x", text + "\0", text[:-1] if text else None, None]
    found = {digest([(5, other)]) for other in others}
    assert len(found) == len(set(others))
    assert digest([(5, text)]) not in found


def test_where_a_row_comes_from_counts() -> None:
    rows: Rows = [(5, "x")]
    found = {
        digest(rows),
        digest([(6, "x")]),
        digest(rows, source="log2"),
        digest(rows, partition=1),
        digest([(5, "x"), (6, "x")]),
        digest([(5, "y"), (6, "x")]),
        digest([(5, "x"), (6, "y")]),
    }
    assert len(found) == 7


def test_digests_stay_the_same_from_version_to_version() -> None:
    assert to_hex(digest([(0, '{"a":1}'), (1, None)])) == "ccc45d81f4d35a4d47f109d16dd27603"
