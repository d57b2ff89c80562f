"""`alder controller|leaf|tailer|aggregator`: one node of a cluster, from a TOML file."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import click

from alder.cli.composition import aggregator_node, controller_node, leaf_node, tailer_node
from alder.cli.options import metrics_port_option
from alder.cli.running import run_until_signal
from alder.config import NodeConfig, load_node

Start = Callable[[AsyncExitStack, NodeConfig], Awaitable[str]]


def _command(name: str, summary: str, start: Start) -> click.Command:
    @click.command(name, help=f"{summary}\n\nPrints one line when it is ready; SIGTERM drains it.")
    @click.option(
        "--config",
        required=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="TOML file: node_id, listen, advertise, controller, data, and a table settings.",
    )
    @metrics_port_option
    def command(config: Path, metrics_port: int | None) -> None:
        node = load_node(config)
        if metrics_port is not None:
            node = replace(node, metrics_port=metrics_port)
        run_until_signal(lambda stack: start(stack, node))

    return command


controller = _command("controller", "Run the controller of a cluster.", controller_node)
leaf = _command("leaf", "Run a leaf of a cluster.", leaf_node)
tailer = _command("tailer", "Run a tailer of a cluster.", tailer_node)
aggregator = _command("aggregator", "Run an aggregator of a cluster.", aggregator_node)
