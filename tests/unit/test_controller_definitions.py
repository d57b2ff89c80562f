"""Views and saved queries in the catalog: versions, one namespace, no circles, limits."""

from collections.abc import Awaitable
from pathlib import Path

import pytest
from test_controller import beat, create, drop, refused, use

from alder.catalog import Collection, Snapshot
from alder.definitions import Definition, Parameter, Version, unpinned
from alder.errors import AlderError, Reason
from alder.v1 import catalog_pb2
from controller import definitions
from controller.catalog_store import CatalogStore
from controller.changes import CatalogState, PutDefinition, RemoveDefinition
from controller.log import EmbeddedLog
from controller.service import Controller
from controller.settings import ControllerSettings

VIEW = catalog_pb2.DEFINITION_KIND_VIEW
QUERY = catalog_pb2.DEFINITION_KIND_QUERY
EMPTY = Snapshot(1, {"ev": Collection("ev", 1), "pe": Collection("pe", 2)}, {})


def request(name: str, *reads: str, kind: int = VIEW, **flags: bool) -> catalog_pb2.DefineRequest:
    version = catalog_pb2.DefinitionVersion(sql=f"SELECT {name}", reads=reads)
    return catalog_pb2.DefineRequest(name=name, kind=kind, definition=version, **flags)


def after(snapshot: Snapshot, *requests: catalog_pb2.DefineRequest, **limits: int) -> Snapshot:
    for one in requests:
        changes = definitions.defined(snapshot, one, ControllerSettings(**limits))
        snapshot = CatalogState(snapshot).applied(changes).snapshot
    return snapshot


def replaced(name: str, *reads: str) -> catalog_pb2.DefineRequest:
    return request(name, *reads, or_replace=True)


def test_each_definition_adds_a_version_and_none_goes() -> None:
    known = after(EMPTY, request("v", "ev"), replaced("v", "pe"), replaced("v", "ev"))
    view = known.definitions["v"]
    assert [(one.number, one.reads) for one in view.versions] == [
        (1, ("ev",)),
        (2, ("pe",)),
        (3, ("ev",)),
    ]
    assert view.newest is view.version(None) is view.version(3)
    assert view.version(4) is view.version(0) is None
    assert known.revision == EMPTY.revision + 3
    kept = definitions.defined(known, request("v", "pe", if_not_exists=True), ControllerSettings())
    assert kept == ()


@pytest.mark.parametrize(
    ("requests", "reason", "words"),
    [
        ([request("v", "ev"), request("v", "ev")], Reason.ALREADY_EXISTS, "OR REPLACE VIEW"),
        ([request("v", "ev"), request("V", "ev")], Reason.ALREADY_EXISTS, "view v exists"),
        ([request("v", "ev"), request("v", kind=QUERY)], Reason.ALREADY_EXISTS, "view v exists"),
        ([request("EV", "ev")], Reason.ALREADY_EXISTS, "collection ev exists"),
        ([request("v", "nope")], Reason.UNKNOWN_COLLECTION, "'nope'"),
        ([request("v", "ev@1")], Reason.UNKNOWN_COLLECTION, "'ev'"),
        ([request("v", "ev"), request("w", "v@2")], Reason.UNKNOWN_COLLECTION, "no version 2"),
        ([request("q", kind=QUERY), request("v", "q")], Reason.UNKNOWN_COLLECTION, "'q'"),
        ([request("v", "v")], Reason.INVALID_ARGUMENT, "v@1 reads v@1"),
        ([request("1v", "ev")], Reason.INVALID_ARGUMENT, "can't name"),
        (
            [request("v", "ev"), request("w", "v"), replaced("v", "w")],
            Reason.INVALID_ARGUMENT,
            "v@2 reads w@1 reads v@2",
        ),
        (
            [request("v", "ev"), request("w", "v"), replaced("w", "ev"), replaced("v", "w@1")],
            Reason.INVALID_ARGUMENT,
            "v@2 reads w@1 reads v@2",
        ),
        ([request("a", "ev"), request("b", "a"), request("c", "b")], Reason.LIMIT, "2 deep"),
        (
            [request("a", "ev"), request("c", "a"), request("b", "ev"), replaced("a", "b")],
            Reason.LIMIT,
            "2 deep",
        ),
        ([request(name, "ev") for name in "abcde"], Reason.LIMIT, "4 views"),
        ([request("v", *["ev"] * 400)], Reason.LIMIT, "bytes"),
    ],
)
def test_what_can_not_be_defined(
    requests: list[catalog_pb2.DefineRequest], reason: Reason, words: str
) -> None:
    *before, last = requests
    limits = {"view_depth_max": 2, "definitions_max": 4, "definition_bytes_max": 1_000}
    snapshot = after(EMPTY, *before, **limits)
    with pytest.raises(AlderError, match=words) as caught:
        after(snapshot, last, **limits)
    assert caught.value.reason is reason


def test_versions_are_limited() -> None:
    known = after(EMPTY, request("v", "ev"), replaced("v", "ev"))
    with pytest.raises(AlderError, match="2 versions, the limit"):
        after(known, replaced("v", "ev"), versions_max=2)


def test_an_earlier_version_of_itself_is_no_circle() -> None:
    known = after(EMPTY, request("v", "ev"), request("w", "v"), replaced("v", "v@1"))
    assert known.definitions["v"].newest.reads == ("v@1",)


def test_what_a_view_reads_is_not_dropped_before_it() -> None:
    def drop(snapshot: Snapshot, name: str, **fields: object) -> Snapshot:
        wanted = catalog_pb2.UndefineRequest(name=name, kind=VIEW, **fields)
        return CatalogState(snapshot).applied(definitions.undefined(snapshot, wanted)).snapshot

    known = after(EMPTY, request("v", "ev"), request("w", "v@1"))
    with pytest.raises(AlderError, match="view w reads v; drop") as caught:
        drop(known, "v")
    assert caught.value.reason is Reason.CONFLICT
    assert list(drop(known, "w").definitions) == ["v"]
    assert list(drop(after(known, replaced("w", "pe")), "v").definitions) == ["w"]
    with pytest.raises(AlderError, match="no view 'x'"):
        drop(known, "x")
    assert drop(known, "x", if_exists=True).definitions == known.definitions
    with pytest.raises(AlderError, match="no view 'q'"):
        drop(after(known, request("q", kind=QUERY)), "q", if_exists=True)


def test_acceleration_is_a_view_s() -> None:
    known = after(EMPTY, request("v", "ev"), request("q", kind=QUERY))

    def accelerated(name: str, on: bool) -> list[bool]:
        wanted = catalog_pb2.AccelerateRequest(name=name, accelerate=on)
        changes = definitions.accelerated(known, wanted)
        return [one.definition.accelerate for one in changes if isinstance(one, PutDefinition)]

    assert accelerated("v", True) == [True]
    assert accelerated("v", False) == []
    for name in ("q", "nope"):
        with pytest.raises(AlderError, match="no view"):
            accelerated(name, True)


def test_definitions_survive_a_restart(tmp_path: Path) -> None:
    full = Definition(
        "q",
        QUERY,
        (
            Version(1, "SELECT $n", (), (Parameter("n", "10"), Parameter("kind")), ("ev",)),
            Version(2, "SELECT 2", ("a", "b"), (), ("ev", "w@1")),
        ),
        accelerate=True,
    )
    store = CatalogStore(tmp_path / "c.db")
    state = store.commit(store.load(), [PutDefinition(full), PutDefinition(Definition("w", 1, ()))])
    store.commit(state, [RemoveDefinition("w")])
    store.close()
    assert CatalogStore(tmp_path / "c.db").load().snapshot.definitions == {"q": full}


def test_a_pinned_name_is_told_from_a_plain_one() -> None:
    assert unpinned("v@2") == ("v", 2)
    assert [unpinned(name)[1] for name in ("v", "v@", "v@0", "@2", "v@x")] == [None] * 5


def test_views_and_collections_share_their_names(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        await create(controller, "ev")
        first = await controller.define(request("v", "ev"))
        assert (first.version, first.revision) == (1, controller.snapshot.revision)
        await refused(create(controller, "V"), Reason.ALREADY_EXISTS)
        await refused(drop(controller, "ev"), Reason.CONFLICT)
        second = await controller.define(replaced("v", "ev"))
        assert (second.version, second.revision) == (2, first.revision + 1)
        again = await controller.define(request("v", "ev", if_not_exists=True))
        assert (again.version, again.revision) == (2, second.revision)
        await controller.accelerate(catalog_pb2.AccelerateRequest(name="v", accelerate=True))
        assert controller.snapshot.definitions["v"].accelerate
        gone: Awaitable[object] = controller.undefine(
            catalog_pb2.UndefineRequest(name="v", kind=VIEW)
        )
        await gone
        await drop(controller, "ev")
        assert controller.snapshot.definitions == {} == controller.snapshot.collections

    use(tmp_path, scenario)
