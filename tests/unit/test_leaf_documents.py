"""Documents come back byte for byte, though segments hardly keep their text."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.errors import AlderError, Reason
from alder.rocks import Store
from bench.generators.jsonbench import chunk
from leaf import documentreader, layout
from leaf.blocks import SegmentBlocks
from leaf.cache import PageCache
from leaf.documents import templated
from leaf.format import dictionary
from leaf.format.meta import TEMPLATES, TERMS, suffix
from leaf.format.templates import Slot, Style, Template, template_of
from leaf.merging import MergePlan, merge_stored
from leaf.seal import seal
from leaf.segment import Segment
from leaf.segments import SegmentFiles
from tailer.decode import JsonDecoder

EVENTS = Path(__file__).parents[3] / "shared" / "data" / "github-events.jsonl"
CACHE_BYTES = 1 << 22

KEYS = st.sampled_from(["a", "b", "c.d", "", 'q"', "ü", "\\", "_id", "e\n"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=6)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
ODD = st.sampled_from(
    [
        "{}",
        ' { "a" : 1 } ',
        '{"a":1.0e5}',
        '{"a":1,"a":2}',
        '{"a":"\\u0041","b":[1, 2]}',
        '{"a":[],"b":{},"c.d":[null]}',
        '{"a":123456789012345678901234567890}',
        '{"a":-0.0,"b":1e400}',
        '{"a":"\\/","b":"\\u00e9"}',
        '{"a" :[ 1,2 ],"b":"x"}',
    ]
)
Spelling = Callable[[object], str]
SPELLINGS: tuple[Spelling, ...] = (
    lambda value: orjson.dumps(value).decode(),
    lambda value: json.dumps(value),
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    lambda value: json.dumps(value, indent=1),
)


@st.composite
def batches(draw: st.DrawFn) -> list[str]:
    """Documents of a few shapes, most of them several times with other values."""
    found: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        model = draw(st.dictionaries(KEYS, VALUES, max_size=4))
        spelled = draw(st.sampled_from(SPELLINGS))
        for _ in range(draw(st.integers(1, 9))):
            found.append(_spelled(spelled, _varied(draw, model)))
    return draw(st.permutations([*found, *draw(st.lists(ODD, max_size=8))]))


def _varied(draw: st.DrawFn, value: object) -> object:
    """The same structure with other values."""
    if isinstance(value, dict):
        return {key: _varied(draw, inner) for key, inner in value.items()}
    if isinstance(value, str):
        return draw(st.text(st.characters(codec="utf-8"), max_size=4))
    if isinstance(value, int) and not isinstance(value, bool):
        return draw(st.integers(-(1 << 63), 1 << 63))
    return draw(st.floats(-1e6, 1e6)) if isinstance(value, float) else value


def _spelled(spelled: Spelling, value: object) -> str:
    try:
        return spelled(value)
    except TypeError:
        return json.dumps(value)


def table_of(documents: Sequence[str], first: int = 0) -> pa.Table:
    """Rows as a shard has them; births count from ``first``."""
    decoded = JsonDecoder().decode(pa.array([text.encode() for text in documents], pa.binary()))
    kept = decoded.kept
    times = pa.array(kept + first, pa.timestamp("us"))
    system = {
        "_birth": pa.array(kept + first),
        "_time": times,
        "_log_time": times,
        "_doc": pa.array(documents, pa.string()).take(pa.array(kept)),
    }
    fields = dict(zip(decoded.batch.column_names, decoded.batch.columns, strict=True))
    return pa.table({**system, **fields})


@contextmanager
def files_in(path: Path) -> Iterator[tuple[SegmentFiles, Store]]:
    store = Store(path, layout.FAMILIES)
    try:
        yield SegmentFiles(store, "s", PageCache(CACHE_BYTES), 0), store
    finally:
        store.close()


def check_documents(segment: Segment, expected: list[str | None]) -> None:
    """Of all rows and of any of them, which are read one by one or as arrays."""
    assert segment.column("_doc", None).to_pylist() == expected
    rows = np.arange(len(expected))
    for few_rows_max in (0, len(rows)):
        with mock.patch.object(documentreader, "FEW_ROWS_MAX", few_rows_max):
            for chosen in (rows, rows[:1], rows[-1:], rows[::3], rows[1::2], rows[:0]):
                found = segment.column("_doc", chosen).to_pylist()
                assert found == [expected[row] for row in chosen.tolist()]


def merged(files: SegmentFiles, store: Store, numbers: Sequence[int]) -> Segment:
    target = files.new_number()
    merge_stored(
        store,
        "s",
        MergePlan(target, tuple(numbers)),
        files.writer(target),
        lambda function, *args, **kwargs: function(*args, **kwargs),
    )
    return opened(store, target)


def opened(store: Store, number: int) -> Segment:
    return Segment(SegmentBlocks(store, "s", number, PageCache(CACHE_BYTES)))


def test_any_document_comes_back_after_seal_and_merge_and_reopening(tmp_path: Path) -> None:
    with files_in(tmp_path / "s") as (files, store):

        @settings(max_examples=40, deadline=None)
        @given(st.lists(batches(), min_size=1, max_size=3))
        def check(parts: list[list[str]]) -> None:
            numbers, whole = [], []
            for documents in parts:
                table = table_of(documents, len(whole))
                if not table.num_rows:
                    continue
                expected = table.column("_doc").to_pylist()
                number = files.new_number()
                files.write(number, seal([table]).blocks)
                check_documents(opened(store, number), expected)
                numbers.append(number)
                whole.extend([*expected, *[None] * (len(documents) - len(expected))])
            if len(numbers) > 1:
                found = merged(files, store, numbers)
                check_documents(found, [text for text in whole if text is not None])
                check_documents(
                    merged(files, store, [found.number]),
                    [text for text in whole if text is not None],
                )

        check()


def kept_share(documents: Sequence[str]) -> float:
    """The share of documents that are kept as text."""
    table = table_of(documents).combine_chunks()
    arrays = {name: table.column(name).chunk(0) for name in table.column_names}
    fields = {name: array for name, array in arrays.items() if not name.startswith("_")}
    found = templated(arrays["_doc"], fields)
    if found.texts is None:
        return 0.0
    return (len(found.texts) - found.texts.null_count) / len(documents)


def test_of_a_firehose_no_text_is_kept() -> None:
    documents = chunk(6_000, 1, 0, 6_000).decode().splitlines()
    assert kept_share(documents) < 0.01


@pytest.mark.skipif(not EVENTS.exists(), reason="the sample of real events is not here")
def test_of_real_events_little_text_is_kept() -> None:
    documents = [line for line in EVENTS.read_text().splitlines() if line]
    assert kept_share(documents * 3) < 0.1


@pytest.mark.parametrize(
    ("spelled", "without"),
    [
        (SPELLINGS[0], ()),
        (SPELLINGS[1], ("things",)),
        (SPELLINGS[2], ()),
        (SPELLINGS[3], ("things", "tags", "sizes")),
    ],
)
def test_documents_of_many_types_are_made_of_their_columns(
    spelled: Spelling, without: tuple[str, ...]
) -> None:
    """Lists of objects are columns of compact text, and no list of several lines is."""
    documents = []
    for n in range(200):
        document = {
            "id": n,
            "price": n / 8,
            "whole": float(n),
            "ok": n % 3 == 0,
            "none": None,
            "tags": [f"t{n % 5}", "x"],
            "sizes": [n, 1],
            "who": {"name": f"n{n}", "said": 'a "quoted"\tword' if n % 4 == 0 else "hm"},
            "empty": [],
            "things": [{"a": 1}],
        }
        documents.append(spelled({key: document[key] for key in document if key not in without}))
    assert kept_share(documents) == 0.0


def test_a_template_is_made_of_any_layout() -> None:
    text = ' {"a" : "x\\n", "b":{ "c":[1, 2],"d":{}} }'
    columns = {"a": ["string:a"], "b.c": ["list<int>:b.c"], "b.d": ["json:b.d"]}
    template = template_of(text, columns)
    assert template is not None
    assert template == Template.decode(template.encode(), "it")
    values = {
        "string:a": pa.array(["x\n"]),
        "list<int>:b.c": pa.array([[1, 2]]),
        "json:b.d": pa.array(["{}"]),
    }
    assert template.render(values, 1).to_pylist() == [text]


@pytest.mark.parametrize("text", ["", "[1]", '{"a":', '{"a" 1}', "{", '{"a":}', "nul", '{"a":[}'])
def test_what_is_no_object_has_no_template(text: str) -> None:
    assert template_of(text, {"a": ["int:a"]}) is None


def test_a_damaged_template_is_told(tmp_path: Path) -> None:
    documents = [f'{{"a":{n},"s":"x{n}"}}' for n in range(50)]
    sealed = seal([table_of(documents)])
    other = Template(('{"a":', Slot("string:s", Style.NUMBERS), "}"))
    for text in ("no JSON", Template((Slot("int:gone", Style.NUMBER),)).encode(), other.encode()):
        with files_in(tmp_path / str(len(text))) as (files, store):
            number = files.new_number()
            files.write(number, sealed.blocks)
            meta = opened(store, number)._meta.columns[TEMPLATES]
            batch = store.batch()
            terms = dictionary.encode_terms(pa.array([text]))
            batch.put(layout.COLUMNS, layout.number_key(number) + suffix(meta.number, TERMS), terms)
            store.write(batch)
            for rows in (None, np.asarray([3])):
                with pytest.raises(AlderError) as raised:
                    opened(store, number).column("_doc", rows)
                assert raised.value.reason is Reason.CORRUPT
