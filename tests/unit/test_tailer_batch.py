"""Records to rows: keys, event times, routing, quarantine, splitting, encoding."""

import datetime
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.arrow import from_bytes
from alder.catalog import Shard
from alder.slots import shard_indexes, slot_of_key, slots_of_offsets, split_evenly
from tailer.batch import RowBuilder, Rows, RowSpec
from tailer.decode import DecodeLimits, JsonDecoder
from tailer.evaluate import Evaluator
from tailer.eventtime import event_times
from tailer.pathvalues import json_texts, key_texts
from tailer.route import rows_by_shard, take_rows
from tailer.settings import TailerSettings
from tailer.shardrows import prepare
from tailer.sources.model import Quarantined, RawBatch

EVALUATOR = Evaluator()
LOG_TIME_US = 1_700_000_000_000_000


def raw(*values: bytes, begin: int = 0, keys: list[bytes] | None = None) -> RawBatch:
    offsets = begin + np.arange(len(values), dtype=np.int64)
    return RawBatch(
        begin,
        begin + len(values),
        pa.array(values, pa.binary()),
        offsets,
        LOG_TIME_US + offsets,
        pa.array(keys or [None] * len(values), pa.binary()),
    )


def builder(
    key: str = "",
    time: str = "",
    shard_by: str = "",
    fields_max: int = 4_000,
    **limits: int,
) -> RowBuilder:
    decode = DecodeLimits(collection_fields_max=fields_max)
    spec = RowSpec("log", 0, key, time, shard_by)
    options = TailerSettings(decode=decode, **limits)
    return RowBuilder(spec, options, JsonDecoder(decode))


def build(batch: RawBatch, **options: object) -> Rows:
    (rows,) = builder(**options).build(batch)
    return rows


def shards(count: int) -> tuple[Shard, ...]:
    return tuple(Shard(n, begin, end, "a") for n, (begin, end) in enumerate(split_evenly(count)))


def test_rows_have_the_contracts_columns() -> None:
    rows = build(raw(b'{"a":1,"b":{"c":"x"}}', b'{"a":"s"}', begin=5))
    assert rows.table.column("_offset").to_pylist() == [5, 6]
    assert rows.table.column("_doc").to_pylist() == ['{"a":1,"b":{"c":"x"}}', '{"a":"s"}']
    assert rows.table.schema.field("_doc").type == pa.string()
    for name in ("_time", "_log_time"):
        assert rows.table.schema.field(name).type == pa.timestamp("us")
        times = rows.table.column(name).cast(pa.int64()).to_pylist()
        assert times == [LOG_TIME_US + 5, LOG_TIME_US + 6]
    assert rows.table.column("int:a").to_pylist() == [1, None]
    assert rows.table.column("string:a").to_pylist() == [None, "s"]
    assert rows.table.column("string:b.c").to_pylist() == ["x", None]


SECOND = 1_357_016_400
EXPECTED_US = SECOND * 1_000_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2013-01-01T05:00:00Z", EXPECTED_US),
        ("2013-01-01 05:00:00", EXPECTED_US),
        ("2013-01-01T07:00:00+02:00", EXPECTED_US),
        ("2013-01-01T05:00:00.25Z", EXPECTED_US + 250_000),
        ("2013-01-01", EXPECTED_US - 5 * 3_600_000_000),
        (SECOND, EXPECTED_US),
        (SECOND * 1_000 + 1, EXPECTED_US + 1_000),
        (EXPECTED_US + 1, EXPECTED_US + 1),
        (EXPECTED_US * 1_000 + 1_999, EXPECTED_US + 1),
        (SECOND + 0.25, EXPECTED_US + 250_000),
        (-1, -1_000_000),
        (0, 0),
        ("soon", None),
        ("infinity", None),
        ("", None),
        (True, None),
        (None, None),
        ([SECOND], None),
        ({"at": SECOND}, None),
        (1e300, None),
        (10**30, None),
    ],
)
def test_event_time_is_read_from_the_value_alone(value: object, expected: int | None) -> None:
    documents = [json.dumps({"t": value}).encode(), b'{"t":"2020-02-02"}', b'{"t":1}', b"{}"]
    rows = build(raw(*documents), time="t")
    first, *others = rows.table.column("_time").cast(pa.int64()).to_pylist()
    assert first == (LOG_TIME_US if expected is None else expected)
    assert others == [1_580_601_600_000_000, 1_000_000, LOG_TIME_US + 3]


def test_event_times_of_typed_columns() -> None:
    moment = datetime.datetime(2013, 1, 1, 5, 0, 0, 7)
    columns = pa.table(
        {
            "timestamp:t": pa.array([moment, None, None, None], pa.timestamp("us")),
            "timestamp_ns:t": pa.array([None, -1, None, None], pa.timestamp("ns")),
            "date:t": pa.array([None, None, moment.date(), None], pa.date32()),
            "decimal(10,2):t": pa.array([None, None, None, 5], pa.decimal128(10, 2)),
        }
    )
    times = event_times(columns, "t", np.full(4, 9), EVALUATOR)
    midnight = EXPECTED_US - 5 * 3_600_000_000
    assert times.tolist() == [EXPECTED_US + 7, -1, midnight, 5_000_000]


DOCUMENTS = [
    ({"k": 'a"é\n'}, 'a"é\n', json.dumps('a"é\n', ensure_ascii=False)),
    ({"k": "5"}, "5", '"5"'),
    ({"k": 5}, "5", "5"),
    ({"k": 5.5}, "5.5", "5.5"),
    ({"k": True}, "true", "true"),
    ({"k": [1, "x"]}, '[1,"x"]', '[1,"x"]'),
    ({"k": {"b": [1]}}, '{"b":[1]}', '{"b":[1]}'),
    ({"k": 2**70}, str(2**70), str(2**70)),
    ({"k": "null"}, "null", '"null"'),
    ({"k": None}, None, None),
    ({"K": 1}, None, None),
    ({}, None, None),
]


@pytest.mark.parametrize("fields_max", [4_000, 1])
def test_values_as_text_depend_on_the_document_alone(fields_max: int) -> None:
    texts = [json.dumps(document) for document, _, _ in DOCUMENTS]
    # With room for one column only, the path has none and the documents are read.
    first = ['{"other":1}'] if fields_max == 1 else []
    docs = pa.array(first + texts)
    columns = JsonDecoder(DecodeLimits(collection_fields_max=fields_max)).decode(docs).batch
    keys = key_texts("k", columns, docs, EVALUATOR).to_pylist()[len(first) :]
    values = json_texts("k", columns, docs, EVALUATOR).to_pylist()[len(first) :]
    assert keys == [key for _, key, _ in DOCUMENTS]
    assert values == [text for _, _, text in DOCUMENTS]


def test_rows_with_one_key_go_to_one_shard_whatever_path_decides() -> None:
    documents = [
        json.dumps({"id": n % 7, "tenant": n % 3 if n % 3 else None}).encode() for n in range(70)
    ]
    by_key = build(raw(*documents), key="id")
    keys = by_key.table.column("_key").to_pylist()
    assert by_key.slots.tolist() == [slot_of_key(key.encode()) for key in keys]
    by_tenant = build(raw(*documents), shard_by="tenant")
    for n, slot in enumerate(by_tenant.slots.tolist()):
        expected = (
            slot_of_key(str(n % 3).encode())
            if n % 3
            else slots_of_offsets("log", 0, np.asarray([n]))[0]
        )
        assert slot == expected


def test_deletes_keep_their_place_and_go_where_their_key_goes() -> None:
    batch = raw(
        b'{"id":"a","t":1}', b"", b'{"id":"b","t":2}', b"", keys=[b"", b"a", b"", b""], begin=10
    )
    rows = build(batch, key="id", shard_by="t")
    assert rows.table.column("_offset").to_pylist() == [10, 11, 12]
    assert rows.table.column("_key").to_pylist() == ["a", "a", "b"]
    assert rows.table.column("_doc").null_count == 1
    assert rows.quarantine.column("offset").to_pylist() == [13]
    assert rows.slots.tolist() == [slot_of_key(b"a"), slot_of_key(b"a"), slot_of_key(b"b")]


def test_rejected_records_keep_offset_reason_value_and_size() -> None:
    huge = b'{"a":"' + b"x" * 500 + b'"}'
    limits = DecodeLimits(document_size_bytes_max=300)
    options = TailerSettings(decode=limits, quarantine_prefix_bytes_max=10)
    subject = RowBuilder(RowSpec("log", 0), options, JsonDecoder(limits))
    batch = raw(b'{"a":1}', b"nope", huge, b'{"a":2}', begin=100)
    earlier = Quarantined(104, "too long", b"start", 999)
    batch = RawBatch(
        batch.begin,
        batch.end + 1,
        batch.records,
        batch.offsets,
        batch.log_times_us,
        quarantined=(earlier,),
    )
    (rows,) = subject.build(batch)
    assert rows.table.column("_offset").to_pylist() == [100, 103]
    found = rows.quarantine.to_pylist()
    assert [(e["offset"], e["value"], e["size_bytes"]) for e in found] == [
        (101, b"nope", 4),
        (102, b'{"a":"xxxx', len(huge)),
        (104, b"start", 999),
    ]
    assert "limit" in found[1]["reason"]


def test_a_batch_is_cut_into_consecutive_ranges() -> None:
    values = [b'{"n":%d}' % n if n % 10 else b"bad" for n in range(1_000)]
    parts = builder(batch_rows_max=100).build(raw(*values, begin=50))
    assert len(parts) == 9
    assert parts[0].range.begin == 50
    assert parts[-1].range.end == 1_050
    assert [p.range.begin for p in parts[1:]] == [p.range.end for p in parts[:-1]]
    for part in parts:
        for table, column in ((part.table, "_offset"), (part.quarantine, "offset")):
            offsets = table.column(column).to_numpy()
            assert ((offsets >= part.range.begin) & (offsets < part.range.end)).all()
    rows = np.concatenate([p.table.column("_offset").to_numpy() for p in parts])
    refused = np.concatenate([p.quarantine.column("offset").to_numpy() for p in parts])
    assert np.sort(np.concatenate([rows, refused])).tolist() == list(range(50, 1_050))


def test_rows_too_large_for_one_message_are_split() -> None:
    values = [json.dumps({f"k{n}": "x" * 100}).encode() for n in range(400)]
    parts = builder(push_size_bytes_max=100_000).build(raw(*values))
    assert len(parts) > 3
    for part in parts:
        prepared = prepare(part, shards(1), frozenset({0}))
        assert len(prepared.parts[0].rows) < 200_000
        columns = [name for name in from_bytes(prepared.parts[0].rows).column_names if ":" in name]
        assert len(columns) == part.table.num_rows


def test_a_shard_inside_the_range_gets_only_what_it_lacks() -> None:
    values = [b'{"n":%d}' % n if n % 3 else b"bad" for n in range(30)]
    prepared = prepare(build(raw(*values)), shards(1), frozenset({0}))
    for begin in (0, 1, 15, 29, 30):
        message = prepared.rows(0, begin)
        assert (message.from_offset, message.to_offset) == (begin, 30)
        rows = from_bytes(message.rows).column("_offset").to_pylist() if message.rows else []
        refused = (
            from_bytes(message.quarantine).column("offset").to_pylist()
            if message.quarantine
            else []
        )
        assert rows == [n for n in range(begin, 30) if n % 3]
        assert refused == [n for n in range(begin, 30) if not n % 3]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4095), max_size=60), st.integers(1, 9))
def test_routing_gives_every_row_to_its_shard_in_order(slots: list[int], count: int) -> None:
    ends = [end for _, end in split_evenly(count)]
    array = np.asarray(slots, dtype=np.int32)
    groups = rows_by_shard(array, ends)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(slots)))
    table = pa.table({"row": np.arange(len(slots))})
    for shard, rows in enumerate(groups):
        assert (shard_indexes(array[rows], ends) == shard).all()
        assert take_rows(table, rows).column("row").to_pylist() == sorted(rows.tolist())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.data())
def test_rows_do_not_depend_on_how_the_log_was_cut(ids: list[int], data: st.DataObject) -> None:
    values = [json.dumps({"id": n or None, "t": n * 10, "v": "x"}).encode() for n in ids]
    whole = build(raw(*values), key="id", time="t")
    cuts = sorted(data.draw(st.sets(st.integers(1, len(values)), max_size=3)) | {len(values)})
    subject = builder(key="id", time="t")
    parts = []
    begin = 0
    for end in cuts:
        parts += subject.build(raw(*values[begin:end], begin=begin))
        begin = end
    joined = pa.concat_tables([p.table for p in parts], promote_options="permissive")
    joined = joined.select(whole.table.column_names)
    assert joined.to_pylist() == whole.table.to_pylist()
    assert np.concatenate([p.slots for p in parts]).tolist() == whole.slots.tolist()
    refused = pa.concat_tables([p.quarantine for p in parts])
    assert refused.to_pylist() == whole.quarantine.to_pylist()


def test_typed_tables_become_rows_with_documents() -> None:
    table = pa.table({"d": pa.array([1, 2], pa.date32()), "x": ["a", None]})
    offsets = np.asarray([4, 6])
    rows = build(RawBatch(4, 7, table, offsets, np.asarray([1, 1])), time="d")
    assert rows.table.column("date:d").to_pylist() == table.column("d").to_pylist()
    assert rows.table.column("_offset").to_pylist() == [4, 6]
    assert pc.equal(rows.table.column("_time").cast(pa.int64())[0], 86_400_000_000).as_py()
    assert json.loads(rows.table.column("_doc")[0].as_py()) == {"d": "1970-01-02", "x": "a"}
