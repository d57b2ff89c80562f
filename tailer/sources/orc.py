"""ORC: a run is a stripe."""

from collections.abc import Iterator
from functools import partial

import pyarrow as pa
from pyarrow import orc

from tailer.sources.model import ReadLimits
from tailer.sources.storage import StoredFile
from tailer.sources.tables import Run


def orc_runs(file: StoredFile, limits: ReadLimits) -> Iterator[Run]:
    """The stripes; how many rows one has, only reading tells."""
    with file.open() as opened:
        stripes = orc.ORCFile(opened)
        for index in range(stripes.nstripes):
            yield Run(None, partial(_read, stripes, index))


def _read(stripes: orc.ORCFile, index: int) -> Iterator[pa.RecordBatch]:
    yield stripes.read_stripe(index)
