"""What a command is: something that a text says, and that gives rows when it is run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from aggregator.acceleration import Accelerator
from aggregator.execution.model import Answered, Run
from aggregator.execution.queries import Queries
from aggregator.protection.running import Running
from alder.interfaces import CatalogClient, LogClient
from alder.membership import CatalogFollower
from alder.sqltext import Token
from alder.v1 import query_pb2


@dataclass(frozen=True, slots=True)
class Server:
    """What commands work with."""

    queries: Queries
    follower: CatalogFollower
    log: LogClient
    running: Running
    catalog: CatalogClient
    accelerator: Accelerator


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a command, and what was read for them where a query ran."""

    rows: pa.Table
    plan_class: str = ""
    reads: Sequence[query_pb2.CollectionRead] = ()
    references: Sequence[query_pb2.ReferenceRead] = ()

    @classmethod
    def of_query(cls, answered: Answered) -> "Answer":
        """The rows of a query that ran, as they are."""
        plan_class = answered.prepared.plan.plan_class
        return cls(answered.result, plan_class, answered.reads(), answered.references())


class Command(Protocol):
    """A command; times of queries that it runs add up in ``run``."""

    async def run(self, run: Run, server: Server) -> Answer:
        """Does it. Raises AlderError."""
        ...


Parse = Callable[[str, Sequence[Token]], Command | None]
"""Makes a command of a text and its first tokens; None if it is another one.

Raises AlderError(SYNTAX) for one that is not written as it should be.
"""
