"""Eager tasks: the task's process is a client of the API."""

import asyncio
import os
import time
from typing import List

from checks import check
from flytekit import dynamic, eager, task, workflow
from flytekit.models.filters import ValueIn


@task
def inc(a: int) -> int:
    return a + 1


@task
def breaks(a: int) -> int:
    if a >= 0:
        raise ValueError(f"broken at {a}")
    return a


@task
async def slow(seconds: float, at: str) -> float:
    open(at, "w").close()
    time.sleep(seconds)
    return seconds


@workflow
def twice(a: int) -> int:
    return inc(a=inc(a=a))


@dynamic
def fan(n: int) -> List[int]:
    return [inc(a=i) for i in range(n)]


@eager
async def below(a: int) -> int:
    return inc(a=a)


@eager
async def above(a: int) -> int:
    y = twice(a=a)
    return await below(a=y) + sum(fan(n=2))


@eager
async def catches(a: int) -> str:
    try:
        breaks(a=a)
    except Exception as error:
        return f"caught {type(error).__name__}"
    return "nothing"


@eager
async def fails(a: int) -> int:
    return breaks(a=a)


@eager
async def waits(seconds: float, at: str) -> float:
    return await slow(seconds=seconds, at=at)


@eager
async def leaves_behind(seconds: float, at: str) -> float:
    left = asyncio.create_task(slow(seconds=seconds, at=at))
    while not os.path.exists(at):
        await asyncio.sleep(0.2)
    if not left.done():
        # Not an exception: at the end of a process that was not forked, flytekit waits for ever for a deck it can no
        # longer write (`Controller._close`), here as on Flyte.
        print("leaves it behind", flush=True)
        os._exit(3)
    return seconds


leaves_behind_wf = leaves_behind.get_as_workflow()

ENTITIES = [above, catches, fails, waits, leaves_behind_wf]


def started_by(w, execution):
    """Executions that an eager execution started."""
    filters = [ValueIn("execution_tag.key", ["eager-exec"]), ValueIn("execution_tag.value", [execution.id.name])]
    return w.client.client.list_executions_paginated("flytesnacks", "development", limit=100, filters=filters)[0]


def case_eager_tasks_start_executions(w):
    execution = w.result(above, a=1)
    check(execution.outputs["o0"] == 4 + 1 + 2, execution.outputs)
    [node] = [n for id, n in execution.node_executions.items() if id not in ("start-node", "end-node")]
    started = started_by(w, execution)
    check(len(started) == 3, [e.id.name for e in started])
    check(all(e.spec.labels.values["eager-root-exec"] == execution.id.name for e in started))
    deeper = [child for e in started for child in started_by(w, e)]
    check(len(deeper) == 1 and deeper[0].spec.labels.values["eager-root-exec"] == execution.id.name, deeper)
    check(node.closure.deck_uri, "what it started is on its deck")


def case_eager_tasks_see_failures(w):
    runs = [w.run(catches, a=1), w.run(fails, a=2)]
    check(w.end(runs[0]).outputs["o0"] == "caught EagerException", runs[0])
    failed = w.end(runs[1], "FAILED")
    check("constructs_eager.breaks" in failed.closure.error.message, failed.closure.error.message)


def case_the_children_of_an_aborted_eager_task_end(w):
    execution = w.run(waits, seconds=300.0, at=w.file("eager-waits"))
    w.until("the child at work", lambda: os.path.exists(w.file("eager-waits")), 120)
    [child] = started_by(w, execution)
    w.client.terminate(execution, "enough")
    w.end(execution, "ABORTED", 60)
    w.end(w.client.fetch_execution(name=child.id.name), "ABORTED", 60)


def case_the_children_of_a_failed_eager_task_are_cleaned_up(w):
    execution = w.fails(leaves_behind_wf, "leaves", seconds=300.0, at=w.file("eager-leaves"))
    [child] = started_by(w, execution)
    w.end(w.client.fetch_execution(name=child.id.name), "ABORTED", 60)
