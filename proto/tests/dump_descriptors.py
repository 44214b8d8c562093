"""Writes the descriptors of the installed flyteidl wheel, with imports, as a FileDescriptorSet to stdout."""

import importlib
import pathlib
import sys

import flyteidl
from google.protobuf import descriptor_pb2


def add(files, descriptor):
    """Adds a file after the files it imports."""
    if descriptor.name in files:
        return
    for dependency in descriptor.dependencies:
        add(files, dependency)
    copy = descriptor_pb2.FileDescriptorProto()
    descriptor.CopyToProto(copy)
    files[descriptor.name] = copy


def main():
    root = pathlib.Path(next(iter(flyteidl.__path__)))
    files = {}
    for path in sorted(root.rglob("*_pb2.py")):
        module = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        add(files, importlib.import_module(module).DESCRIPTOR)
    if not files:
        sys.exit(f"no descriptors below {root}")
    out = descriptor_pb2.FileDescriptorSet(file=files.values())
    sys.stdout.buffer.write(out.SerializeToString())


main()
