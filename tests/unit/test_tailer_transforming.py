"""Rows of transformed records: the same however they are cut, and nothing is lost on the way."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pyarrow as pa

from alder.catalog import Collection, CollectionSettings
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


def collection_of(key: str) -> Collection:
    settings = CollectionSettings(transform_sql=SQL)
    return Collection("c", 1, key_path=key, settings=settings)


def built(raw: RawBatch, cuts: list[int], key: str = "") -> list[Rows]:
    builder = builder_of(collection_of(key), "log", 0, TailerSettings(), ())
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
