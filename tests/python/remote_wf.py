"""Small workflows for the scenarios of a remote client."""

import time
from typing import List

from flytekit import LaunchPlan, task, workflow


@task
def double(x: int) -> int:
    return 2 * x


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def sleep(seconds: float) -> float:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.05)
    return seconds


@workflow
def wf(x: int = 3) -> int:
    return add(x=double(x=x))


@workflow
def slow(seconds: float = 120.0) -> float:
    return sleep(seconds=seconds)


plan = LaunchPlan.get_or_create(wf, name="remote_wf.with_defaults", default_inputs={"x": 10})
fixed = LaunchPlan.get_or_create(wf, name="remote_wf.fixed", fixed_inputs={"x": 20})
