"""What a rebuild changes in the catalog. Pure.

What is built is a collection of its own beside the one that serves: it has shards, positions and an
identity of its own, and reads the same sources from their beginning. One change of the catalog puts
it in the place of the other, so whoever looks at a snapshot sees the one or the other, whole.
"""

from collections.abc import Sequence
from dataclasses import replace

from alder.catalog import Collection, CollectionSettings, next_name
from alder.errors import AlderError, Reason
from alder.v1 import log_pb2
from controller.changes import CatalogState, Change, PutCollection, RemoveCollection
from controller.placement import place_shards, shards_per_leaf
from controller.requests import check_transformed


def check_reaches_back(name: str, offsets: log_pb2.OffsetsResponse) -> None:
    """Raises AlderError(OUT_OF_RANGE) where the log does not have its beginning any more."""
    for bounds in offsets.partitions:
        if bounds.begin_offset > 0:
            raise AlderError(
                Reason.OUT_OF_RANGE,
                f"{name} can't be built anew without loss: its log begins at offset "
                f"{bounds.begin_offset} in partition {bounds.partition} by now",
            )


def check_sources(name: str, missing: str) -> None:
    """Raises AlderError(OUT_OF_RANGE) where topics or files miss a part of what was read."""
    if missing:
        raise AlderError(Reason.OUT_OF_RANGE, f"{name} can't be built anew without loss: {missing}")


def check_serves(collection: Collection) -> None:
    """Raises AlderError(INVALID_ARGUMENT) for what is being built and does not serve yet."""
    if collection.topic:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{collection.name} is being built; say what to do with {collection.topic}",
        )


def begun(
    state: CatalogState, serving: Collection, settings: CollectionSettings, leaves: Sequence[str]
) -> Sequence[Change]:
    """Adds what is to be built, with its settings, unless it is there.

    Raises AlderError(CONFLICT) where it is there with another transformation, UNSUPPORTED for one
    that it can't have.
    """
    known = state.snapshot.collections.get(next_name(serving.name))
    if known is not None:
        if known.settings.transform_sql != settings.transform_sql:
            raise AlderError(
                Reason.CONFLICT,
                f"{serving.name} is being built anew with another transformation; abort that first",
            )
        return ()
    check_transformed(settings)
    shards = place_shards(
        len(serving.shards), leaves, shards_per_leaf(state.snapshot.collections.values())
    )
    built = replace(
        serving,
        name=next_name(serving.name),
        collection_id=state.next_collection_id,
        shards=shards,
        epoch=1,
        settings=settings,
        topic=serving.name,
    )
    return (PutCollection(built),)


def finished(state: CatalogState, serving: Collection, collection_id: int) -> Sequence[Change]:
    """Puts what was built in the place of what serves; nothing where that was done before.

    Raises AlderError(CONFLICT) where something else is being built, or nothing.
    """
    if serving.collection_id == collection_id:
        return ()
    built = state.snapshot.collections.get(next_name(serving.name))
    if built is None or built.collection_id != collection_id:
        raise AlderError(
            Reason.CONFLICT, f"the rebuild of {serving.name} was aborted meanwhile; begin it again"
        )
    serves = replace(built, name=serving.name, topic="", epoch=built.epoch + 1)
    return (RemoveCollection(built.name), PutCollection(serves))


def aborted(state: CatalogState, serving: Collection) -> Sequence[Change]:
    """Gives up what is being built, if anything is."""
    name = next_name(serving.name)
    return (RemoveCollection(name),) if name in state.snapshot.collections else ()
