"""The queries that run here: what SHOW QUERIES lists and CANCEL ends."""

import asyncio
import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

SQL_CHARACTERS_MAX: Final = 4_000
"""What is told of the text of a query."""


class Stage(enum.StrEnum):
    """How far a query is."""

    WAITING = "waiting"
    PLANNING = "planning"
    GATHERING = "gathering"
    FINISHING = "finishing"
    SENDING = "sending"


@dataclass(slots=True)
class Progress:
    """How far a query is, and what leaves have sent for it so far."""

    stage: Stage = Stage.WAITING
    rows_gathered: int = 0
    size_bytes_gathered: int = 0


@dataclass(slots=True)
class RunningQuery:
    """A query that runs. ``started_us`` is microseconds since 1970 UTC."""

    query_id: str
    sql: str
    client: str
    started_us: int
    progress: Progress
    _cancelled: bool = False
    _deadline: asyncio.Timeout | None = field(default=None)

    def runs_until(self, deadline: asyncio.Timeout | None) -> None:
        """What ends the work at its deadline, or None once only rows are sent."""
        self._deadline = deadline
        if self._cancelled:
            self.cancel()

    def cancel(self) -> None:
        """Ends the query as its deadline would, only at once."""
        self._cancelled = True
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time())

    def check(self) -> None:
        """Raises AlderError(CANCELLED) once it is cancelled."""
        if self._cancelled:
            raise AlderError(Reason.CANCELLED, f"query {self.query_id} was cancelled by CANCEL")

    def to_proto(self) -> query_pb2.RunningQuery:
        """The query as SHOW QUERIES tells it."""
        return query_pb2.RunningQuery(
            query_id=self.query_id,
            sql=self.sql,
            client=self.client,
            started_us=self.started_us,
            stage=self.progress.stage.value,
            rows_gathered=self.progress.rows_gathered,
            size_bytes_gathered=self.progress.size_bytes_gathered,
        )


class Running:
    """The queries that run. Belongs to one event loop."""

    def __init__(self, wall_clock_us: Callable[[], int]) -> None:
        self._wall_clock_us = wall_clock_us
        self._queries: dict[str, RunningQuery] = {}

    @contextmanager
    def listed(
        self, query_id: str, sql: str, client: str, progress: Progress
    ) -> Iterator[RunningQuery]:
        """While a query runs."""
        text = sql if len(sql) <= SQL_CHARACTERS_MAX else sql[: SQL_CHARACTERS_MAX - 1] + "…"
        query = RunningQuery(query_id, text, client, self._wall_clock_us(), progress)
        self._queries[query_id] = query
        try:
            yield query
        finally:
            self._queries.pop(query_id, None)

    def all(self) -> list[RunningQuery]:
        """The queries, the oldest first."""
        return list(self._queries.values())

    def cancel(self, query_id: str) -> None:
        """Cancels a query. Raises AlderError(INVALID_ARGUMENT) if none of that id runs here."""
        query = self._queries.get(query_id)
        if query is None:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"no query {query_id!r} runs here (any more); SHOW QUERIES lists those that do",
            )
        query.cancel()
