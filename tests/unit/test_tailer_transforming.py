"""Rows of transformed records: the same however they are cut, and nothing is lost on the way."""

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from leaf_model import content

from alder.arrow import to_bytes
from alder.catalog import Collection, CollectionSettings
from alder.positions import PositionVector
from alder.transformation import ordinal_bits_of
from leaf.cache import PageCache
from leaf.core import PushHeader
from leaf.seal import seal
from leaf.settings import LeafSettings
from leaf.shard import Shard
from tailer.batch import Rows
from tailer.builders import builder_of
from tailer.redrive import chosen_of
from tailer.settings import TailerSettings
from tailer.sources.model import RawBatch

SQL = (
    "SELECT _doc->>'$.k' AS k, CAST(_doc->>'$.n' AS INTEGER) AS n, _offset AS at FROM _input "
    "WHERE coalesce(_doc->>'$.skip', 'no') <> 'yes'"
)
RECORDS = [
    b'{"k": "a", "n": 1}',
    b'{"k": "b", "n": "x"}',
    b'{"k": "c", "n": 3, "skip": "yes"}',
    b"{",
    b'{"n": 5}',
    b'{"k": "f", "n": 6, "n": 7}',
    b"[1]",
    b'{"k": "h", "n": "8"}',
    b"",
    b'{"k": "\xff"}',
    b'{"a":' * 200 + b"1" + b"}" * 200,
]


def raw_of(records: list[bytes], keys: list[bytes | None] | None = None) -> RawBatch:
    offsets = np.arange(len(records), dtype=np.int64)
    return RawBatch(
        0,
        len(records),
        pa.array(records, pa.binary()),
        offsets,
        offsets + 1_000_000,
        None if keys is None else pa.array(keys, pa.binary()),
    )


def collection_of(key: str, sql: str = SQL) -> Collection:
    settings = CollectionSettings(transform_sql=sql, ordinal_bits=ordinal_bits_of(sql))
    return Collection("c", 1, key_path=key, settings=settings)


def built(
    raw: RawBatch,
    cuts: list[int],
    key: str = "",
    sql: str = SQL,
    settings: TailerSettings | None = None,
) -> list[Rows]:
    builder = builder_of(collection_of(key, sql), "log", 0, settings or TailerSettings(), ())
    found = []
    bounds = [raw.begin, *cuts, raw.end]
    for begin, end in itertools.pairwise(bounds):
        part = chosen_of(raw, np.arange(begin, end, dtype=np.int64))
        found += builder.build(replace(part, begin=begin, end=end))
    return found


def rows_of(parts: list[Rows]) -> list[tuple[int, str]]:
    return [
        pair
        for part in parts
        for pair in zip(
            part.table.column("_offset").to_pylist(),
            part.table.column("_doc").to_pylist(),
            strict=True,
        )
    ]


def refused_of(parts: list[Rows]) -> list[dict[str, object]]:
    return [entry for part in parts for entry in part.quarantine.to_pylist()]


def test_a_record_becomes_the_same_however_batches_are_cut() -> None:
    raw = raw_of(RECORDS)
    whole = built(raw, [])
    assert rows_of(whole) == [
        (0, '{"k":"a","n":1,"at":0}'),
        (4, '{"k":null,"n":5,"at":4}'),
        (7, '{"k":"h","n":8,"at":7}'),
    ]
    refused = refused_of(whole)
    assert [entry["offset"] for entry in refused] == [1, 3, 5, 6, 8, 9, 10]
    assert [entry["value"] for entry in refused] == [RECORDS[n] for n in (1, 3, 5, 6, 8, 9, 10)]
    assert "can't be transformed" in str(refused[0]["reason"])
    assert [part.range.end for part in whole] == [len(RECORDS)]
    chance = random.Random(1)
    for _ in range(10):
        cuts = sorted(chance.sample(range(1, len(RECORDS)), chance.randrange(1, 8)))
        parts = built(raw, cuts)
        assert rows_of(parts) == rows_of(whole)
        assert refused_of(parts) == refused


def test_keys_are_those_of_the_documents_made_and_deletions_pass() -> None:
    keys: list[bytes | None] = [None] * len(RECORDS)
    keys[8] = b"a"
    (rows,) = built(raw_of(RECORDS, keys), [], "k")
    assert rows.table.column("_key").to_pylist() == ["a", "h", "a"]
    assert rows.table.column("_offset").to_pylist() == [0, 7, 8]
    keyless = [entry for entry in rows.quarantine.to_pylist() if entry["offset"] == 4]
    assert keyless[0]["value"] == RECORDS[4]
    assert "key path" in keyless[0]["reason"]


def test_typed_records_are_transformed_as_documents() -> None:
    table = pa.table({"k": ["a", "b"], "n": [1, 2], "skip": ["yes", None]})
    raw = replace(raw_of([b"", b""]), records=table)
    builder = builder_of(collection_of(""), "log", 0, TailerSettings(), ())
    assert rows_of(builder.build(raw)) == [(1, '{"k":"b","n":2,"at":1}')]


def test_what_is_chosen_of_a_batch_stays_together() -> None:
    raw = replace(
        raw_of([b"a", b"b", b"c"], [b"x", None, b"z"]), columns=pa.table({"c": [1, 2, 3]})
    )
    chosen = chosen_of(raw, np.asarray([0, 2]))
    assert chosen.offsets.tolist() == [0, 2]
    assert chosen.records.to_pylist() == [b"a", b"c"]
    assert chosen.keys is not None
    assert chosen.keys.to_pylist() == [b"x", b"z"]
    assert chosen.columns is not None
    assert chosen.columns.column("c").to_pylist() == [1, 3]


LISTS = (
    "SELECT t.item->>'$.k' AS k, CAST(t.item->>'$.n' AS INTEGER) AS n FROM _input, "
    "unnest(_doc->'$.items[*]') AS t(item)"
)


def listed(number: int) -> bytes:
    chance = random.Random(number)
    items: list[dict[str, object]] = [
        {"k": chance.choice("abc"), "n": place} for place in range(chance.randrange(6))
    ]
    for item in items:
        if chance.random() < 0.05:
            item["n"] = "x"
        if chance.random() < 0.05:
            del item["k"]
    return json.dumps({"items": items}).encode()


LISTED = [listed(number) for number in range(120)]


def numbered(parts: list[Rows]) -> list[tuple[object, ...]]:
    columns = ("_offset", "_ordinal", "_doc")
    return [
        row
        for part in parts
        for row in zip(*(part.table.column(name).to_pylist() for name in columns), strict=True)
    ]


def test_a_record_becomes_all_of_its_documents_or_none() -> None:
    expected, refused = [], []
    for offset, record in enumerate(LISTED):
        items = json.loads(record)["items"]
        if any(item["n"] == "x" or "k" not in item for item in items):
            refused.append(offset)
            continue
        for ordinal, item in enumerate(items):
            expected.append((offset, ordinal, f'{{"k":"{item["k"]}","n":{item["n"]}}}'))
    assert len(refused) > 10
    whole = built(raw_of(LISTED), [], "k", LISTS)
    assert numbered(whole) == expected
    waiting = refused_of(whole)
    assert [entry["offset"] for entry in waiting] == refused
    assert [entry["value"] for entry in waiting] == [LISTED[offset] for offset in refused]
    for rows in whole:
        assert len(rows.slots) == rows.table.num_rows
        assert len(rows.quarantine_slots) == rows.quarantine.num_rows


@pytest.mark.parametrize("key", ["", "k"])
def test_a_shard_has_the_same_documents_however_batches_are_cut(tmp_path: Path, key: str) -> None:
    found = []
    chance = random.Random(5)
    for run in range(4):
        cuts = sorted(chance.sample(range(1, len(LISTED)), 7 * run))
        settings = replace(TailerSettings(), batch_rows_max=(50_000, 9, 1, 3)[run])
        kept = collection_of(key, LISTS).settings
        shard = Shard(
            tmp_path / f"{run}", 1, bool(key), LeafSettings(), PageCache(1 << 20), kept=kept
        )
        end = 0
        for rows in built(raw_of(LISTED), cuts, key, LISTS, settings):
            assert rows.range.begin == end < rows.range.end
            end = rows.range.end
            header = PushHeader(1, 1, "log", 0, "t", rows.range.begin, end)
            parts = [rows.table, rows.quarantine]
            encoded = [to_bytes(part.combine_chunks()) for part in parts]
            assert shard.apply(header, 1, encoded[0], encoded[1], False).accepted
            if chance.random() < 0.2 and (plan := shard.begin_seal()) is not None:
                shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
                shard.end_seal(plan)
        assert end == len(LISTED)
        counters = shard.view.counters
        cuts_seen = [PositionVector({("log", 0): at}) for at in range(0, len(LISTED) + 1, 10)]
        found.append(
            (
                counters.digest,
                counters.rows_born,
                counters.quarantined,
                [content(shard.view, cut) for cut in cuts_seen],
            )
        )
        shard.close()
    assert found[1:] == [found[0]] * 3
    if key:
        lasts = {
            json.loads(text)["k"]: text
            for _, _, text in numbered(built(raw_of(LISTED), [], "k", LISTS))
        }
        assert sorted(text for _, text in found[0][3][-1]) == sorted(lasts.values())
