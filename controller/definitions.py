"""Views and saved queries: what may be defined, and the change that does it. Pure.

Names after FROM make a graph of views. No snapshot holds a cycle in it, whichever versions are
pinned: a definition adds edges from its own newest version only, so a cycle that it closes passes
through that version, and following all names from there finds it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from alder.catalog import Snapshot, check_collection_name
from alder.definitions import Definition, Version, no_version, unpinned
from alder.errors import AlderError, Reason
from alder.v1 import catalog_pb2
from controller.changes import Change, PutDefinition, RemoveDefinition
from controller.settings import ControllerSettings

_KINDS: Final = {
    catalog_pb2.DEFINITION_KIND_VIEW: "view",
    catalog_pb2.DEFINITION_KIND_QUERY: "saved query",
}


def defined(
    snapshot: Snapshot, request: catalog_pb2.DefineRequest, settings: ControllerSettings
) -> Sequence[Change]:
    """The change that adds a version; none where the name is known and that is to be left so.

    Raises AlderError: INVALID_ARGUMENT, LIMIT, ALREADY_EXISTS, UNKNOWN_COLLECTION, CONFLICT.
    """
    check_collection_name(request.name)
    if request.kind not in _KINDS:
        raise AlderError(Reason.INVALID_ARGUMENT, "a definition is a view or a saved query")
    known = snapshot.definitions.get(request.name)
    if known is None:
        check_unused(snapshot, request.name)
        for collection in snapshot.collections:
            if collection.lower() == request.name.lower():
                raise AlderError(
                    Reason.ALREADY_EXISTS,
                    f"the collection {collection} exists; choose another name",
                )
        if len(snapshot.definitions) >= settings.definitions_max:
            raise AlderError(
                Reason.LIMIT,
                f"there are {len(snapshot.definitions)} views and saved queries, the limit; "
                "drop some first",
            )
        known = Definition(request.name, request.kind, ())
    elif known.kind != request.kind or not (request.or_replace or request.if_not_exists):
        raise already_exists(known)
    elif request.if_not_exists:
        return ()
    if len(known.versions) >= settings.versions_max:
        raise AlderError(
            Reason.LIMIT,
            f"{known.name} has {len(known.versions)} versions, the limit; drop it, which drops "
            "all versions, or choose another name",
        )
    version = replace(Version.from_proto(request.definition), number=len(known.versions) + 1)
    _check_version(version, settings)
    after = replace(known, versions=(*known.versions, version))
    definitions = {**snapshot.definitions, after.name: after}
    _check_graph(replace(snapshot, definitions=definitions), after, settings)
    return (PutDefinition(after),)


def undefined(snapshot: Snapshot, request: catalog_pb2.UndefineRequest) -> Sequence[Change]:
    """The change that drops a definition. Raises AlderError: UNKNOWN_COLLECTION, CONFLICT."""
    known = snapshot.definitions.get(request.name)
    if known is None or known.kind != request.kind:
        if request.if_exists and known is None:
            return ()
        what = _KINDS.get(request.kind, "definition")
        raise AlderError(Reason.UNKNOWN_COLLECTION, f"there is no {what} {request.name!r}")
    check_unread(snapshot, request.name)
    return (RemoveDefinition(request.name),)


def accelerated(snapshot: Snapshot, request: catalog_pb2.AccelerateRequest) -> Sequence[Change]:
    """The change that turns acceleration on or off. Raises AlderError(UNKNOWN_COLLECTION)."""
    known = snapshot.definitions.get(request.name)
    if known is None or not known.is_view:
        raise AlderError(Reason.UNKNOWN_COLLECTION, f"there is no view {request.name!r}")
    if known.accelerate == request.accelerate:
        return ()
    return (PutDefinition(replace(known, accelerate=request.accelerate)),)


def already_exists(known: Definition) -> AlderError:
    """The error for a second definition of a name."""
    what = _KINDS[known.kind]
    verb = "VIEW" if known.is_view else "QUERY"
    return AlderError(
        Reason.ALREADY_EXISTS,
        f"the {what} {known.name} exists; write CREATE OR REPLACE {verb} to add a version to it, "
        "or choose another name",
    )


def check_unused(snapshot: Snapshot, name: str) -> None:
    """Raises AlderError(ALREADY_EXISTS) if a definition has a name, in any case."""
    for known in snapshot.definitions.values():
        if known.name.lower() == name.lower():
            raise already_exists(known)


def check_unread(snapshot: Snapshot, name: str) -> None:
    """Raises AlderError(CONFLICT) while the newest version of another view reads a name."""
    for other in snapshot.definitions.values():
        reads = {unpinned(entry)[0] for entry in other.newest.reads}
        if other.is_view and other.name != name and name in reads:
            raise AlderError(
                Reason.CONFLICT, f"the view {other.name} reads {name}; drop or replace it first"
            )


def _check_version(version: Version, settings: ControllerSettings) -> None:
    size_bytes = len(version.to_proto().SerializeToString())
    if size_bytes > settings.definition_bytes_max:
        raise AlderError(
            Reason.LIMIT,
            f"the definition has {size_bytes} bytes, the limit is {settings.definition_bytes_max}; "
            "make it of several views",
        )
    if not version.sql:
        raise AlderError(Reason.INVALID_ARGUMENT, "a definition needs the text of a SELECT")


def _check_graph(snapshot: Snapshot, added: Definition, settings: ControllerSettings) -> None:
    """Raises AlderError where a name is unknown, or views are nested too deeply or in a circle."""
    depths: dict[str, int] = {}
    for name in added.newest.reads:
        _depth(snapshot, name, (f"{added.name}@{added.newest.number}",), depths)
    views = [known.name for known in snapshot.definitions.values() if known.is_view]
    if max((_depth(snapshot, name, (), depths) for name in views), default=0) > (
        settings.view_depth_max
    ):
        raise AlderError(
            Reason.LIMIT,
            f"views would be nested more than {settings.view_depth_max} deep; "
            "write some of them out",
        )


def _depth(snapshot: Snapshot, name: str, above: tuple[str, ...], depths: dict[str, int]) -> int:
    """How many views are nested in what a name means, 0 for a collection.

    ``above`` are the versions on the way to it, ``depths`` those known already.
    """
    base, number = unpinned(name)
    known = snapshot.definitions.get(base)
    if known is None or not known.is_view:
        if number is None and base in snapshot.collections:
            return 0
        raise AlderError(
            Reason.UNKNOWN_COLLECTION, f"there is no collection or view {base!r} to read"
        )
    version = known.version(number)
    if version is None:
        raise no_version(known, number)
    node = f"{base}@{version.number}"
    if node in above:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"the view {base} would read itself ({' reads '.join((*above, node))}); "
            f"read an earlier version, as {base}@{max(version.number - 1, 1)}, or none",
        )
    if node not in depths:
        inner = [_depth(snapshot, entry, (*above, node), depths) for entry in version.reads]
        depths[node] = 1 + max(inner, default=0)
    return depths[node]
