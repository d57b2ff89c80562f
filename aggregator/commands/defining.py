"""What the commands share that change the catalog: the text of a SELECT, and the change itself.

A change is seen by whoever asked for it: a command returns once this aggregator has the snapshot
that holds it.
"""

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import Words
from aggregator.execution.model import Run
from alder.errors import AlderError, Reason
from alder.sqltext import statements
from alder.v1 import catalog_pb2


def select_text(sql: str, words: Words) -> str:
    """The one statement that is left of a command, without semicolons behind it."""
    found = statements(sql[words.begin :])
    if len(found) != 1:
        raise AlderError(
            Reason.UNSUPPORTED, f"a definition is one SELECT, not {len(found)} statements"
        )
    return found[0]


async def define(server: Server, run: Run, request: catalog_pb2.DefineRequest) -> Answer:
    """Adds a version; one row tells its name and number. Raises AlderError."""
    response = await server.catalog.define(request, timeout_s=server.queries.left_s(run))
    await _seen(server, run, response.revision)
    columns = [("name", "VARCHAR"), ("version", "INTEGER")]
    return Answer(listing.table(columns, [(request.name, response.version)]))


async def undefine(server: Server, run: Run, request: catalog_pb2.UndefineRequest) -> Answer:
    """Drops a definition; one row tells its name. Raises AlderError."""
    response = await server.catalog.undefine(request, timeout_s=server.queries.left_s(run))
    await _seen(server, run, response.revision)
    return Answer(listing.table([("name", "VARCHAR")], [(request.name,)]))


async def accelerate(server: Server, run: Run, request: catalog_pb2.AccelerateRequest) -> Answer:
    """Turns acceleration on or off; one row tells which. Raises AlderError."""
    response = await server.catalog.accelerate(request, timeout_s=server.queries.left_s(run))
    await _seen(server, run, response.revision)
    columns = [("name", "VARCHAR"), ("accelerated", "BOOLEAN")]
    return Answer(listing.table(columns, [(request.name, request.accelerate)]))


async def _seen(server: Server, run: Run, revision: int) -> None:
    left_s = server.queries.left_s(run)
    if not await server.follower.wait_until(lambda known: known.revision >= revision, left_s):
        raise AlderError(
            Reason.DEADLINE,
            "the change was made, but is not seen by this server yet; ask again in a moment",
        )
