"""Puts the tiers together: all in one process, or one of them as a node of a cluster.

The only place that knows more than one tier. A part is started before what uses it and ended after
it, so that a drain loses nothing. A node of a cluster holds gRPC clients where the standalone
server holds the services themselves; nothing else differs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import ServiceDescriptor

from aggregator.service import Aggregator, AggregatorSettings
from alder.catalog import Node
from alder.cli.metrics import serve_metrics
from alder.config import NodeConfig, settings_from
from alder.errors import AlderError, Reason
from alder.interfaces import CatalogClient, LogClient
from alder.lease import Lease
from alder.membership import CatalogFollower, Directory
from alder.reach import TailersReach
from alder.remote import RemoteCatalog, RemoteLog, open_channel
from alder.serving import Server
from alder.v1 import catalog_pb2, leaf_pb2, log_pb2, proof_pb2, query_pb2, tailer_pb2
from controller.log import EmbeddedLog, LogHere, LogSettings
from controller.service import Controller
from controller.settings import ControllerSettings
from leaf.history import SourceHistory
from leaf.service import Leaf
from leaf.settings import LeafSettings
from tailer.decode import DecodeLimits
from tailer.merged import merged_documents
from tailer.service import Tailer
from tailer.settings import TailerSettings

GRACE_S: Final = 5.0
SNAPSHOT_S_MAX: Final = 30.0
SPILL: Final = "spill"
"""Where an aggregator puts what does not fit into memory; emptied when it starts."""

QUERY: Final = query_pb2.DESCRIPTOR.services_by_name["Query"]
LOG: Final = log_pb2.DESCRIPTOR.services_by_name["Log"]
CATALOG: Final = catalog_pb2.DESCRIPTOR.services_by_name["Catalog"]
LEAF: Final = leaf_pb2.DESCRIPTOR.services_by_name["Leaf"]
PROOF: Final = proof_pb2.DESCRIPTOR.services_by_name["Proof"]
TAILER: Final = tailer_pb2.DESCRIPTOR.services_by_name["Tailer"]


@dataclass(frozen=True, slots=True)
class StandaloneSettings:
    """The file of ``alder serve --config``: one table per tier."""

    leaf: LeafSettings = field(default_factory=LeafSettings)
    tailer: TailerSettings = field(default_factory=TailerSettings)
    aggregator: AggregatorSettings = field(default_factory=AggregatorSettings)
    controller: ControllerSettings = field(default_factory=ControllerSettings)
    log: LogSettings = field(default_factory=LogSettings)


async def standalone(
    stack: AsyncExitStack,
    data: Path,
    listen: str,
    leaves: int,
    settings: StandaloneSettings,
    metrics_port: int,
) -> str:
    """Starts every tier in this process; returns what the ready line says."""
    controller, log = await _control_plane(stack, data, settings.controller, settings.log)
    catalog: CatalogClient = controller
    follower = await _follow(stack, catalog)
    directory = Directory(follower)
    stack.push_async_callback(directory.close)
    reach = TailersReach(follower, directory)
    controller.ask_about_sources(reach)
    for index in range(leaves):
        node = Node(f"leaf-{index}", catalog_pb2.NODE_ROLE_LEAF, "")
        history = SourceHistory(log, reach)
        leaf = Leaf(
            node.node_id,
            data / node.node_id,
            follower,
            settings.leaf,
            history=history,
            documents=merged_documents(settings.tailer.decode),
        )
        directory.add_leaf(node.node_id, leaf, leaf.prover)
        await _start(stack, leaf.start, leaf.close)
        await _follow(stack, catalog, node)
    node = Node("tailer-0", catalog_pb2.NODE_ROLE_TAILER, "")
    lease = Lease()
    near = LogHere(log)
    tailer = Tailer(node.node_id, catalog, follower, directory, near, settings.tailer, lease.holds)
    directory.add_tailer(node.node_id, tailer)
    await _start(stack, tailer.start, tailer.close)
    await _follow(stack, catalog, node, lease)
    await serve_metrics(stack, listen.rpartition(":")[0], metrics_port, [tailer])
    aggregator = Aggregator(
        follower, directory, log, settings.aggregator, catalog=catalog, spill=data / SPILL
    )
    await _start(stack, aggregator.start, aggregator.close)
    services = {QUERY: aggregator, PROOF: aggregator.prover, LOG: log, CATALOG: catalog}
    address = await _serve(stack, listen, services)
    _end_watches_first(stack, controller)
    count = "1 leaf" if leaves == 1 else f"{leaves} leaves"
    return f"alder ready on {address} (data in {data}, {count})"


async def controller_node(stack: AsyncExitStack, config: NodeConfig) -> str:
    """Starts a controller with the embedded log."""
    log_table = config.settings.get("log", {})
    own = {name: value for name, value in config.settings.items() if name != "log"}
    controller, log = await _control_plane(
        stack,
        _data(config),
        settings_from(ControllerSettings, own, "settings"),
        settings_from(LogSettings, _table(log_table), "settings.log"),
    )
    follower = await _follow(stack, controller)
    directory = Directory(follower)
    stack.push_async_callback(directory.close)
    controller.ask_about_sources(TailersReach(follower, directory))
    await _metrics(stack, config)
    address = await _serve(stack, config.listen, {LOG: log, CATALOG: controller})
    _end_watches_first(stack, controller)
    return f"alder controller {config.node_id} ready on {address}"


async def leaf_node(stack: AsyncExitStack, config: NodeConfig) -> str:
    """Starts a leaf."""
    catalog, log = _controller_clients(stack, config)
    decode = config.settings.get("decode", {})
    own = {name: value for name, value in config.settings.items() if name != "decode"}
    settings = settings_from(LeafSettings, own, "settings")
    limits = settings_from(DecodeLimits, _table(decode), "settings.decode")
    follower = await _follow(stack, catalog)
    directory = Directory(follower)
    stack.push_async_callback(directory.close)
    leaf = Leaf(
        config.node_id,
        _data(config),
        follower,
        settings,
        history=SourceHistory(log, TailersReach(follower, directory)),
        documents=merged_documents(limits),
    )
    await _start(stack, leaf.start, leaf.close)
    await _metrics(stack, config)
    address = await _serve(stack, config.listen, {LEAF: leaf, PROOF: leaf.prover})
    await _announce(stack, catalog, config, catalog_pb2.NODE_ROLE_LEAF, address)
    return f"alder leaf {config.node_id} ready on {address}"


async def tailer_node(stack: AsyncExitStack, config: NodeConfig, lease: Lease | None = None) -> str:
    """Starts a tailer; ``lease`` is what it knows of its own (default: by the machine's clock)."""
    catalog, log = _controller_clients(stack, config)
    settings = settings_from(TailerSettings, config.settings, "settings")
    follower = await _follow(stack, catalog)
    directory = Directory(follower)
    stack.push_async_callback(directory.close)
    lease = lease or Lease()
    tailer = Tailer(config.node_id, catalog, follower, directory, log, settings, lease.holds)
    await _start(stack, tailer.start, tailer.close)
    await _metrics(stack, config, tailer)
    address = await _serve(stack, config.listen, {TAILER: tailer})
    await _announce(stack, catalog, config, catalog_pb2.NODE_ROLE_TAILER, address, lease)
    return f"alder tailer {config.node_id} ready on {address}"


async def aggregator_node(stack: AsyncExitStack, config: NodeConfig) -> str:
    """Starts an aggregator; users reach the log and the catalog through it."""
    catalog, log = _controller_clients(stack, config)
    settings = settings_from(AggregatorSettings, config.settings, "settings")
    follower = await _follow(stack, catalog)
    directory = Directory(follower)
    stack.push_async_callback(directory.close)
    aggregator = Aggregator(
        follower,
        directory,
        log,
        settings,
        catalog=catalog,
        spill=Path(config.data) / SPILL if config.data else None,
    )
    await _start(stack, aggregator.start, aggregator.close)
    await _metrics(stack, config)
    services = {QUERY: aggregator, PROOF: aggregator.prover, LOG: log, CATALOG: catalog}
    address = await _serve(stack, config.listen, services)
    await _announce(stack, catalog, config, catalog_pb2.NODE_ROLE_AGGREGATOR, address)
    return f"alder aggregator {config.node_id} ready on {address}"


async def _control_plane(
    stack: AsyncExitStack, data: Path, settings: ControllerSettings, log_settings: LogSettings
) -> tuple[Controller, EmbeddedLog]:
    await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
    log = EmbeddedLog(data / "log", lambda: time.time_ns() // 1_000, log_settings)
    await _start(stack, log.start, log.close)
    controller = Controller(data / "catalog.sqlite", log, time.monotonic, settings)
    await _start(stack, controller.start, controller.close)
    return controller, log


def _end_watches_first(stack: AsyncExitStack, controller: Controller) -> None:
    """Watches never end by themselves: a drain begun with the server would sit out its grace."""
    stack.push_async_callback(controller.close)


def _controller_clients(
    stack: AsyncExitStack, config: NodeConfig
) -> tuple[CatalogClient, LogClient]:
    if not config.controller:
        raise AlderError(
            Reason.INVALID_ARGUMENT, "controller must be set to the host:port of the controller"
        )
    channel = open_channel(config.controller)
    stack.push_async_callback(channel.close)
    return RemoteCatalog(channel), RemoteLog(channel)


async def _follow(
    stack: AsyncExitStack,
    catalog: CatalogClient,
    node: Node | None = None,
    lease: Lease | None = None,
) -> CatalogFollower:
    follower = CatalogFollower(catalog, node, lease)
    await _start(stack, follower.start, follower.stop)
    if not await follower.wait_until(lambda snapshot: snapshot.revision > 0, SNAPSHOT_S_MAX):
        raise AlderError(
            Reason.UNAVAILABLE,
            f"the controller did not answer within {SNAPSHOT_S_MAX:.0f} s; start it first",
        )
    return follower


async def _announce(
    stack: AsyncExitStack,
    catalog: CatalogClient,
    config: NodeConfig,
    role: catalog_pb2.NodeRole,
    address: str,
    lease: Lease | None = None,
) -> None:
    host, _, port = address.rpartition(":")
    node = Node(config.node_id, role, f"{config.advertise or host}:{port}")
    await _follow(stack, catalog, node, lease)


async def _serve(
    stack: AsyncExitStack, listen: str, services: Mapping[ServiceDescriptor, object]
) -> str:
    server = Server()
    for service, implementation in services.items():
        server.add(service, implementation)
    port = await server.start(listen)
    stack.push_async_callback(server.stop, GRACE_S)
    await server.ready()
    return f"{listen.rpartition(':')[0]}:{port}"


async def _metrics(stack: AsyncExitStack, config: NodeConfig, *tailers: Tailer) -> None:
    await serve_metrics(stack, config.listen.rpartition(":")[0], config.metrics_port, tailers)


async def _start(
    stack: AsyncExitStack,
    start: Callable[[], Awaitable[None]],
    close: Callable[[], Awaitable[None]],
) -> None:
    await start()
    stack.push_async_callback(close)


def _data(config: NodeConfig) -> Path:
    if not config.data:
        raise AlderError(Reason.INVALID_ARGUMENT, "data must be set to a directory for this node")
    return Path(config.data)


def _table(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise AlderError(Reason.INVALID_ARGUMENT, "settings.log must be a table")
    return value
