"""The embedded log for readers in its own process."""

from alder.reads import Read
from alder.v1 import log_pb2
from controller.log.service import EmbeddedLog


class LogHere:
    """Implements :class:`alder.interfaces.LogReader`: records by reference."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log

    async def read(self, request: log_pb2.ReadRequest, timeout_s: float | None = None) -> Read:
        """See :meth:`EmbeddedLog.read_here`."""
        return await self._log.read_here(request, timeout_s)
