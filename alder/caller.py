"""Who made the call that runs: set by the server for each call, read by whoever wants to know."""

from contextvars import ContextVar
from typing import Final

CALLER: Final[ContextVar[str]] = ContextVar("caller", default="this process")
"""The client's end of the connection, such as ``ipv4:127.0.0.1:40312``."""
