"""Documents without their text: which template gives each row's document back from its columns.

The rows of a segment are grouped by the columns in which they have a value. The template of a
group's first document is put to all of its rows and what it gives is compared with their documents,
byte for byte. Rows that are equal keep the number of the template alone; the others try the next
one, or keep their text. So a document always comes back as it came, whatever it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.fieldtypes import split_column_name
from leaf.format.buffers import validity
from leaf.format.dictionary import Encoded
from leaf.format.templates import Template, template_of

TEMPLATES_MAX: Final = 256
TEMPLATES_BYTES_MAX: Final = 1 << 20
"""Of one seal; a merge puts those of its segments together."""
GROUP_ROWS_MIN: Final = 4
"""A template takes about as much room as a document, and as much time as many."""
TRIES_MAX: Final = 6
SAMPLE_ROWS: Final = 32
RUN_ROWS: Final = 8192
"""Rows whose documents are made at once; more of them would not stay in the processor's caches."""
DOCUMENT_BYTES_MAX: Final = 64 << 10
"""A longer document is kept as text, so that a page of them fits into one array."""
_MULTIPLIER: Final = 0x9E3779B97F4A7C15
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Documents:
    """``templates``: per row a template's text (null: none). ``texts``: the documents of rows
    without one; None where there are none."""

    templates: Encoded | None
    texts: pa.Array | None


def templated(documents: pa.Array, fields: Mapping[str, pa.Array]) -> Documents:
    """How to keep these documents beside the columns of their fields."""
    numbers, templates = _Search(documents, fields).run()
    if not templates:
        return Documents(None, documents)
    texts = [template.encode() for template in templates]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    ranks = np.empty(len(texts) + 1, dtype=np.int32)
    ranks[order] = np.arange(len(texts), dtype=np.int32)
    found = numbers >= 0
    codes = pa.array(ranks[numbers], mask=~found)
    encoded = Encoded(pa.array([texts[number] for number in order], pa.string()), codes)
    rest = documents.take(pa.array(np.arange(len(documents)), mask=found))
    return Documents(encoded, rest if rest.null_count < len(rest) else None)


class _Search:
    """Finds templates for one segment."""

    def __init__(self, documents: pa.Array, fields: Mapping[str, pa.Array]) -> None:
        self._documents = documents
        self._fields = fields
        self._numbers = np.full(len(documents), -1, dtype=np.int64)
        self._templates: dict[Template, int] = {}
        self._bytes = 0

    def run(self) -> tuple[Rows, Sequence[Template]]:
        """Per row the number of its template, -1 for none; and the templates."""
        lengths = pc.binary_length(self._documents).fill_null(DOCUMENT_BYTES_MAX + 1)
        candidates = np.flatnonzero(np.asarray(lengths) <= DOCUMENT_BYTES_MAX)
        for rows in _groups(self._fields, candidates, len(self._documents)):
            self._search(rows)
        return self._numbers, list(self._templates)

    def _search(self, rows: Rows) -> None:
        """Rows that have values in the same columns."""
        columns: dict[str, list[str]] = {}
        for name, values in self._fields.items():
            if values[rows[0].item()].is_valid:
                columns.setdefault(split_column_name(name)[1], []).append(name)
        for _ in range(TRIES_MAX):
            if len(rows) < GROUP_ROWS_MIN or not self._room():
                return
            template = template_of(self._documents[rows[0].item()].as_py(), columns)
            sample = rows[:: max(1, len(rows) // SAMPLE_ROWS)]
            if template is None or not self._equal(template, sample)[1:].any():
                rows = rows[1:]
                continue
            runs = [rows[begin : begin + RUN_ROWS] for begin in range(0, len(rows), RUN_ROWS)]
            equal = np.concatenate([self._equal(template, run) for run in runs])
            number = self._templates.setdefault(template, len(self._templates))
            self._bytes += len(template.encode())
            self._numbers[rows[equal]] = number
            rows = rows[~equal]

    def _room(self) -> bool:
        """True while another template may be found."""
        return len(self._templates) < TEMPLATES_MAX and self._bytes < TEMPLATES_BYTES_MAX

    def _equal(self, template: Template, rows: Rows) -> NDArray[np.bool_]:
        """True for the rows whose documents the template gives."""
        if len(rows) == len(self._documents):
            chosen, documents = dict(self._fields), self._documents
        else:
            places = pa.array(rows)
            chosen = {name: self._fields[name].take(places) for name in template.columns}
            documents = self._documents.take(places)
        given = template.render(chosen, len(rows))
        equal: NDArray[np.bool_] = (
            pc.equal(given, documents).fill_null(False).to_numpy(zero_copy_only=False)
        )
        return equal


def _groups(fields: Mapping[str, pa.Array], candidates: Rows, rows_count: int) -> list[Rows]:
    """The candidates by the columns in which they have values, the largest groups first.

    Two groups whose keys collide are one, which costs tries and nothing else.
    """
    keys = np.zeros(rows_count, dtype=np.uint64)
    factor = 1
    for values in fields.values():
        factor = factor * _MULTIPLIER % (1 << 64)
        if values.null_count:
            keys += validity(values) * np.uint64(factor)
    numbers = np.asarray(pa.array(keys[candidates]).dictionary_encode().indices)
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    if len(numbers) and numbers.max() >= 1 << 16:
        order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    groups = np.split(candidates[order], ends)
    groups.sort(key=len, reverse=True)
    return [group for group in groups[:TEMPLATES_MAX] if len(group) >= GROUP_ROWS_MIN]
