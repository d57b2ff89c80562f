"""The least that a call can cost: a gRPC server of a process of its own that returns the request.

Server and client are made as ours are (asyncio on uvloop, a blocking channel with the same
options), so that a multiple of its time says what the work itself costs.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import grpc
import uvloop

from alder.rpc import CHANNEL_OPTIONS

METHOD: Final = "/bench.Echo/Call"
REQUEST: Final = bytes(200)
"""As long as a small query."""


class Call(Protocol):
    """A call of the echo server."""

    def __call__(self, request: bytes, /) -> bytes:
        """Returns the request."""
        ...


@contextmanager
def echo() -> Iterator[Call]:
    """A running echo server, as the call of it."""
    command = [sys.executable, "-m", "bench.echo"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            call = channel.unary_unary(METHOD)
            call(REQUEST)
            yield call
    finally:
        process.stdin.close()
        process.wait(30)


async def _serve() -> None:
    """Serves until standard input ends."""
    server = grpc.aio.server()

    async def answer(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        return request

    service, _, method = METHOD.removeprefix("/").partition("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
