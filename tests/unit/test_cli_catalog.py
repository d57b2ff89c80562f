"""`alder collection`, `alder status` and `alder quarantine`."""

import base64
import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from client_fakes import Model, fake_server

from alder.cli.main import cli
from alder.v1 import catalog_pb2, common_pb2, quarantine_pb2


@pytest.fixture
def server() -> Iterator[tuple[str, Model]]:
    with fake_server() as started:
        started[1].create("gh")
        yield started


@pytest.fixture
def model(server: tuple[str, Model]) -> Model:
    return server[1]


def run(server: tuple[str, Model], *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--server", server[0]], input=stdin)


def test_create_with_every_option(server: tuple[str, Model], model: Model) -> None:
    options = ["--key", "id", "--time", "at", "--shard-by", "user"]
    options += ["--shards", "3", "--partitions", "2", "--cluster-by", "kind, a.b"]
    options += ["--retain", "30 days", "--history", "1h"]
    options += ["--index", "tags=none", "--index", "a.b=sorted"]
    sources = ["--source", "file:///a/*.csv", "--source", "file:///b"]
    result = run(server, "collection", "create", "new", *options, *sources)
    assert (result.exit_code, result.stdout) == (0, "created new with 1 shard\n")
    assert model.requests == [
        catalog_pb2.CreateCollectionRequest(
            name="new",
            key_path="id",
            time_path="at",
            shard_by_path="user",
            shards=3,
            source_urls=["file:///a/*.csv", "file:///b"],
            log_partitions=2,
            settings=catalog_pb2.CollectionSettings(
                cluster_by_paths=["kind", "a.b"],
                retain_us=30 * 86_400_000_000,
                history_us=3_600_000_000,
                indexes=[
                    catalog_pb2.IndexSetting(path="tags", kind="none"),
                    catalog_pb2.IndexSetting(path="a.b", kind="sorted"),
                ],
            ),
        )
    ]
    again = run(server, "collection", "create", "new")
    assert (again.exit_code, again.stderr) == (1, "alder: there is a collection 'new'\n")
    assert run(server, "collection", "create", "x", "--shards", "0").exit_code == 2
    refused = run(server, "collection", "create", "x", "--retain", "a while")
    assert refused.exit_code == 2
    assert "'a while' is not a period" in refused.stderr
    refused = run(server, "collection", "create", "x", "--index", "tags")
    assert refused.exit_code == 2
    assert "'tags' is no index setting; write PATH=KIND" in refused.stderr


def test_list_and_show(server: tuple[str, Model]) -> None:
    listed = run(server, "collection", "list").stdout.splitlines()
    assert [line.split() for line in listed] == [
        ["name", "key", "time", "shards", "sources"],
        ["gh", "1", "log"],
    ]
    (entry,) = json.loads(run(server, "collection", "list", "--format", "json").stdout)
    assert (entry["name"], entry["key"], len(entry["shards"])) == ("gh", None, 1)
    shown = run(server, "collection", "show", "gh").stdout
    assert ["actor.login", "VARCHAR"] in [line.split() for line in shown.splitlines()]
    assert "_doc" in shown
    described = json.loads(run(server, "collection", "show", "gh", "--format", "json").stdout)
    assert described["columns"] == [
        {"path": "actor.login", "sql_type": "VARCHAR", "types": ["string"]}
    ]
    unknown = run(server, "collection", "show", "nope")
    assert (unknown.exit_code, unknown.stderr) == (1, "alder: there is no collection 'nope'\n")


def test_drop_asks_first(server: tuple[str, Model], model: Model) -> None:
    for answer in ("n\n", ""):
        assert run(server, "collection", "drop", "gh", stdin=answer).exit_code == 1
        assert "gh" in model.collections
    assert run(server, "collection", "drop", "gh", stdin="y\n").stdout == "dropped gh\n"
    assert model.collections == {}
    model.create("gh")
    assert run(server, "collection", "drop", "gh", "--yes").exit_code == 0
    assert model.collections == {}


def test_status(server: tuple[str, Model], model: Model) -> None:
    model.records["gh"] = []
    result = run(server, "status")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["leaf-1", "leaf", "(in", "process)", "live"] in lines
    assert ["tailer-1", "tailer", "(in", "process)", "no", "answer"] in lines
    assert ["gh", "1", "0", "9", "4", "5", "0", "0", "2.0"] in lines
    assert ["leaf-1", "pages", "1.0", "2.0", "3", "4", "5"] in lines
    assert "gh/0 is damaged: a page is" in result.stdout
    assert "gh/log/0 stands still at 3: the topic changed" in result.stdout
    assert result.stderr == "no answer from: tailer-1\n"
    state = json.loads(run(server, "status", "--format", "json").stdout)
    assert state["collections"][0]["lag_records"] == 5
    assert state["nodes"][0]["role"] == "leaf"
    assert state["leaves"][0]["shards"][0]["disk_bytes"] == 2_000_000
    assert state["unreachable"] == ["tailer-1"]


def test_quarantine(server: tuple[str, Model], model: Model) -> None:
    model.quarantined = [
        common_pb2.QuarantinedRecord(
            source="log", partition=1, offset=7, reason="not valid JSON", value=b"{\x1b[2J\n"
        ),
        common_pb2.QuarantinedRecord(
            source="log", offset=9, reason="invalid UTF-8", value=b"\xff" * 200, size_bytes=200
        ),
    ]
    listed = run(server, "quarantine", "gh", "list", "--format", "jsonl", "--limit", "5").stdout
    first, second = map(json.loads, listed.splitlines())
    assert first == {
        "source": "log",
        "partition": 1,
        "offset": 7,
        "reason": "not valid JSON",
        "size_bytes": 0,
        "value": "{\x1b[2J\n",
    }
    assert base64.b64decode(second["value_base64"]) == b"\xff" * 200
    assert model.requests[0] == quarantine_pb2.QuarantineRequest(collection="gh", records_max=5)
    assert [request.after.offset for request in model.requests] == [0, 9]
    table = run(server, "quarantine", "gh", "list").stdout
    assert "\x1b" not in table
    assert "{\\x1b[2J\\n" in table
    assert "\\xff\\xff" in table


def test_quarantine_shows_one_record_whole(server: tuple[str, Model], model: Model) -> None:
    value = b"\xff{" * 5_000
    model.quarantined = [
        common_pb2.QuarantinedRecord(
            source="log", partition=1, offset=7, reason="not UTF-8", value=value, size_bytes=20_000
        )
    ]
    shown = run(server, "quarantine", "gh", "show", "log/1/7")
    assert shown.stdout_bytes == value
    assert "log/1/7, 20000 bytes: not UTF-8" in shown.stderr
    assert "first 10000 bytes" in shown.stderr
    missing = run(server, "quarantine", "gh", "show", "log/1/8")
    assert missing.exit_code == 1
    assert "log/1/8" in missing.stderr
    assert run(server, "quarantine", "gh", "show", "seven").exit_code == 1


def test_quarantine_redrives_and_drops(server: tuple[str, Model], model: Model) -> None:
    model.good_to_offset = 3
    model.quarantined = [
        common_pb2.QuarantinedRecord(source="log", offset=offset, reason="still bad")
        for offset in range(5)
    ]
    done = run(server, "quarantine", "gh", "redrive").stdout
    assert "3 applied, 2 still in quarantine" in done
    assert "log/0/4" in done
    assert "still bad" in done
    one = run(server, "quarantine", "gh", "redrive", "log/0/1").stdout
    assert one == "1 applied, 0 still in quarantine\n"
    assert run(server, "quarantine", "gh", "drop").exit_code == 2
    assert run(server, "quarantine", "gh", "drop", "--all", "log/0/1").exit_code == 2
    assert run(server, "quarantine", "gh", "drop", "--all").exit_code == 1
    assert run(server, "quarantine", "gh", "drop", "--all", "--yes").stdout == "dropped 5\n"
    dropped = run(server, "quarantine", "gh", "drop", "log/0/4", "--yes").stdout
    assert dropped == "dropped 1\n"


def test_rebuild_is_given_up(server: tuple[str, Model], model: Model) -> None:
    assert "given up" in run(server, "rebuild", "gh", "--abort").stdout
    step = catalog_pb2.REBUILD_STEP_ABORT
    assert model.requests == [catalog_pb2.RebuildRequest(name="gh", step=step)]
    assert run(server, "rebuild", "gh", "--abort", "--no-transform").exit_code == 2


def test_sources_are_paused_sought_and_resumed(server: tuple[str, Model], model: Model) -> None:
    model.create("gh")
    source = model.collections["gh"].sources.add(name="kafka1", url="kafka://h/t", topic_id="t")
    source.partitions.add(partition=0, skipped=[catalog_pb2.SkippedRange(begin=4, end=1004)])
    listed = run(server, "source", "gh", "list").stdout
    assert ["kafka1", "0", "4", "1003", "1000"] in [line.split() for line in listed.splitlines()]
    early = run(server, "source", "gh", "seek", "kafka1", "latest")
    assert (early.exit_code, early.stdout) == (1, "")
    assert "`alder source gh pause kafka1` first" in early.stderr
    assert run(server, "source", "gh", "pause", "kafka1").stdout == "paused kafka1 of gh\n"
    unknown = run(server, "source", "gh", "seek", "kafka1", "latest", "--yes")
    assert "it is not known where kafka1/0 ends" in unknown.stderr
    assert "'x' is no position" in run(server, "source", "gh", "seek", "kafka1", "x").stderr
    assert run(server, "source", "gh", "seek", "kafka1", "7").exit_code == 1, "nobody said yes"
    sought = run(server, "source", "gh", "seek", "kafka1", "7", "--yes").stdout
    assert "kafka1/0: skips 7 offsets, 0 to 6" in sought
    assert (
        "kafka1/0: nothing is skipped"
        in run(server, "source", "gh", "seek", "kafka1", "earliest", "--yes").stdout
    )
    assert "paused, 1,000 skipped" not in run(server, "status").stdout
    assert run(server, "source", "gh", "resume").stdout == "resumed all sources of gh\n"
    asked = [one for one in model.requests if isinstance(one, catalog_pb2.ChangeSourcesRequest)]
    assert [one.paused for one in asked if one.HasField("paused")] == [True, False]
    assert asked[1].seeks == [catalog_pb2.PartitionSeek(partition=0, position=0, offset=7)]
    assert run(server, "source", "nothing", "list").exit_code == 1
    assert "no source 'k'" in run(server, "source", "gh", "seek", "k", "3").stderr
