"""Fills messages with values of which most are plausible and some are not."""

from common import DOMAIN, PROJECT
from google.protobuf.descriptor import FieldDescriptor as Field

TEXTS = [
    "", "a", "../..", "a/b", "%00", "\0", "é漢😀", "'; drop table execution;--", "-1", "99999999999999999999", "\n", " ",
    "x" * 300, "A" * 70_000, "eq(name,a)", "contains(name,", "flyte://v1/a/b/c", "s3://my-s3-bucket/x",
]
# By the names of fields: what they often hold.
USUAL = {
    "project": [PROJECT],
    "domain": [DOMAIN],
    "name": ["good", "good", "copy", "nobody"],
    "version": ["v1", "v2"],
    "node_id": ["n0", "start-node", "none"],
    "key": ["created_at", "name", "nope", "", "phase", "task.name"],
    "token": ["", "0", "3", "-1", "abc", "99999999999", "18446744073709551616"],
    "limit": [1, 10, 0, 10_000, 2**32 - 1],
    "resource_type": [1, 2, 3, 0, 4, 6, 99],
    "depth": [-1, 0, 1, 10],
    "org": [""],
    "unique_parent_id": ["", "n0"],
    "flyte_url": [f"flyte://v1/{PROJECT}/{DOMAIN}/good/{rest}" for rest in ("n0/i", "n0/0/o", "n0/o/x", "n0/d", "x")],
    "filters": [
        "", "eq(phase,FAILED)", "value_in(phase,FAILED;SUCCEEDED)+ne(name,x)", "eq(launch_plan.name,wf)",
        "gt(created_at,2020-01-01T00:00:00Z)", "lt(duration,5)", "eq(duration,1h)", "eq(execution_tag.key,a)",
        "eq(state,0)", "eq(nope,1)", "eq(phase,NOPE)", "foo(a,b)", "eq(name", "eq(name,)", "not_like(name,%x%)",
        "value_not_in(name,a;b)", "eq(created_at,yesterday)", "eq(retry_attempt,x)", "contains(phase,AI)",
    ],
}
NUMBERS = {
    Field.CPPTYPE_INT32: [0, 1, -1, 2**31 - 1, -(2**31), 25],
    Field.CPPTYPE_INT64: [0, 1, -1, 2**63 - 1, -(2**63), 25],
    Field.CPPTYPE_UINT32: [0, 1, 2**32 - 1, 25],
    Field.CPPTYPE_UINT64: [0, 1, 2**64 - 1, 25],
    Field.CPPTYPE_BOOL: [False, True],
    Field.CPPTYPE_FLOAT: [0.0, -1.5],
    Field.CPPTYPE_DOUBLE: [0.0, -1.0, float("inf"), 1e308],
}
# Values in these have rules of their own, and JSON writes them in another way.
LEFT_OUT = {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Any"}


def scalar(source, field):
    if field.name in USUAL and source.random() < 0.93:
        return source.choice(USUAL[field.name])
    if field.type == Field.TYPE_BYTES:
        return source.randbytes(source.choice([0, 1, 16, 40]))
    if field.cpp_type == Field.CPPTYPE_STRING:
        return source.choice(TEXTS)
    if field.cpp_type == Field.CPPTYPE_ENUM:
        return source.choice([value.number for value in field.enum_type.values] * 6 + [99])
    return source.choice(NUMBERS[field.cpp_type])


def put(source, message, field, depth):
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        values, inner = getattr(message, field.name), kind.fields_by_name["value"]
        for _ in range(source.randrange(3)):
            key = scalar(source, kind.fields_by_name["key"])
            if inner.message_type is None:
                values[key] = scalar(source, inner)
            else:
                put_all(source, values[key], depth + 1)
    elif field.is_repeated:
        for _ in range(source.randrange(3)):
            if kind is None:
                getattr(message, field.name).append(scalar(source, field))
            else:
                put_all(source, getattr(message, field.name).add(), depth + 1)
    elif kind is not None:
        getattr(message, field.name).SetInParent()
        put_all(source, getattr(message, field.name), depth + 1)
    else:
        setattr(message, field.name, scalar(source, field))


def put_all(source, message, depth):
    name = message.DESCRIPTOR.full_name
    if name in LEFT_OUT:
        return
    if name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        message.seconds = source.choice([0, 60, 1_700_000_000])
        return
    share = 0.93 if depth < 3 else 0.35 if depth < 6 else 0.0
    for field in message.DESCRIPTOR.fields:
        if source.random() < share:
            try:
                put(source, message, field, depth)
            except (ValueError, TypeError):
                # A text that is no text, a number that does not fit.
                continue


def fill(source, kind):
    """A message of a class."""
    message = kind()
    put_all(source, message, 0)
    return message
