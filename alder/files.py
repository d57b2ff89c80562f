"""What makes a local file the same file, for those that read it and those that rely on it."""

import os


def identity_of(status: os.stat_result) -> str:
    """``size:mtime_ns``."""
    return f"{status.st_size}:{status.st_mtime_ns}"
