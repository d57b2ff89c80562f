"""The bench itself: generators keep the published shapes, statistics count every sample."""

from collections import Counter
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from bench import clients, dashboards, options, pace, page, questions, report, statistics
from bench.generators import evolving, files, jsonbench, rockbench, ssb, strings, typed
from bench.server import server

EVENTS = 40_000


@pytest.fixture(scope="module")
def events() -> list[dict]:
    return list(map(orjson.loads, jsonbench.chunk(EVENTS, 1, 0, EVENTS).splitlines()))


def test_events_are_a_function_of_seed_and_place() -> None:
    assert jsonbench.chunk(1000, 1, 0, 300) == jsonbench.chunk(1000, 1, 0, 300)
    assert jsonbench.chunk(1000, 1, 0, 300) != jsonbench.chunk(1000, 2, 0, 300)
    assert jsonbench.chunk(1000, 1, 300, 300) != jsonbench.chunk(1000, 1, 0, 300)


def test_a_file_is_its_chunks_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonbench.write(tmp_path / "events.jsonl", 500)
    assert path.read_bytes() == jsonbench.chunk(500, 1, 0, 500)
    monkeypatch.setattr(files, "CHUNK_ROWS", 200)
    path = files.write(tmp_path / "parts.jsonl", 500, partial(jsonbench.chunk, 500, 1))
    parts = [jsonbench.chunk(500, 1, first, rows) for first, rows in [(0, 200), (200, 200)]]
    assert path.read_bytes() == b"".join([*parts, jsonbench.chunk(500, 1, 400, 100)])


def test_events_have_the_published_shares(events: list[dict]) -> None:
    counts = Counter(event.get("commit", {}).get("collection", "") for event in events)
    for collection, kind in jsonbench.KINDS.items():
        expected = kind.events * EVENTS / 1e6
        assert abs(counts[collection] - expected) <= 5 * expected**0.5 + 1, collection
    creations = Counter(
        event["commit"]["collection"]
        for event in events
        if event.get("commit", {}).get("operation") == "create"
    )
    for collection in ("app.bsky.feed.like", "app.bsky.actor.profile"):
        share = creations[collection] / counts[collection]
        assert share == pytest.approx(jsonbench.KINDS[collection].create_share, abs=0.06)


def test_events_have_the_published_shape(events: list[dict]) -> None:
    times = [event["time_us"] for event in events]
    assert times == sorted(set(times))
    subjects = set()
    for event in events:
        commit = event.get("commit")
        if commit is None:
            assert {event["kind"]} == event.keys() - {"did", "time_us", "kind"}
        elif commit["operation"] == "create":
            assert commit["record"]["$type"] == commit["collection"]
            assert len(commit["cid"]) == 59
            subjects.add(type(commit["record"].get("subject")))
        else:
            assert not commit.keys() & {"record", "cid"}
        assert len(event["did"]) == 32
    assert subjects == {dict, str, type(None)}
    assert 420 <= np.mean([len(orjson.dumps(event)) for event in events]) <= 500


@pytest.mark.parametrize("events_count", [1_000_000, 10_000_000])
def test_as_many_people_as_published_take_part(events_count: int) -> None:
    """Draws the people of a collection as the generator does, in full."""
    kind = jsonbench.KINDS["app.bsky.feed.post"]
    assert kind.people is not None
    pool = jsonbench.people_pool(events_count, "app.bsky.feed.post")
    draws = int(kind.events * events_count / 1e6 * kind.create_share)
    drawn = (pool * np.random.default_rng(5).random(draws) ** 2.5).astype(np.int64)
    expected = kind.people[0 if events_count == 1_000_000 else 1]
    assert len(np.unique(drawn)) == pytest.approx(expected, rel=0.02)


def test_hashed_words_name_their_number() -> None:
    words = strings.hashed_words(np.array([5, 6, 5]), 24, 0).to_pylist()
    assert words[0] == words[2] != words[1]
    many = strings.hashed_words(np.arange(50_000), 11, 3).to_pylist()
    assert len(set(many)) == len(many)


def test_time_words_sort_by_time() -> None:
    times = np.sort(np.random.default_rng(1).integers(10**15, 2 * 10**15, 1000))
    words = strings.time_words(times, np.zeros(1000, dtype=np.int64)).to_pylist()
    assert words == sorted(words)


def test_prose_has_the_words_asked_for() -> None:
    texts = strings.Prose(1).texts(np.random.default_rng(2), 500, 2, 9).to_pylist()
    assert {len(text.split(" ")) for text in texts} == set(range(2, 10))
    assert all("" not in text.split(" ") for text in texts)


def test_percentiles_are_samples() -> None:
    samples = [float(value) for value in range(100, 0, -1)]
    assert statistics.median(samples) == 50
    assert statistics.percentile(samples, 0.99) == 99
    assert statistics.percentile(samples, 1.0) == 100
    assert statistics.percentile([7.0], 0.0) == 7
    with pytest.raises(ValueError, match="no samples"):
        statistics.percentile([], 0.5)


def test_geometric_mean() -> None:
    assert statistics.geometric_mean([1, 100]) == pytest.approx(10)


def test_interleaving_takes_turns_and_lets_no_fast_system_off() -> None:
    order: list[str] = []
    clock = iter(range(10**6))

    def system(name: str):
        return lambda task: order.append(name) or (name, task, next(clock))

    names = {"a": system("a"), "b": system("b"), "c": system("c")}
    runs = statistics.interleaved(names, list(range(6)), budget_s=1e9, warm_up=False)
    assert [len(run.samples_s) for run in runs.values()] == [6, 6, 6]
    assert order[:6] == ["a", "b", "c", "b", "c", "a"]
    assert [answer[:2] for answer in runs["b"].answers] == [("b", task) for task in range(6)]
    runs = statistics.interleaved(names, list(range(6)), budget_s=0.0, warm_up=True)
    assert [len(run.samples_s) for run in runs.values()] == [statistics.RUNS_MIN] * 3


def test_a_target_without_its_peer_is_an_error_in_the_table() -> None:
    row = report.Row("B1", "work")
    verdict = report.at_least(">= 2 x chdb", 10, None, 2)
    row.compare("rate", "events/s", 10, {}, [verdict])
    assert row.errors
    assert row.lines[0].verdicts == []


def test_verdicts() -> None:
    assert report.at_least("t", 10, 4, 2) == report.Verdict("t", 2.5, True)
    assert report.at_most("t", 10, 4, 2) == report.Verdict("t", 2.5, False)


def test_answers_compare_as_sets_of_plain_rows() -> None:
    from_one = questions.plain([("a", 1.0), ("", 2)])
    from_other = questions.plain([(None, 2), ("a", 1)])
    assert questions.same(from_one, from_other)
    assert not questions.same(from_one, from_other[:1])


def test_flags_win_over_the_short_run() -> None:
    given = options.parse(["--short", "--only", "b3,B1", "--events", "7"])
    assert given.rows == ("B1", "B3")
    assert given.options.events == 7
    assert given.options.runs == options.SHORT.runs


def test_events_go_on_where_the_file_ends(tmp_path: Path) -> None:
    more = jsonbench.write_more(tmp_path / "more.jsonl", 500, 100, 50).read_bytes()
    assert more == jsonbench.chunk(500, 1, 600, 50)
    last = orjson.loads(jsonbench.chunk(500, 1, 499, 1))
    assert orjson.loads(more.splitlines()[0])["time_us"] > last["time_us"]


def test_evolved_events_only_gain_fields_and_types() -> None:
    lines = jsonbench.chunk(EVENTS, 1, 0, 12_000).splitlines()
    assert evolving.evolved(lines[:11_000]) + evolving.evolved(lines[11_000:], 11_000) == (
        evolving.evolved(lines)
    )
    kinds: dict[str, set[type]] = {}
    for line, text in zip(lines, evolving.evolved(lines), strict=True):
        before, event = orjson.loads(line), orjson.loads(text)
        for name in event.keys() - before.keys():
            kinds.setdefault(name, set()).add(type(event.pop(name)))
        assert int(event.pop("time_us")) == before.pop("time_us")
        assert event == before
    assert set(kinds) == {"feature_0", "feature_1"}
    assert all(found == {int, float, str, bool, list, dict} for found in kinds.values())
    assert [b'"time_us":"' in text for text in evolving.evolved(lines)].count(True) == 12


def test_typed_rows_and_their_lines_are_the_events(tmp_path: Path) -> None:
    events = jsonbench.write(tmp_path / "events.jsonl", 500)
    rows = typed.write(events, tmp_path / "events.parquet")
    assert pq.read_metadata(rows).num_rows == 500
    lines = typed.write_lines(rows, tmp_path / "lines.jsonl", 300).read_bytes().splitlines()
    originals = events.read_bytes().splitlines()[:300]
    for line, original in zip(map(orjson.loads, lines), map(orjson.loads, originals), strict=True):
        assert (line["did"], line["time_us"]) == (original["did"], original["time_us"])
        assert (line["commit"] or {}).get("rkey") == original.get("commit", {}).get("rkey")


def test_rockbench_documents_have_the_published_shape() -> None:
    bodies = rockbench.bodies(200)
    assert bodies == rockbench.bodies(200)
    documents = list(map(orjson.loads, rockbench.stamped(bodies, 150, 100, 77)))
    assert len({document["id"] for document in documents}) == 100
    assert {document["_event_time"] for document in documents} == {77}
    assert 1000 <= np.mean([len(body) for body in bodies]) <= 1300
    for document in documents:
        assert len(_values(document)) == 46


def _values(value: object) -> list[object]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [leaf for part in inner for leaf in _values(part)]
    return [value]


def test_ssb_lines_join_their_dimensions(tmp_path: Path) -> None:
    path = ssb.write(tmp_path / "lines.parquet", 0.002)
    table = pq.read_table(path)
    assert table.equals(pq.read_table(ssb.write(tmp_path / "again.parquet", 0.002)))
    assert table.num_rows == ssb.lines(0.002) == 12_000
    checks = duckdb.sql("""
        SELECT count(DISTINCT lo_orderkey) = 3000, bool_and(p_brand LIKE p_category || '%'),
            bool_and(p_category LIKE p_mfgr || '%'),
            bool_and(c_city LIKE rpad(c_nation[:9], 9, ' ') || '_'),
            bool_and(lo_revenue = lo_extendedprice * (100 - lo_discount) // 100),
            min(lo_orderdate) >= DATE '1992-01-01', max(lo_orderdate) <= DATE '1998-08-02',
            count(DISTINCT c_region) = 5, count(DISTINCT s_region) = 5,
            (SELECT max(n) FROM (SELECT count(DISTINCT (c_city, lo_orderdate)) AS n FROM "table"
                GROUP BY lo_orderkey)) = 1
        FROM "table" """).fetchall()
    assert all(checks[0]), checks


def test_a_late_batch_counts_from_when_it_was_due() -> None:
    sent: list[int] = []

    def made(first: int, count: int) -> list[bytes]:
        return [b"{}"] * count

    latencies, count = pace.paced(
        lambda documents: sent.append(len(documents)), made, rate=400, seconds=0.2, tick_s=0.01
    )
    assert count == sum(sent) == 80
    assert len(latencies) == 20
    assert min(latencies) >= 0


def test_what_a_send_raises_ends_the_pace() -> None:
    def refuse(documents: object) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        pace.paced(refuse, lambda first, count: [], rate=100, seconds=0.02)


def test_a_saved_row_comes_back_and_is_a_table_of_the_page(tmp_path: Path) -> None:
    row = report.Row("B3", "five questions", notes=["hot"], errors=["a peer | was late"])
    verdicts = [report.at_most("<= 0.5 x chdb", 20.0, 50.0, 0.5)]
    row.compare("mean", "ms", 20.0, {"chdb": 50.0, "duckdb": 1234.5}, verdicts)
    row.compare("load", "", None)
    about = {"alder": "c0ffee", "processor": "a", "cores": 2, "memory_gib": 8}
    report.save(tmp_path, row, about, 12.3)
    page.write(tmp_path)
    (found,) = page.saved(tmp_path)
    assert (found.row, found.seconds, found.machine) == (row, 12, about)
    text = (tmp_path / page.NAME).read_text()
    assert "## B3: five questions" in text
    assert "| mean | 20 ms | chdb 50<br>duckdb 1,234 | <= 0.5 x chdb | 0.4 | met |" in text
    assert "- Error: a peer | was late" in text
    assert "commit c0ffee, 12 s" in text


def test_the_page_of_results_is_that_of_their_files() -> None:
    assert (options.RESULTS / page.NAME).read_text() == page.page(page.saved(options.RESULTS))


def test_dashboards_are_different_statements_that_the_engine_reads() -> None:
    made = dashboards.statements("bluesky", EVENTS)
    assert len(set(made)) == dashboards.STATEMENTS
    columns = "1 AS time_us, {'collection': '', 'operation': ''} AS \"commit\""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE bluesky AS SELECT {columns} WHERE false")
        for sql in made:
            connection.execute(f"EXPLAIN {sql}").fetchall()


def test_clients_tell_answers_refusals_and_failures_apart(tmp_path: Path) -> None:
    path = clients.write(tmp_path / "statements.jsonl", ["SELECT 1", "SELECT nothing"])
    with server(tmp_path / "data") as target:
        outcome = clients.closed(target, path, 0.5, 2, 30)
    assert outcome.answered_ms
    assert outcome.failed_ms
    assert not outcome.refused_ms
    assert "nothing" in outcome.messages[0]
    assert outcome.rate == len(outcome.answered_ms) / 0.5
