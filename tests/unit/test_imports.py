"""What the processes of the product leave out."""

import subprocess
import sys

PROGRAM = """
import sys
from alder.imports import leave_out_pandas
leave_out_pandas()
import leaf.workers
import numpy
import pyarrow
assert pyarrow.array(numpy.arange(3)).to_pylist() == [0, 1, 2]
assert pyarrow.array(["a"]).to_pylist() == ["a"]
print([name for name in sys.modules if name.startswith("pandas")])
try:
    import pandas
except ImportError as error:
    print(error.name)
"""


def test_pandas_counts_as_not_installed_where_it_is_left_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ["[]", "pandas"], done.stderr
