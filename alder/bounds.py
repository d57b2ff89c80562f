"""The bound of what one call of a function makes, which aggregators write into statements."""

from typing import Final

VALUES_MAX: Final = 1 << 20
"""Characters of a text or elements of a list that one call may make."""

TOO_LARGE: Final = (
    f"one call makes a text or list of more than {VALUES_MAX} characters or elements; make less"
)
"""What the engine says where a call would make more; either tier tells it as a limit."""
