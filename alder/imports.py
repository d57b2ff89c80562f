"""Keeps pandas out of the processes of the product.

pyarrow imports it, where it is installed, to tell whether what it is given is one of its objects.
Here nothing ever is, and each process would pay for the import in memory and in time.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises for pandas what an import of a missing module raises."""
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is of no use here", name=fullname)
        return None


def leave_out_pandas() -> None:
    """From here on pandas counts as not installed; where it was imported, nothing changes."""
    sys.meta_path.insert(0, _NoPandas())
