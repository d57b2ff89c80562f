"""Many clients in a process of their own: each asks as soon as it was answered, or all at a rate.

Arguments: file of statements (one JSON text per line), server, seconds, deadline of a call in
seconds, ``closed`` and the number of clients or ``open`` and queries per second. In an open loop a
query is sent when it is due, whatever became of those before it (no coordinated omission). Prints
one JSON object: milliseconds per call by outcome, and the messages of failures.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
import uvloop

from alder.rpc import CHANNEL_OPTIONS, methods
from alder.v1 import query_pb2

STOP_S_MAX: Final = 60.0
MESSAGES_MAX: Final = 20
_REFUSED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED
_DROPPED: Final = grpc.StatusCode.CANCELLED


@dataclass(slots=True)
class Outcome:
    """What became of the calls: milliseconds of each, by outcome.

    A dropped one got no answer of the server's own, because gRPC had too many that were not heard
    yet. ``seconds`` is how long calls were begun.
    """

    seconds: float
    answered_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    dropped_ms: list[float] = field(default_factory=list)
    failed_ms: list[float] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.answered_ms) / self.seconds


def closed(target: str, statements: Path, seconds: float, clients: int, limit_s: float) -> Outcome:
    """So many clients, each of which asks again as soon as it was answered."""
    return _run(target, statements, seconds, limit_s, "closed", clients)


def paced(target: str, statements: Path, seconds: float, rate: float, limit_s: float) -> Outcome:
    """Queries at an even rate per second; an answer after ``limit_s`` is a failure."""
    return _run(target, statements, seconds, limit_s, "open", rate)


def write(path: Path, statements: Sequence[str]) -> Path:
    """The file of statements."""
    path.write_text("".join(json.dumps(one) + "\n" for one in statements))
    return path


def _run(
    target: str, statements: Path, seconds: float, limit_s: float, kind: str, size: float
) -> Outcome:
    command = [sys.executable, "-m", "bench.clients", str(statements), target]
    command += [str(seconds), str(limit_s), kind, str(size)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds + STOP_S_MAX
    )
    if done.returncode:
        raise RuntimeError(f"the clients failed: {done.stderr[-2000:]}")
    told: Mapping[str, object] = json.loads(done.stdout)
    return Outcome(**told)


class _Caller:
    """Asks, and keeps what became of it."""

    def __init__(self, channel: grpc.aio.Channel, limit_s: float, outcome: Outcome) -> None:
        service = query_pb2.DESCRIPTOR.services_by_name["Query"]
        method = next(one for one in methods(service) if one.name == "execute")
        self._call = channel.unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        self._limit_s = limit_s
        self._outcome = outcome

    async def ask(self, sql: str, due: float) -> None:
        outcome = self._outcome
        try:
            async for _ in self._call(query_pb2.ExecuteRequest(sql=sql), timeout=self._limit_s):
                continue
        except grpc.aio.AioRpcError as error:
            kept = {_REFUSED: outcome.refused_ms, _DROPPED: outcome.dropped_ms}.get(
                error.code(), outcome.failed_ms
            )
            if kept is outcome.failed_ms and len(outcome.messages) < MESSAGES_MAX:
                outcome.messages.append(f"{error.code().name}: {error.details()} ({sql:.200})")
        else:
            kept = outcome.answered_ms
        kept.append((time.perf_counter() - due) * 1e3)


async def _closed(caller: _Caller, statements: Sequence[str], seconds: float, clients: int) -> None:
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        rng = random.Random(number)
        while time.perf_counter() < end:
            await caller.ask(rng.choice(statements), time.perf_counter())

    await asyncio.gather(*(client(number) for number in range(clients)))


async def _open(caller: _Caller, statements: Sequence[str], seconds: float, rate: float) -> None:
    rng = random.Random(1)
    begun = time.perf_counter()
    asked = []
    for number in range(round(seconds * rate)):
        due = begun + number / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        asked.append(asyncio.ensure_future(caller.ask(rng.choice(statements), due)))
    await asyncio.gather(*asked)


async def _main(statements: Sequence[str], arguments: Sequence[str]) -> None:
    target, seconds, limit_s, kind, size = arguments
    outcome = Outcome(float(seconds))
    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        caller = _Caller(channel, float(limit_s), outcome)
        await caller.ask("SELECT 1", time.perf_counter())
        outcome.answered_ms.clear()
        if kind == "closed":
            await _closed(caller, statements, float(seconds), int(float(size)))
        else:
            await _open(caller, statements, float(seconds), float(size))
    print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text().splitlines()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(list(map(json.loads, lines)), sys.argv[2:]))
