"""Everything in the wire contract says what it is: services, methods, messages, fields, enums."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

PROTOS = Path(__file__).resolve().parents[2] / "protos"
MESSAGE, ENUM, SERVICE = 4, 5, 6
FIELD = METHOD = VALUE = 2


def _described(scratch: Path) -> FileDescriptorSet:
    target = scratch / "all.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}"]
    command += ["--include_source_info", f"--descriptor_set_out={target}"]
    command += map(str, sorted(PROTOS.rglob("*.proto")))
    subprocess.run(command, check=True)
    return FileDescriptorSet.FromString(target.read_bytes())


def _elements(file: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    for number, message in enumerate(file.message_type):
        yield from _with_parts(message, (MESSAGE, number), FIELD, message.field)
    for number, enum in enumerate(file.enum_type):
        yield from _with_parts(enum, (ENUM, number), VALUE, enum.value)
    for number, service in enumerate(file.service):
        yield from _with_parts(service, (SERVICE, number), METHOD, service.method)


def _with_parts(
    whole: DescriptorProto | EnumDescriptorProto | ServiceDescriptorProto,
    path: tuple[int, ...],
    kind: int,
    parts: object,
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield whole.name, path
    for number, part in enumerate(list(parts)):
        yield f"{whole.name}.{part.name}", (*path, kind, number)


def test_every_element_has_a_comment(tmp_path: Path) -> None:
    bare = []
    for file in _described(tmp_path).file:
        comments = {
            tuple(place.path): place.leading_comments for place in file.source_code_info.location
        }
        bare += [name for name, path in _elements(file) if not comments.get(path, "").strip()]
    assert bare == []
