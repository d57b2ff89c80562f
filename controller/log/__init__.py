"""The embedded log: partitioned, immutable, fsynced records on RocksDB.

What is acknowledged is on disk; what is on disk is never rewritten, and is checked before it is
served.
"""

from controller.log.here import LogHere
from controller.log.service import EmbeddedLog
from controller.log.settings import LogSettings

__all__ = ["EmbeddedLog", "LogHere", "LogSettings"]
