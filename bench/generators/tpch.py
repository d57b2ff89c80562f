"""TPC-H's tables as Parquet files, made by `tpchgen-cli`: dates and decimals typed."""

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Final

TABLES: Final = (
    "customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier",
)  # fmt: skip


def generator() -> str | None:
    """The program that makes the tables; None where it isn't installed."""
    return shutil.which("tpchgen-cli", path=sysconfig.get_path("scripts")) or shutil.which(
        "tpchgen-cli"
    )


def write(folder: Path, scale: float) -> dict[str, Path]:
    """The files of all tables at a scale by their names, made unless the folder is there."""
    if not folder.exists():
        program = generator()
        if program is None:
            raise RuntimeError("tpchgen-cli is not installed; install the extra `bench`")
        unfinished = folder.with_suffix(".unfinished")
        command = [program, "parquet", "-s", f"{scale:g}", "-o", str(unfinished), "-q"]
        subprocess.run(command, check=True, timeout=600)
        unfinished.rename(folder)
    return {table: folder / f"{table}.parquet" for table in TABLES}
