"""The users' side: DB-API 2.0 over gRPC, with Arrow."""


def connect(target: str) -> None:
    """Opens a connection to ``host:port``."""
    raise NotImplementedError(target)
