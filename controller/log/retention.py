"""Retention: which records a topic need not keep. The only way in which records leave a log."""


def horizon_us(now_us: int, retention_ms: int) -> int | None:
    """The time, in microseconds, before which records may go; None where all are kept."""
    return now_us - retention_ms * 1000 if retention_ms > 0 else None
