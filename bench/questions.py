"""JSONBench's five questions, per dialect, and what an answer must look like to be compared.

Source: github.com/ClickHouse/JSONBench, `queries_formatted.sql`. Only Q5's order has the person
added, so that there is one right answer.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from bench.peers.base import Rows

NAMES: Final = ("Q1", "Q2", "Q3", "Q4", "Q5")
POSTED: Final = "('app.bsky.feed.post', 'app.bsky.feed.repost', 'app.bsky.feed.like')"


def questions(
    field: Callable[[str], str],
    table: str = "bluesky",
    *,
    distinct: str = "count(DISTINCT {})",
    hour: str = "hour(make_timestamp({}))",
    time: str = "make_timestamp({})",
    span: str = "date_diff('milliseconds', {}, {})",
) -> dict[str, str]:
    """The questions by name, in DuckDB's dialect unless told otherwise.

    ``field`` gives the expression of a dotted path. The templates: the distinct values of an
    expression, the hour and the time of microseconds, the milliseconds between two times.
    """
    event, person, time_us = field("commit.collection"), field("did"), field("time_us")
    created = f"{field('kind')} = 'commit' AND {field('commit.operation')} = 'create'"
    posts = f"{created} AND {event} = 'app.bsky.feed.post'"
    hours = hour.format(time_us)
    first, last = (time.format(f"{function}({time_us})") for function in ("min", "max"))
    return {
        "Q1": f"SELECT {event} AS event, count(*) AS count FROM {table} "
        "GROUP BY event ORDER BY count DESC",
        "Q2": f"SELECT {event} AS event, count(*) AS count, {distinct.format(person)} AS users "
        f"FROM {table} WHERE {created} GROUP BY event ORDER BY count DESC",
        "Q3": f"SELECT {event} AS event, {hours} AS hour_of_day, count(*) AS count FROM {table} "
        f"WHERE {created} AND {event} IN {POSTED} GROUP BY event, hour_of_day "
        "ORDER BY hour_of_day, event",
        "Q4": f"SELECT {person} AS user_id, {first} AS first_post_ts FROM {table} WHERE {posts} "
        "GROUP BY user_id ORDER BY first_post_ts ASC LIMIT 3",
        "Q5": f"SELECT {person} AS user_id, {span.format(first, last)} AS activity_span "
        f"FROM {table} WHERE {posts} GROUP BY user_id "
        "ORDER BY activity_span DESC, user_id LIMIT 3",
    }


DUCKDB: Final = questions(lambda path: path)
"""For a table with a column or struct per path; ours too."""


def plain(rows: Sequence[Sequence[object]]) -> Rows:
    """Rows to compare: times as text in UTC, whole numbers as integers, no text as NULL."""
    return [tuple(map(_plain, row)) for row in rows]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        utc = value.astimezone(UTC) if value.tzinfo else value
        return utc.strftime("%Y-%m-%d %H:%M:%S.%f")
    if value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if type(value).__name__ == "Decimal" else value


def same(left: Rows, right: Rows) -> bool:
    """True if both hold the same rows, in any order."""
    return sorted(map(repr, left)) == sorted(map(repr, right))
