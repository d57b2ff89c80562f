"""Memory that all threads of a server share, and that goes back."""

import subprocess
import sys

import pytest

SHARED = """
import threading
import numpy as np
import pyarrow as pa
from alder.allocator import share_memory

share_memory()
barrier = threading.Barrier(12)

def work():
    barrier.wait()
    for size in range(1000, 100_000, 1000):
        np.ones(size)
    barrier.wait()

threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
before = pa.system_memory_pool().bytes_allocated()
strings = pa.array(["x" * 100] * 10_000).take(pa.array(range(10_000)))
assert pa.system_memory_pool().bytes_allocated() - before >= 1_000_000
print(pa.default_memory_pool().backend_name)
"""


GIVEN_BACK = """
import numpy as np
from pathlib import Path
from alder.allocator import give_back_memory, share_memory

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

share_memory()
arrays = [np.ones(8_000) for _ in range(3_000)]
last = arrays[-1]
arrays.clear()
before = resident()
give_back_memory()
print("less" if resident() < before - 100_000_000 else f"{before} {resident()}")
"""


@pytest.mark.parametrize(("program", "said"), [(SHARED, "system"), (GIVEN_BACK, "less")])
def test_in_a_process_of_its_own(program: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == said, done.stderr
