"""Pausing, resuming and seeking as changes of the catalog."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alder.catalog import Collection, SkippedRange, Snapshot, Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.v1 import catalog_pb2
from controller.changes import CatalogState
from controller.sources import changed, check_none_paused

TOPIC = Source("kafka1", "kafka://h/t", "id", (SourcePartition(0), SourcePartition(1, "", "", 5)))
EVENTS = Collection("events", 7, sources=(Source("log", "log"), TOPIC), epoch=3)


def after(
    collection: Collection,
    *sources: str,
    paused: bool | None = None,
    seeks: tuple[tuple[int, int, int], ...] = (),
    epoch: int | None = None,
) -> Collection:
    """The collection after a request."""
    request = catalog_pb2.ChangeSourcesRequest(
        collection=collection.name,
        sources=sources,
        paused=paused,
        seeks=[
            catalog_pb2.PartitionSeek(partition=number, position=position, offset=offset)
            for number, position, offset in seeks
        ],
        epoch=collection.epoch if epoch is None else epoch,
    )
    state = CatalogState(Snapshot(1, {collection.name: collection}))
    changes = changed(state, collection, request, ranges_max=3)
    return state.applied(changes).snapshot.collections[collection.name]


def skipped(collection: Collection, partition: int = 0) -> list[tuple[int, int]]:
    spans = collection.source("kafka1").partitions[partition].skipped
    return [(span.begin, span.end) for span in spans]


def refused(reason: Reason, text: str, collection: Collection, **request: object) -> None:
    with pytest.raises(AlderError, match=text) as caught:
        after(collection, *request.pop("sources", ("kafka1",)), **request)
    assert caught.value.reason is reason


def test_a_pause_begins_an_epoch_once() -> None:
    paused = after(EVENTS, "kafka1", paused=True)
    assert [source.paused for source in paused.sources] == [False, True]
    assert paused.epoch == 4
    assert after(paused, "kafka1", paused=True) == paused
    assert Collection.from_proto(paused.to_proto()) == paused
    everything = after(EVENTS, paused=True)
    assert [source.paused for source in everything.sources] == [True, True]
    resumed = after(everything, paused=False)
    assert resumed.sources == EVENTS.sources
    with pytest.raises(AlderError, match="kafka1 of events is paused"):
        check_none_paused(paused)
    check_none_paused(resumed)


def test_a_seek_names_what_is_not_read() -> None:
    paused = after(EVENTS, "kafka1", paused=True)
    sought = after(paused, "kafka1", seeks=((0, 10, 20), (1, 7, 7)))
    assert (skipped(sought), skipped(sought, 1)) == ([(10, 20)], [])
    assert sought.epoch == paused.epoch + 1
    assert Collection.from_proto(sought.to_proto()) == sought
    assert skipped(after(sought, "kafka1", seeks=((0, 10, 15),))) == [(10, 15)], "not passed yet"
    assert skipped(after(sought, "kafka1", seeks=((0, 10, 10),))) == []
    on = after(sought, "kafka1", seeks=((0, 20, 30),))
    assert skipped(on) == [(10, 30)], "right behind the one before"
    assert skipped(after(on, "kafka1", seeks=((0, 20, 20),))) == [(10, 20)]
    assert skipped(after(on, "kafka1", seeks=((0, 40, 50),))) == [(10, 30), (40, 50)]


def test_what_can_not_be_is_refused() -> None:
    paused = after(EVENTS, "kafka1", paused=True)
    refused(Reason.CONFLICT, "is being read; pause it first", EVENTS, seeks=((0, 1, 2),))
    refused(Reason.CONFLICT, "changed meanwhile", paused, seeks=((0, 1, 2),), epoch=3)
    refused(Reason.INVALID_ARGUMENT, "is there, once", paused, seeks=((0, 9, 8),))
    refused(Reason.INVALID_ARGUMENT, "no partition 5", paused, seeks=((5, 1, 2),))
    refused(Reason.INVALID_ARGUMENT, "no source 'k'", paused, sources=("k",), paused=True)
    refused(
        Reason.INVALID_ARGUMENT,
        "name one",
        after(EVENTS, paused=True),
        sources=(),
        seeks=((0, 1, 2),),
    )
    many = paused
    for begin in (10, 20, 30):
        many = after(many, "kafka1", seeks=((0, begin, begin + 1),))
    refused(Reason.LIMIT, "more than 3 ranges", many, seeks=((0, 40, 41),))
    built = replace(EVENTS, name="events#next", topic="events")
    state = CatalogState(Snapshot(1, {"events": EVENTS, "events#next": built}))
    request = catalog_pb2.ChangeSourcesRequest(collection="events", paused=True)
    for collection in (EVENTS, built):
        with pytest.raises(AlderError, match="being built anew") as caught:
            changed(state, collection, request, 3)
        assert caught.value.reason is Reason.CONFLICT


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=12))
def test_ranges_hold_exactly_what_was_sought_past(steps: list[tuple[int, int]]) -> None:
    """Each step reads some records, and then seeks past some; a seek may follow another."""
    collection = after(EVENTS, "kafka1", paused=True)
    position, passed = 0, set[int]()
    for read, sought in steps:
        position += read
        request = ((0, position, position + sought),)
        collection = replace(collection, epoch=1)
        state = CatalogState(Snapshot(1, {"events": collection}))
        message = catalog_pb2.ChangeSourcesRequest(
            collection="events",
            sources=["kafka1"],
            seeks=[
                catalog_pb2.PartitionSeek(partition=n, position=at, offset=to)
                for n, at, to in request
            ],
            epoch=1,
        )
        changes = changed(state, collection, message, ranges_max=100)
        collection = state.applied(changes).snapshot.collections["events"]
        passed |= set(range(position, position + sought))
        position += sought
    spans = collection.source("kafka1").partitions[0].skipped
    assert {n for span in spans for n in range(span.begin, span.end)} == passed
    assert all(a.end < b.begin for a, b in itertools.pairwise(spans))
    assert SkippedRange(0, 0) not in spans
