"""Appends, tokens and the catalog's calls of the client."""

import datetime
import json
import threading
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
import pytest
from client_fakes import Model, fake_server
from hypothesis import given
from hypothesis import strategies as st
from log_records import records_of

import alder.client as dbapi
from alder.client import Connection, Token, TruncatedDocument, connect
from alder.client import documents as wire
from alder.errors import Reason
from alder.positions import PositionVector
from alder.v1 import catalog_pb2, common_pb2, quarantine_pb2


@pytest.fixture
def server() -> Iterator[tuple[str, Model]]:
    with fake_server() as started:
        started[1].create("gh")
        yield started


@pytest.fixture
def model(server: tuple[str, Model]) -> Model:
    return server[1]


@pytest.fixture
def connection(server: tuple[str, Model]) -> Iterator[Connection]:
    with connect(server[0]) as opened:
        yield opened


def test_documents_arrive_in_order_and_the_token_names_the_end(
    connection: Connection, model: Model
) -> None:
    token = connection.append("gh", [{"a": 1}, '{"a": 2.0}', b'{"a":\xff'], partition=3)
    assert model.documents("gh") == [b'{"a":1}', b'{"a": 2.0}', b'{"a":\xff']
    assert token == Token({"gh": PositionVector({("log", 0): 3})})
    assert [request.partition for request in model.appends] == [3]
    connection.append("gh", [{}])
    assert model.appends[-1].partition == -1


def test_messages_are_bounded(connection: Connection, model: Model) -> None:
    large, small = b"x" * 400_000, b"{}"
    connection.append("gh", [large] * 5 + [small] * 20_500)
    counts = [len(records_of(request)) for request in model.appends]
    assert counts == [2, 2, 10_000, 10_000, 501]
    assert all(request.ByteSize() < 1_100_000 for request in model.appends)
    assert model.documents("gh") == [large] * 5 + [small] * 20_500


def test_a_stream_of_documents_is_drawn_as_it_is_sent(connection: Connection) -> None:
    drawn = 0
    caller = threading.get_ident()

    def documents() -> Iterator[bytes]:
        nonlocal drawn
        for _ in range(30_000):
            drawn += 1
            assert threading.get_ident() == caller
            yield b'{"n": 1}'

    token = connection.append("gh", documents())
    assert token.positions["gh"][("log", 0)] == drawn == 30_000


def test_nothing_to_append(connection: Connection, model: Model) -> None:
    assert connection.append("gh", []) == Token()
    assert model.appends == []


def test_too_long_documents_are_sent_as_a_prefix(connection: Connection, model: Model) -> None:
    longest = b"x" * wire.DOCUMENT_BYTES_MAX
    connection.append("gh", [longest, longest + b"y", TruncatedDocument(b"begin", 10**9), b"{}"])
    sizes = [(len(record.value), record.original_size_bytes) for record in model.records["gh"]]
    assert sizes == [(len(longest), 0), (4096, len(longest) + 1), (5, 10**9), (2, 0)]


def test_python_documents_are_exact(connection: Connection, model: Model) -> None:
    document = {
        "big": 10**40,
        "negative": -(2**63) - 1,
        "float": 0.1,
        "text": "\ud800 é \x00",
        "when": datetime.datetime(2021, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC),
        "day": datetime.date(2021, 1, 2),
        "nested": {"list": [1, None, {"x": []}]},
    }
    connection.append("gh", [document, MappingProxyType({"a": MappingProxyType({"b": 1})})])
    first, second = (json.loads(text) for text in model.documents("gh"))
    assert first == {
        **document,
        "when": "2021-01-02T03:04:05.678901+00:00",
        "day": "2021-01-02",
    }
    assert second == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a": float("nan")}, "document 1: it holds NaN"),
        ({"a": [{"b": float("-inf")}]}, "document 1: it holds NaN"),
        ({"a": 10**30, "b": float("nan")}, "document 1"),
        ({"a": np.array([1.0, np.nan])}, "document 1: it holds NaN"),
        ({1: "a"}, "document 1: a key is not text"),
        ({"a": {2: "a"}, "b": 10**30}, "document 1: a key is not text"),
        ({"a": object()}, "document 1: .*object has no JSON form"),
    ],
)
def test_what_json_does_not_have_is_refused(
    connection: Connection, model: Model, document: Mapping[str, object], message: str
) -> None:
    with pytest.raises(dbapi.DataError, match=message):
        connection.append("gh", [{}, document])
    assert model.appends == []


def test_circular_and_deep_documents_are_refused(connection: Connection) -> None:
    circular: dict[str, object] = {}
    circular["self"] = circular
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for document in (circular, deep):
        with pytest.raises(dbapi.DataError, match="document 0"):
            connection.append("gh", [document])


@pytest.mark.parametrize("documents", [{"a": 1}, '{"a":1}', b"{}"])
def test_a_single_document_is_not_taken_for_many(connection: Connection, documents: object) -> None:
    with pytest.raises(dbapi.ProgrammingError, match="put a single one into a list"):
        connection.append("gh", documents)


def test_other_wrong_arguments(connection: Connection) -> None:
    with pytest.raises(dbapi.ProgrammingError, match="document 0 is a int"):
        connection.append("gh", [5])
    with pytest.raises(dbapi.ProgrammingError, match="no partition -1"):
        connection.append("gh", [{}], partition=-1)
    with pytest.raises(dbapi.ProgrammingError, match="shards must be a number"):
        connection.create_collection("x", shards=-1)


def test_an_error_of_the_callers_iterator_is_the_callers(connection: Connection) -> None:
    def documents() -> Iterator[bytes]:
        for _ in range(5000):
            yield b"{}"
        raise KeyError("mine")

    connection.append("gh", [b"{}"] * 5000)
    threads = threading.active_count()
    with pytest.raises(KeyError, match="mine"):
        connection.append("gh", documents())
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads


def test_a_slow_server_slows_the_drawing(connection: Connection, model: Model) -> None:
    drawn = 0

    def documents() -> Iterator[bytes]:
        nonlocal drawn
        for _ in range(200):
            drawn += 1
            yield b"x" * 1_000_000

    model.append_goes_on.clear()
    appending = threading.Thread(target=lambda: connection.append("gh", documents()))
    appending.start()
    seen = -1
    while seen != drawn:
        seen = drawn
        time.sleep(0.5)
    model.append_goes_on.set()
    appending.join(20)
    assert seen < 50
    assert len(model.documents("gh")) == drawn == 200


def test_an_error_of_the_server_ends_an_endless_append(
    connection: Connection, model: Model
) -> None:
    def documents() -> Iterator[bytes]:
        while True:
            yield b'{"a": 1}'

    model.append_error_after = 3
    with pytest.raises(dbapi.OperationalError, match="the disk is full") as caught:
        connection.append("gh", documents())
    assert caught.value.reason is Reason.LIMIT
    with pytest.raises(dbapi.ProgrammingError, match="no collection 'nothing'"):
        connection.append("nothing", [b"{}"])


_TEXTS = st.text(max_size=5)
_NUMBERS = st.integers() | st.floats() | st.sampled_from([float("nan"), float("inf")])
_VALUES = st.recursive(
    st.none() | st.booleans() | _TEXTS | _NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(_TEXTS, _VALUES, max_size=4))
def test_encoding_is_exact_or_refused(document: dict[str, object]) -> None:
    text = json.dumps(document)
    finite = "NaN" not in _numbers(document) and "Infinity" not in _numbers(document)
    if finite:
        assert json.loads(wire.encode(document)) == json.loads(text)
    else:
        with pytest.raises(dbapi.DataError):
            wire.encode(document)


def _numbers(value: object) -> str:
    """The numbers of a document as JSON text, without its strings."""
    if isinstance(value, dict):
        return " ".join(map(_numbers, value.values()))
    if isinstance(value, list):
        return " ".join(map(_numbers, value))
    return json.dumps(value) if isinstance(value, float) else ""


_OFFSETS = st.dictionaries(
    st.tuples(st.text(max_size=3), st.integers(0, 5)), st.integers(0, 2**63 - 1), max_size=4
)
_TOKENS = st.dictionaries(st.text(max_size=3), _OFFSETS.map(PositionVector), max_size=3).map(Token)


@given(_TOKENS)
def test_tokens_survive_json(token: Token) -> None:
    again = Token.from_json(token.to_json())
    assert {name: dict(v.offsets) for name, v in again.positions.items() if v.offsets} == {
        name: dict(v.offsets) for name, v in token.positions.items() if v.offsets
    }


@given(_TOKENS, _TOKENS)
def test_merged_tokens_reach_both(first: Token, second: Token) -> None:
    merged = first | second
    assert merged == second | first
    assert merged | first == merged
    for token in (first, second):
        for name, vector in token.positions.items():
            assert merged.positions[name].reaches(vector)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1}', '{"a": {"log": {"x": 1}}}', '{"a": {"log": {"0": -1}}}']
)
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(dbapi.ProgrammingError, match="not a token"):
        Token.from_json(text)


def test_catalog_calls(connection: Connection, model: Model) -> None:
    made = connection.create_collection(
        "new",
        key_path="id",
        time_path="at",
        shard_by_path="user",
        shards=3,
        source_urls=["file:///a/*.csv"],
        log_partitions=2,
    )
    assert made.name == "new"
    (request,) = model.requests
    assert request == catalog_pb2.CreateCollectionRequest(
        name="new",
        key_path="id",
        time_path="at",
        shard_by_path="user",
        shards=3,
        source_urls=["file:///a/*.csv"],
        log_partitions=2,
    )
    assert [collection.name for collection in connection.collections()] == ["gh", "new"]
    with pytest.raises(dbapi.ProgrammingError) as caught:
        connection.create_collection("new")
    assert caught.value.reason is Reason.ALREADY_EXISTS
    connection.drop_collection("new")
    assert [collection.name for collection in connection.collections()] == ["gh"]
    description = connection.describe("gh")
    assert description.overflow
    assert [(column.path, column.sql_type) for column in description.columns] == [
        ("actor.login", "VARCHAR")
    ]


def test_status_and_quarantine(connection: Connection, model: Model) -> None:
    model.quarantined = [
        common_pb2.QuarantinedRecord(source="log", partition=1, offset=5, reason="bad", value=b"{")
    ]
    connection.append("gh", [{}, {}])
    state = connection.status()
    assert (state.rows("gh"), state.quarantined("gh"), state.lag_records("gh")) == (2, 1, 5)
    assert [lag.end_offset for lag in state.lags] == [8, None]
    assert state.unreachable == ("tailer-1",)
    assert state.tailers[0].partitions[0].error == "the topic changed"
    (record,) = connection.quarantine("gh", records_max=1)
    assert (record.partition, record.offset, record.reason, record.value) == (1, 5, "bad", b"{")
    assert model.requests[-1] == quarantine_pb2.QuarantineRequest(collection="gh", records_max=1)
