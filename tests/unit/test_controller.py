"""The controller: collections, files, leases and watches over one catalog."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from alder.catalog import Collection, Snapshot, next_name
from alder.errors import AlderError, Reason
from alder.v1 import catalog_pb2, log_pb2
from controller.log import EmbeddedLog
from controller.rebuilding import check_reaches_back
from controller.service import Controller
from controller.settings import ControllerSettings

LEAF = catalog_pb2.NODE_ROLE_LEAF
Scenario = Callable[[Controller, EmbeddedLog], Awaitable[None]]


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def use(
    path: Path,
    scenario: Scenario,
    clock: Clock | None = None,
    lease_s: float = 3.0,
    **limits: int,
) -> None:
    """Runs a scenario on a controller with a log; nothing expires but on demand."""

    async def run() -> None:
        log = EmbeddedLog(path / "log", lambda: 1)
        await log.start()
        settings = ControllerSettings(
            lease_s=lease_s, shards_default=2, log_partitions_default=3, **limits
        )
        controller = Controller(path / "catalog.db", log, clock or Clock(), settings)
        await controller.start()
        try:
            await scenario(controller, log)
        finally:
            await controller.close()
            await log.close()

    asyncio.run(run())


async def beat(
    controller: Controller, node_id: str, address: str = "", leaving: bool = False
) -> catalog_pb2.HeartbeatResponse:
    node = catalog_pb2.Node(node_id=node_id, role=LEAF, address=address)
    return await controller.heartbeat(catalog_pb2.HeartbeatRequest(node=node, leaving=leaving))


async def create(
    controller: Controller, name: str, timeout_s: float | None = 5.0, **fields: object
) -> catalog_pb2.CreateCollectionResponse:
    request = catalog_pb2.CreateCollectionRequest(name=name, **fields)
    return await controller.create_collection(request, timeout_s)


async def drop(controller: Controller, name: str) -> int:
    request = catalog_pb2.DropCollectionRequest(name=name)
    return (await controller.drop_collection(request)).revision


async def rebuild(
    controller: Controller, step: catalog_pb2.RebuildStep, **fields: object
) -> catalog_pb2.Collection:
    request = catalog_pb2.RebuildRequest(name="x", step=step, **fields)
    return (await controller.rebuild(request, 5.0)).collection


async def register(controller: Controller, **files: str) -> dict[str, int]:
    found = [catalog_pb2.SourcePartition(name=k, identity=v) for k, v in files.items()]
    request = catalog_pb2.RegisterPartitionsRequest(collection="x", source="file1", found=found)
    source = (await controller.register_partitions(request)).source
    return {entry.name: entry.partition for entry in source.partitions}


async def refused(call: Awaitable[object], reason: Reason) -> AlderError:
    with pytest.raises(AlderError) as caught:
        await call
    assert caught.value.reason is reason
    return caught.value


async def topic_exists(log: EmbeddedLog, name: str) -> bool:
    try:
        return bool((await log.offsets(log_pb2.OffsetsRequest(topic=name))).topic_id)
    except AlderError as error:
        if error.reason is not Reason.UNKNOWN_COLLECTION:
            raise
        return False


def live(snapshot: Snapshot) -> set[str]:
    return {node.node_id for node in snapshot.nodes.values() if node.live}


def test_a_collection_gets_a_topic_and_shards_on_live_leaves(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        await beat(controller, "leaf2")
        response = await create(
            controller, "x", key_path="id", source_urls=["file:///a/*.jsonl"], shards=3
        )
        made = response.collection
        assert (made.name, made.collection_id, made.key_path, made.epoch) == ("x", 1, "id", 1)
        assert [shard.leaf for shard in made.shards] == ["leaf1", "leaf2", "leaf1"]
        topic = await log.offsets(log_pb2.OffsetsRequest(topic="x"))
        assert [source.name for source in made.sources] == ["log", "file1"]
        assert made.sources[0].topic_id == topic.topic_id
        assert [p.partition for p in made.sources[0].partitions] == [0]
        assert response.revision == controller.snapshot.revision
        second = (await create(controller, "y")).collection
        assert second.collection_id == 2
        assert sorted(shard.leaf for shard in second.shards) == ["leaf1", "leaf2"]
        assert sorted(second.shards, key=lambda s: s.shard)[0].leaf == "leaf2", "it had fewer"

    use(tmp_path, scenario)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        answers = await asyncio.gather(
            *(create(controller, "x") for _ in range(5)), return_exceptions=True
        )
        errors = [answer for answer in answers if isinstance(answer, AlderError)]
        assert [error.reason for error in errors] == [Reason.ALREADY_EXISTS] * 4
        await refused(create(controller, "x"), Reason.ALREADY_EXISTS)
        await refused(create(controller, "no-good"), Reason.INVALID_ARGUMENT)

    use(tmp_path, scenario)


def test_without_a_leaf_a_collection_waits_or_says_so(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        error = await refused(create(controller, "x", timeout_s=0.15), Reason.UNAVAILABLE)
        assert "no leaf is live" in error.message
        assert not await topic_exists(log, "x")
        waiting = asyncio.create_task(create(controller, "x", timeout_s=10))
        await asyncio.sleep(0.02)
        await beat(controller, "leaf1")
        assert {shard.leaf for shard in (await waiting).collection.shards} == {"leaf1"}

    use(tmp_path, scenario)


def test_a_dropped_collection_is_gone_with_its_records(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        before = (await create(controller, "flights")).collection
        error = await refused(drop(controller, "flight"), Reason.UNKNOWN_COLLECTION)
        assert "did you mean flights?" in error.message
        revision = await drop(controller, "flights")
        assert revision == controller.snapshot.revision
        assert controller.snapshot.collections == {}
        assert not await topic_exists(log, "flights")
        await refused(drop(controller, "flights"), Reason.UNKNOWN_COLLECTION)
        after = (await create(controller, "flights")).collection
        assert after.collection_id > before.collection_id
        assert after.sources[0].topic_id != before.sources[0].topic_id

    use(tmp_path, scenario)


def test_of_two_drops_only_one_touches_the_topic(tmp_path: Path) -> None:
    """The other could hit the topic of a collection created since."""
    deleted: list[str] = []

    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        await create(controller, "x")
        delete_topic = log.delete_topic

        async def slow(
            request: log_pb2.DeleteTopicRequest, timeout_s: float | None = None
        ) -> log_pb2.DeleteTopicResponse:
            deleted.append(request.topic)
            await asyncio.sleep(0.02)
            return await delete_topic(request, timeout_s)

        log.delete_topic = slow  # the seam, slowed down
        answers = await asyncio.gather(
            drop(controller, "x"), drop(controller, "x"), return_exceptions=True
        )
        assert deleted == ["x"]
        errors = [answer for answer in answers if isinstance(answer, AlderError)]
        assert [error.reason for error in errors] == [Reason.UNKNOWN_COLLECTION]

    use(tmp_path, scenario)


def test_a_slow_creation_never_names_a_topic_dropped_meanwhile(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        create_topic, gate = log.create_topic, asyncio.Event()

        async def slow(
            request: log_pb2.CreateTopicRequest, timeout_s: float | None = None
        ) -> log_pb2.CreateTopicResponse:
            log.create_topic = create_topic
            response = await create_topic(request, timeout_s)
            await gate.wait()
            return response

        async def create_and_drop() -> None:
            await create(controller, "x")
            await drop(controller, "x")

        log.create_topic = slow  # the seam, slowed down once
        calls = [asyncio.create_task(create(controller, "x"))]
        await asyncio.sleep(0.02)
        others = asyncio.create_task(create_and_drop())
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(*calls, others, return_exceptions=True)
        assert ("x" in controller.snapshot.collections) == await topic_exists(log, "x")

    use(tmp_path, scenario)


def test_a_topic_left_by_a_failed_creation_is_taken_with_its_records(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        left = await log.create_topic(log_pb2.CreateTopicRequest(topic="x", partitions=5))
        source = (await create(controller, "x", log_partitions=2)).collection.sources[0]
        assert source.topic_id == left.topic_id
        assert len(source.partitions) == 5

    use(tmp_path, scenario)


def test_files_keep_their_numbers(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        await refused(register(controller, a="1"), Reason.UNKNOWN_COLLECTION)
        await create(controller, "x", source_urls=["file:///a"])
        assert await register(controller, b="1", a="1") == {"b": 0, "a": 1}
        revision = controller.snapshot.revision
        assert await register(controller, a="1") == {"b": 0, "a": 1}
        assert controller.snapshot.revision == revision, "nothing was new"
        both = await asyncio.gather(register(controller, c="1"), register(controller, d="1"))
        merged = both[0] | both[1]
        assert sorted(merged.values()) == [0, 1, 2, 3]
        await refused(register(controller, a="2", e="1"), Reason.IDENTITY_CHANGED)
        assert await register(controller) == merged
        no_files = catalog_pb2.RegisterPartitionsRequest(collection="x", source="log")
        await refused(controller.register_partitions(no_files), Reason.INVALID_ARGUMENT)
        request = catalog_pb2.RegisterPartitionsRequest(
            collection="x", source="file1", found=[catalog_pb2.SourcePartition(identity="1")]
        )
        await refused(controller.register_partitions(request), Reason.INVALID_ARGUMENT)

    use(tmp_path, scenario)


def test_the_catalog_has_limits(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        await refused(beat(controller, "leaf2"), Reason.LIMIT)
        await refused(beat(controller, "leaf1", "h" * 5_000), Reason.LIMIT)
        await create(controller, "x", source_urls=["file:///a"])
        await refused(register(controller, **{"f" * 2_000: "1"}), Reason.LIMIT)
        await refused(register(controller, a="1", b="1", c="1"), Reason.LIMIT)
        assert await register(controller, a="1", b="1") == {"a": 0, "b": 1}
        await create(controller, "y")
        await refused(create(controller, "z"), Reason.LIMIT)

    limits = {"nodes_max": 1, "files_max": 2, "collections_max": 2, "snapshot_bytes_max": 2_000}
    use(tmp_path, scenario, **limits)


def test_a_node_lives_as_long_as_its_lease(tmp_path: Path) -> None:
    clock = Clock()

    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        response = await beat(controller, "leaf1", "h:1")
        assert response.lease_ms == 100_000
        assert response.revision == controller.snapshot.revision
        await beat(controller, "leaf2")
        revision = controller.snapshot.revision
        clock.now_s += 60
        await beat(controller, "leaf2")
        assert controller.snapshot.revision == revision, "a renewal alone is no news"
        clock.now_s += 40
        await controller.expire_leases()
        assert live(controller.snapshot) == {"leaf2"}
        assert controller.snapshot.revision == revision + 1
        assert controller.snapshot.nodes["leaf1"].address == "h:1"
        await beat(controller, "leaf1", "h:2")
        assert live(controller.snapshot) == {"leaf1", "leaf2"}
        assert controller.snapshot.nodes["leaf1"].address == "h:2"
        await beat(controller, "leaf2", leaving=True)
        assert live(controller.snapshot) == {"leaf1"}
        await refused(beat(controller, ""), Reason.INVALID_ARGUMENT)
        nobody = catalog_pb2.HeartbeatRequest(node=catalog_pb2.Node(node_id="x"))
        await refused(controller.heartbeat(nobody), Reason.INVALID_ARGUMENT)

    use(tmp_path, scenario, clock, lease_s=100.0)


def test_leases_expire_by_themselves(tmp_path: Path) -> None:
    async def run() -> None:
        log = EmbeddedLog(tmp_path / "log", lambda: 1)
        await log.start()
        settings = ControllerSettings(lease_s=0.2)
        clock = asyncio.get_running_loop().time
        controller = Controller(tmp_path / "catalog.db", log, clock, settings)
        await controller.start()
        await beat(controller, "leaf1")
        request = catalog_pb2.WatchRequest(revision=controller.snapshot.revision)
        async for message in controller.watch(request, timeout_s=10):
            assert [node.live for node in message.nodes] == [False]
            break
        await controller.close()
        await log.close()

    asyncio.run(run())


def test_a_pause_of_the_controller_is_not_held_against_the_nodes(tmp_path: Path) -> None:
    clock = Clock()

    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        clock.now_s += 1_000
        await asyncio.sleep(0.3)
        assert live(controller.snapshot) == {"leaf1"}

    use(tmp_path, scenario, clock, lease_s=1.0)


def test_a_restart_keeps_the_catalog_and_goes_on(tmp_path: Path) -> None:
    seen: list[Snapshot] = []

    async def first(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "near")
        await beat(controller, "far", "h:1")
        await create(controller, "x", source_urls=["file:///a"])
        await create(controller, "y")
        await drop(controller, "y")
        await register(controller, a="1")
        seen.append(controller.snapshot)

    async def second(controller: Controller, log: EmbeddedLog) -> None:
        assert controller.snapshot.revision > seen[0].revision
        assert controller.snapshot.collections == seen[0].collections
        assert live(controller.snapshot) == {"far"}, "one in this process is not running yet"
        assert controller.snapshot.nodes.keys() == {"near", "far"}
        assert await register(controller, b="1") == {"a": 0, "b": 1}
        assert (await create(controller, "z")).collection.collection_id == 3

    use(tmp_path, first)
    use(tmp_path, second)


def test_watchers_see_the_newest_and_every_last_change(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        async def follow(pause_s: float) -> list[catalog_pb2.CatalogSnapshot]:
            messages = []
            async for message in controller.watch(catalog_pb2.WatchRequest()):
                messages.append(message)
                await asyncio.sleep(pause_s)
                if len(message.collections) == 5:
                    break
            return messages

        watchers = [asyncio.create_task(follow(n * 0.005)) for n in range(10)]
        await beat(controller, "leaf1")
        for number in range(5):
            await create(controller, f"c{number}")
        for messages in await asyncio.wait_for(asyncio.gather(*watchers), 10):
            revisions = [message.revision for message in messages]
            assert revisions == sorted(set(revisions))
            assert messages[-1].revision == controller.snapshot.revision
            assert Snapshot.from_proto(messages[-1]) == controller.snapshot

    use(tmp_path, scenario)


def test_a_watch_waits_for_what_is_newer(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        request = catalog_pb2.WatchRequest(revision=controller.snapshot.revision)
        waiting = asyncio.ensure_future(anext(controller.watch(request)))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await beat(controller, "leaf1")
        assert [node.node_id for node in (await waiting).nodes] == ["leaf1"]
        request.revision = controller.snapshot.revision
        await refused(anext(controller.watch(request, timeout_s=0.02)), Reason.DEADLINE)
        ending = asyncio.ensure_future(anext(controller.watch(request), None))
        await asyncio.sleep(0.02)
        await controller.close()
        assert await ending is None
        await refused(beat(controller, "leaf1"), Reason.UNAVAILABLE)

    use(tmp_path, scenario)


def test_two_controllers_on_one_file_lose_no_change(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        other = Controller(tmp_path / "catalog.db", log, Clock())
        await other.start()
        await asyncio.gather(
            *(beat(controller, f"a{n}") for n in range(5)),
            *(beat(other, f"b{n}") for n in range(5)),
        )
        await create(controller, "x")
        assert "x" not in other.snapshot.collections
        await refused(create(other, "x"), Reason.ALREADY_EXISTS)
        await create(other, "y")
        assert other.snapshot.collections.keys() == {"x", "y"}
        assert len(other.snapshot.nodes) == 10
        await other.close()

    use(tmp_path, scenario)


def test_a_cancelled_change_is_whole_or_not_there(tmp_path: Path) -> None:
    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf1")
        for number in range(20):
            creating = asyncio.create_task(create(controller, f"c{number}"))
            for _ in range(number):
                await asyncio.sleep(0)
            creating.cancel()
            await asyncio.gather(creating, return_exceptions=True)
        await create(controller, "last")
        for number, name in enumerate(list(controller.snapshot.collections)):
            dropping = asyncio.create_task(drop(controller, name))
            await asyncio.sleep(0.001 * (number % 3))
            dropping.cancel()
            await asyncio.gather(dropping, return_exceptions=True)

    async def check(controller: Controller, log: EmbeddedLog) -> None:
        for name in (f"c{number}" for number in range(20)):
            assert (name in controller.snapshot.collections) == await topic_exists(log, name)

    use(tmp_path, scenario)
    use(tmp_path, check)


def test_a_rebuild_is_beside_what_serves_until_one_change_swaps_it(tmp_path: Path) -> None:
    sql = "SELECT _doc FROM _input"

    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf-0")
        old = (await create(controller, "x", key_path="k", shards=3)).collection
        built = await rebuild(controller, catalog_pb2.REBUILD_STEP_BEGIN, transform_sql=sql)
        assert (built.name, built.topic, built.key_path) == ("x#next", "x", "k")
        assert built.collection_id != old.collection_id
        assert built.sources == old.sources
        assert len(built.shards) == 3
        assert controller.snapshot.collections["x"].collection_id == old.collection_id
        assert await rebuild(controller, catalog_pb2.REBUILD_STEP_BEGIN, transform_sql=sql) == built
        for wrong in (
            rebuild(controller, catalog_pb2.REBUILD_STEP_BEGIN),
            rebuild(controller, catalog_pb2.REBUILD_STEP_FINISH, collection_id=99),
            drop(controller, "x#next"),
        ):
            with pytest.raises(AlderError):
                await wrong
        number = built.collection_id
        revision = controller.snapshot.revision
        serves = await rebuild(controller, catalog_pb2.REBUILD_STEP_FINISH, collection_id=number)
        assert (serves.name, serves.topic, serves.collection_id) == ("x", "", number)
        assert serves.epoch == built.epoch + 1
        assert serves.settings.transform_sql == sql
        assert controller.snapshot.revision == revision + 1
        assert list(controller.snapshot.collections) == ["x"]
        again = await rebuild(controller, catalog_pb2.REBUILD_STEP_FINISH, collection_id=number)
        assert again == serves
        kept = await rebuild(controller, catalog_pb2.REBUILD_STEP_BEGIN)
        assert kept.settings.transform_sql == sql
        await rebuild(controller, catalog_pb2.REBUILD_STEP_ABORT)
        assert await rebuild(controller, catalog_pb2.REBUILD_STEP_ABORT) == serves
        plain = await rebuild(controller, catalog_pb2.REBUILD_STEP_BEGIN, transform_sql="")
        assert plain.settings.transform_sql == ""
        await drop(controller, "x")
        assert not controller.snapshot.collections

    use(tmp_path, scenario)


def test_a_rebuild_says_first_what_the_log_does_not_have_any_more() -> None:
    bounds = log_pb2.PartitionOffsets(partition=1, begin_offset=7, end_offset=9)
    with pytest.raises(AlderError, match="offset 7 in partition 1") as failure:
        check_reaches_back("x", log_pb2.OffsetsResponse(partitions=[bounds]))
    assert failure.value.reason is Reason.OUT_OF_RANGE


def test_a_rebuild_says_first_what_topics_and_files_do_not_have_any_more(tmp_path: Path) -> None:
    class Sources:
        told = "partition 0 of the topic t begins at offset 9 by now"

        async def missing(self, collection: Collection, timeout_s: float | None) -> str:
            assert [source.name for source in collection.sources] == ["log", "kafka1"]
            return self.told

    async def scenario(controller: Controller, log: EmbeddedLog) -> None:
        await beat(controller, "leaf-0")
        await create(controller, "x", source_urls=["kafka://a:1/t"])
        sources = Sources()
        controller.ask_about_sources(sources)
        with pytest.raises(AlderError, match="without loss: partition 0 of the topic") as failure:
            await rebuild(controller, catalog_pb2.REBUILD_STEP_BEGIN)
        assert failure.value.reason is Reason.OUT_OF_RANGE
        assert list(controller.snapshot.collections) == ["x"]
        sources.told = ""
        await rebuild(controller, catalog_pb2.REBUILD_STEP_BEGIN)
        assert next_name("x") in controller.snapshot.collections

    use(tmp_path, scenario)
