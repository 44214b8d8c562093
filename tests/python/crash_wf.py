"""Tasks that leave a trace of every start, to see what runs twice."""

import os
import time
from typing import List

from flytekit import task, workflow

TRACE = os.environ.get("PINION_TRACE", "/tmp/pinion-trace")


def trace(text: str) -> None:
    with open(TRACE, "a") as out:
        out.write(f"{text} {os.environ.get('FLYTE_ATTEMPT_NUMBER', '?')} {os.getpid()} {time.time()}\n")


@task(retries=2)
def step(x: int, trace_file: str, seconds: float) -> int:
    global TRACE
    TRACE = trace_file
    trace(f"start {x}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
    trace(f"end {x}")
    return x + 1


@task
def total(xs: List[int]) -> int:
    return sum(xs)


@workflow
def crashing(trace_file: str, seconds: float = 0.5) -> int:
    a = step(x=0, trace_file=trace_file, seconds=seconds)
    b = step(x=a, trace_file=trace_file, seconds=seconds)
    c = step(x=a, trace_file=trace_file, seconds=seconds)
    d = step(x=b, trace_file=trace_file, seconds=seconds)
    return total(xs=[b, c, d])
