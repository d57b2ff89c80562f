"""The one way out of the kernels: whatever they don't do exactly is left to the engine."""


class Unsupported(Exception):
    """The kernels can't give what the engine would; nothing has been answered yet."""
