"""Reads messages with the JSON that the host wrote of them, and compares it with what protobuf's Python writes.

Each line of the input has a message type, its bytes in hex, and the JSON.
"""

import importlib
import json
import math
import pkgutil
import sys

import flyteidl
from google.protobuf import descriptor_pool, json_format, message_factory

for package in [flyteidl]:
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.endswith("_pb2"):
            importlib.import_module(module.name)

POOL = descriptor_pool.Default()


def add_nulls(descriptor, value):
    """Adds `null` for unset messages that are in no oneof, as Go's protojson does."""
    if not isinstance(value, dict) or descriptor.full_name.startswith("google.protobuf."):
        return
    for field in descriptor.fields:
        if field.message_type is None:
            continue
        repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        if field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"].message_type
            if inner is not None:
                for item in value.get(field.name, {}).values():
                    add_nulls(inner, item)
        elif repeated:
            for item in value.get(field.name, []):
                add_nulls(field.message_type, item)
        elif field.name in value:
            add_nulls(field.message_type, value[field.name])
        elif field.containing_oneof is None:
            value[field.name] = None


def same(a, b, path=""):
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f"{path}: fields {sorted(a.keys() ^ b.keys())} are on one side only"
        return next(filter(None, (same(a[key], b[key], f"{path}/{key}") for key in a)), None)
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return f"{path}: {len(a)} and {len(b)} elements"
        return next(filter(None, (same(x, y, f"{path}/{n}") for n, (x, y) in enumerate(zip(a, b)))), None)
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (a, b))
    if numbers and math.isclose(a, b, rel_tol=1e-7):
        return None
    return None if type(a) is type(b) and a == b else f"{path}: {a!r} and {b!r}"


def main():
    n_compared, n_unknown, failures = 0, set(), []
    for line in sys.stdin:
        item = json.loads(line)
        try:
            descriptor = POOL.FindMessageTypeByName(item["type"])
        except KeyError:
            n_unknown.add(item["type"])
            continue
        message = message_factory.GetMessageClass(descriptor)()
        message.ParseFromString(bytes.fromhex(item["bytes"]))
        theirs = json.loads(
            json_format.MessageToJson(
                message,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
                descriptor_pool=POOL,
            )
        )
        add_nulls(descriptor, theirs)
        difference = same(item["json"], theirs)
        if difference:
            failures.append(f"{item['type']}{difference}")
        n_compared += 1
    for failure in failures[:20]:
        print(failure)
    print(f"{n_compared} compared, unknown here: {sorted(n_unknown)}")
    if n_compared == 0 or failures:
        sys.exit(1)
    print("all are the same")


main()
