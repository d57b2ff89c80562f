"""What ``alder shard inspect`` says of a replica's files."""

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from leaf_model import rows_bytes

from alder.catalog import CollectionSettings
from alder.cli.shard import shard as command
from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from leaf import layout
from leaf.cache import PageCache
from leaf.core import PushHeader
from leaf.digest import to_hex
from leaf.inspect import inspect_store
from leaf.seal import seal
from leaf.settings import LeafSettings
from leaf.shard import Shard

ROWS = 60


def made(path: Path) -> Shard:
    """A shard with two segments and a live tail."""
    shard = Shard(path, 1, False, LeafSettings(), PageCache(1 << 20))
    for begin in (0, 20, 40):
        rows = {n: {"a": n % 5, "s": f"s{n % 3}"} for n in range(begin, begin + 20)}
        header = PushHeader(1, 1, "log", 0, "t", begin, begin + 20)
        assert shard.apply(header, 1, rows_bytes(rows), b"", False).accepted
        plan = shard.begin_seal()
        assert plan is not None
        if begin < 40:
            shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
        shard.end_seal(plan)
    return shard


def test_it_tells_segments_fields_and_sizes(tmp_path: Path) -> None:
    shard = made(tmp_path / "0")
    digest = to_hex(shard.view.counters.digest)
    shard.close()
    before = sorted(entry.name for entry in (tmp_path / "0").glob("*.blob"))
    summary = inspect_store(tmp_path / "0")
    assert summary.digest == digest
    assert (summary.rows_born, summary.tail_blocks) == (ROWS, 1)
    assert summary.positions == PositionVector({("log", 0): ROWS})
    assert [(s.segment, s.rows) for s in summary.segments] == [(0, 20), (1, 20)]
    assert [(s.time_low_us, s.time_high_us) for s in summary.segments] == [(0, 19), (20, 39)]
    fields = {field.column: field for field in summary.fields}
    assert fields["string:s"].terms == 6
    assert fields["string:s"].values == fields["int:a"].values == 40
    assert fields["string:s"].indexes == ("terms",)
    assert (fields["_template"].terms, fields["_template"].postings_bytes) == (2, 0)
    families = {family.family: family for family in summary.families}
    for family in layout.SEGMENT_FAMILIES:
        of_fields = sum(
            f.columns_bytes if family == layout.COLUMNS else f.postings_bytes
            for f in summary.fields
        )
        assert 0 < of_fields <= families[family].size_bytes
    assert families[layout.TAIL].keys == 1
    assert sorted(entry.name for entry in (tmp_path / "0").glob("*.blob")) == before


def test_it_tells_dead_rows_and_the_order(tmp_path: Path) -> None:
    kept = CollectionSettings(("s", "a"), retain_us=60_000_000)
    shard = Shard(tmp_path / "0", 1, True, LeafSettings(), PageCache(1 << 20), kept=kept)
    rows = {n: {"a": n, "s": f"s{n % 3}"} for n in range(20)}
    keys = {n: f"k{n % 15}" for n in rows}
    header = PushHeader(1, 1, "log", 0, "t", 0, 20)
    log_times = dict.fromkeys(rows, 100_000_000)
    event_times = {n: 100_000_000 * (n >= 4) for n in rows}
    data = rows_bytes(rows, keys, log_times, event_times)
    assert shard.apply(header, 1, data, b"", False).accepted
    plan = shard.begin_seal()
    assert plan is not None
    tables = [chunk.table for chunk in plan.tail]
    shard.publish_seal(plan, seal(tables, plan.cluster_by))
    shard.close()
    summary = inspect_store(tmp_path / "0")
    (segment,) = summary.segments
    assert (segment.rows, segment.dead, segment.cluster_by) == (20, 5, ("s", "a"))
    assert (summary.tombstones, summary.tombstone_blocks, summary.rows_late) == (5, 1, 4)
    printed = CliRunner().invoke(command, ["inspect", str(tmp_path / "0")])
    assert "5 tombstones in 1 blocks" in printed.output
    assert "s, a" in printed.output


def test_the_command_prints_tables_and_json(tmp_path: Path) -> None:
    made(tmp_path / "0").close()
    printed = CliRunner().invoke(command, ["inspect", str(tmp_path / "0")])
    assert printed.exit_code == 0, printed.output
    assert "60 rows born" in printed.output
    assert "1970-01-01 00:00:00.000039" in printed.output
    assert "string:s" in printed.output
    printed = CliRunner().invoke(command, ["inspect", str(tmp_path / "0"), "--format", "json"])
    found = orjson.loads(printed.output)
    assert found["positions"] == {"log/0": ROWS}
    assert [entry["rows"] for entry in found["segments"]] == [20, 20]


def test_a_store_in_use_and_other_directories_are_refused(tmp_path: Path) -> None:
    shard = made(tmp_path / "0")
    with pytest.raises(AlderError, match="open in another process") as raised:
        inspect_store(tmp_path / "0")
    assert raised.value.reason is Reason.UNAVAILABLE
    batch = shard._replica.store.batch()
    batch.put(layout.META, layout.FORMAT_KEY, b"99")
    shard._replica.store.write(batch)
    shard.close()
    with pytest.raises(AlderError, match="format 99") as raised:
        inspect_store(tmp_path / "0")
    assert raised.value.reason is Reason.UNSUPPORTED
    for other in (tmp_path, tmp_path / "none"):
        with pytest.raises(AlderError, match="not the directory of a shard"):
            inspect_store(other)
    assert not (tmp_path / "none").exists()
