"""Alder: live analytics on event streams. Users need :func:`connect` only."""

from alder.client import connect

__all__ = ["__version__", "connect"]
__version__ = "0.1.0"
