"""Statements of dashboards over the events of JSONBench: 200, each a panel with its own values."""

from itertools import product
from typing import Final

from bench.generators.jsonbench import FIRST_EVENT_US, INTERVAL_US, KINDS

STATEMENTS: Final = 200
_EVENTS: Final = tuple(name for name in KINDS if name)[:10]
_OPERATIONS: Final = ("create", "delete")
_WINDOWS: Final = 10
_PANELS: Final = (
    "SELECT hour(make_timestamp(time_us)) AS hour, count(*) AS n FROM {table} "
    "WHERE commit.collection = '{event}' AND commit.operation = '{operation}' "
    "GROUP BY hour ORDER BY hour",
    "SELECT commit.collection AS event, count(*) AS n FROM {table} "
    "WHERE commit.operation = '{operation}' AND time_us >= {begin} AND time_us < {end} "
    "GROUP BY event ORDER BY n DESC, event LIMIT 10",
    "SELECT count(*) AS n, min(time_us) AS first, max(time_us) AS last FROM {table} "
    "WHERE commit.collection = '{event}' AND time_us >= {begin} AND time_us < {end}",
    "SELECT commit.operation AS operation, count(*) AS n FROM {table} "
    "WHERE commit.collection = '{event}' AND time_us < {end} GROUP BY operation ORDER BY n DESC",
)


def statements(table: str, events: int) -> list[str]:
    """Two hundred different statements over a table of so many events."""
    width = events * INTERVAL_US // _WINDOWS
    made = [
        panel.format(
            table=table,
            event=event,
            operation=operation,
            begin=FIRST_EVENT_US + window * width,
            end=FIRST_EVENT_US + (window + 1) * width,
        )
        for window, event, operation, panel in product(
            range(_WINDOWS), _EVENTS, _OPERATIONS, _PANELS
        )
    ]
    return list(dict.fromkeys(made))[:STATEMENTS]
