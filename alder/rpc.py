"""What client and server side share of a service: its methods, as the contract describes them.

The descriptors of the generated code are the only source of names and types, so neither side keeps
a list of methods.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

MESSAGE_BYTES_MAX: Final = 64 << 20
KEEPALIVE_MS: Final = 60_000
CONNECT_MS_MAX: Final = 5_000
"""How long one attempt to connect may take; a refused one is tried again much sooner."""
CHANNEL_OPTIONS: Final[Sequence[tuple[str, int | str]]] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", CONNECT_MS_MAX),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Method:
    """A method: ``name`` in Python's style, ``path`` on the wire, and its message classes."""

    name: str
    path: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool


def methods(service: ServiceDescriptor) -> list[Method]:
    """The methods of a service."""
    return [
        Method(
            name=_WORD.sub("_", method.name).lower(),
            path=f"/{service.full_name}/{method.name}",
            request=message_factory.GetMessageClass(method.input_type),
            response=message_factory.GetMessageClass(method.output_type),
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
        )
        for method in service.methods
    ]
