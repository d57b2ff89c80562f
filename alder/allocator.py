"""How the processes of a server allocate memory.

A bulk load allocates and frees buffers of megabytes on a dozen threads. Both glibc and Arrow's own
allocator keep what a thread has freed for that thread, so each keeps the most that it ever needed
at once: together a third of what a server took. With few arenas that all threads and Arrow's
buffers share, what one has freed serves the next; and what nobody needs any more goes back when
it is asked for, which is rarely, because the same load will most often need it again.
"""

import ctypes
from typing import Final

import pyarrow as pa

ARENAS: Final = 2
_LIBC: Final = ctypes.CDLL(None)
_M_ARENA_MAX: Final = -8
"""Of glibc's ``malloc.h``."""


def share_memory() -> None:
    """All threads that begin from here on allocate from few arenas, where the platform has any."""
    pa.set_memory_pool(pa.system_memory_pool())
    if hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(_M_ARENA_MAX, ARENAS)


def give_back_memory() -> None:
    """Gives free memory back to the system, where the platform can; takes some milliseconds."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
