"""Compares what the same tasks wrote in several runs.

    compare.py <directory> <run> <run>...

Prints every difference that is not due to chance (time, random names, the name of the run), and fails if there is one.
"""

import difflib
import os
import re
import sys

from flyteidl.core import dynamic_job_pb2, errors_pb2, literals_pb2

# What differs between any two runs.
CHANCE = [
    (re.compile(r"\b[0-9a-f]{32}\b"), "HEX"),
    (re.compile(r"/flyte-?[a-z0-9_]{8}\b"), "/FLYTE"),
    (re.compile(r"/pinion-[0-9a-f]{8}/[0-9a-f]+"), "/SCRATCH"),
    (re.compile(r"/tmp[a-z0-9_]{8}\b"), "/TEMPORARY"),
    (re.compile(r"/\.tmp[A-Za-z0-9]{6}\b"), "/ROOT"),
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d+"), "TIME"),
    (re.compile(r'"asctime": "[^"]*"'), '"asctime": "T"'),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,]?\d*"), "TIME"),
    (re.compile(r"\d+(\.\d+)?(e-\d+)?s?\b(?=.*(Wall|Process|elapsed))"), "SECONDS"),
    (re.compile(r"0x[0-9a-f]+"), "ADDRESS"),
    (re.compile(r"pid=\d+|\bPID:\d+"), "PID"),
]

# Tasks whose result is chance itself, and files of which only the presence counts.
RANDOM = ("chance", "how")
OPAQUE = (".log",)

MESSAGES = {
    "outputs.pb": literals_pb2.LiteralMap,
    "error.pb": errors_pb2.ErrorDocument,
    "futures.pb": dynamic_job_pb2.DynamicJobSpec,
}


def plain(text, run):
    text = text.replace(f"/{run}/", "/RUN/")
    for pattern, name in CHANCE:
        text = pattern.sub(name, text)
    return text


def content(path, run):
    with open(path, "rb") as file:
        data = file.read()
    message = MESSAGES.get(os.path.basename(path))
    if message is not None:
        document = message.FromString(data)
        if message is errors_pb2.ErrorDocument:
            document.error.ClearField("timestamp")
        return plain(str(document), run)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data
    if path.endswith(".html"):
        # Timelines are made of measured times.
        return re.sub(r"[\d.]+", "N", plain(text, run))
    return plain(text, run)


def tree(root, run):
    found = {}
    for directory, _, files in os.walk(root):
        for name in files:
            path = os.path.join(directory, name)
            found[plain(os.path.relpath(path, root), run)] = content(path, run)
    return found


def main(root, runs):
    differences = 0
    for case in sorted(os.listdir(os.path.join(root, runs[0]))):
        first = tree(os.path.join(root, runs[0], case), runs[0])
        for run in runs[1:]:
            other = tree(os.path.join(root, run, case), run)
            for name in sorted(set(first) | set(other)):
                a, b = first.get(name), other.get(name)
                if a == b or (case in RANDOM and a is not None and b is not None):
                    continue
                differences += 1
                print(f"--- {case}: {name}: {runs[0]} and {run} differ")
                if isinstance(a, str) and isinstance(b, str):
                    print("\n".join(difflib.unified_diff(a.splitlines(), b.splitlines(), runs[0], run, lineterm="", n=1)))
                else:
                    print(f"{'missing' if a is None else 'there'} / {'missing' if b is None else 'there'}")
    sys.exit(1 if differences else 0)


main(sys.argv[1], sys.argv[2:])
