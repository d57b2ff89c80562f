"""Decoding: records in, one typed column per path and type out.

JSON goes through ``JsonDecoder``; what is typed already (Parquet, CSV read as Arrow) through
``TableDecoder``. Both give ``Decoded``.
"""

from tailer.decode.decoder import JsonDecoder
from tailer.decode.model import Decoded, DecodeLimits, Rejected
from tailer.decode.tables import TableDecoder

__all__ = ["DecodeLimits", "Decoded", "JsonDecoder", "Rejected", "TableDecoder"]
