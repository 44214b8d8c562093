"""Failure nodes, and failures by the system's fault."""

import os
import signal
import time
from datetime import timedelta
from typing import Optional

from checks import check, children, phases
from flytekit import LaunchPlan, WorkflowFailurePolicy, task, workflow
from flytekit.exceptions.system import FlyteNonRecoverableSystemException
from flytekit.types.error.error import FlyteError


@task
def inc(a: int) -> int:
    return a + 1


@task
def breaks(a: int) -> int:
    if a >= 0:
        raise ValueError(f"broken at {a}")
    return a


@task
def note(at: str, a: int, err: Optional[FlyteError] = None):
    with open(at, "a") as out:
        out.write(f"{a} {err.failed_node_id if err else None} {err.message if err else None}\n")


@task
def note_without_error(at: str, a: int):
    with open(at, "a") as out:
        out.write(f"{a}\n")


@task
def bad_note(at: str, a: int):
    raise RuntimeError("the clean-up is broken, too")


@task
def slow_note(at: str, a: int):
    with open(at, "a") as out:
        out.write("begun\n")
    time.sleep(300)


@workflow(on_failure=note)
def noted(at: str, a: int) -> int:
    return inc(a=breaks(a=inc(a=a)))


@workflow(on_failure=note_without_error, failure_policy=WorkflowFailurePolicy.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE)
def noted_later(at: str, a: int) -> int:
    x = breaks(a=a)
    inc(a=inc(a=a))
    return x


@workflow(on_failure=bad_note)
def noted_badly(at: str, a: int) -> int:
    return breaks(a=a)


@workflow(on_failure=slow_note)
def noted_slowly(at: str, a: int) -> int:
    return breaks(a=a)


@workflow
def note_wf(at: str, a: int):
    note_without_error(at=at, a=inc(a=a))


@workflow(on_failure=note_wf)
def noted_by_a_workflow(at: str, a: int) -> int:
    return breaks(a=a)


@workflow(on_failure=note)
def outer(at: str, a: int) -> int:
    return inc(a=noted(at=at, a=a))


@workflow(on_failure=note)
def untouched(at: str, a: int) -> int:
    return inc(a=a)


noted_plan = LaunchPlan.get_or_create(noted, "failure.noted")


@workflow
def child_notes(at: str, a: int) -> int:
    return noted_plan(at=at, a=a)


@task(retries=1)
def dies(times: int) -> int:
    if int(os.environ["FLYTE_ATTEMPT_NUMBER"]) < times:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return times


@task
def system_error(at: str) -> int:
    with open(at, "a") as out:
        out.write("tried\n")
    if at:
        raise FlyteNonRecoverableSystemException(RuntimeError("the disk is gone"))
    return 0


@task(timeout=timedelta(seconds=2), retries=1)
def too_slow(at: str) -> int:
    with open(at, "a") as out:
        out.write("tried\n")
    time.sleep(300)
    return 1


@workflow
def dies_wf(times: int) -> int:
    return dies(times=times)


@workflow
def system_wf(at: str) -> int:
    return system_error(at=at)


@workflow
def slow_wf(at: str) -> int:
    return too_slow(at=at)


ENTITIES = [
    noted, noted_later, noted_badly, noted_slowly, noted_by_a_workflow, outer, untouched, noted_plan, child_notes, dies_wf,
    system_wf, slow_wf,
]


def failure_node(execution):
    """The row of the failure node: the one that is no node of the workflow."""
    [node] = [n for n in execution.node_executions.values() if n.metadata.spec_node_id in ("efn", "fn0")]
    return node


def case_the_failure_node_knows_the_error(w):
    at = w.file("noted")
    execution = w.fails(noted, "broken at 3", at=at, a=2)
    left = "\n".join(w.lines(at))
    check(left.startswith("2 n1 ") and "broken at 3" in left, left)
    node = failure_node(execution)
    check(phases({"f": node})["f"] == "SUCCEEDED", phases(execution.node_executions))
    found = phases(execution.node_executions)
    check(found["n1"] == "FAILED" and found["n0"] == "SUCCEEDED" and found.get("n2", "SKIPPED") == "SKIPPED", found)


def case_failure_nodes_in_every_place(w):
    at = {name: w.file(name) for name in ("later", "badly", "workflow", "outer", "untouched", "child")}
    runs = {
        "later": w.run(noted_later, at=at["later"], a=1),
        "badly": w.run(noted_badly, at=at["badly"], a=1),
        "workflow": w.run(noted_by_a_workflow, at=at["workflow"], a=1),
        "outer": w.run(outer, at=at["outer"], a=1),
        "untouched": w.run(untouched, at=at["untouched"], a=1),
        "child": w.run(child_notes, at=at["child"], a=1),
    }
    ended = {name: w.end(run, "SUCCEEDED" if name == "untouched" else "FAILED") for name, run in runs.items()}
    error = {name: execution.closure.error.message for name, execution in ended.items() if name != "untouched"}
    check("broken at 1" in error["later"] and w.lines(at["later"]) == ["1"], error["later"])
    found = phases(ended["later"].node_executions)
    check(found["n1"] == found["n2"] == "SUCCEEDED", found)
    check("the clean-up is broken" in error["badly"], error["badly"])
    check("broken at 1" in error["workflow"] and w.lines(at["workflow"]) == ["2"], error["workflow"])
    check(len(children(failure_node(ended["workflow"]))) == 2, "a failure node may be a sub-workflow")
    check("broken at 2" in error["outer"], error["outer"])
    starts = [line for line in w.lines(at["outer"]) if line.startswith("1 n")]
    check(len(starts) == 2, f"the failure nodes of both workflows: {w.lines(at['outer'])}")
    check(w.lines(at["untouched"]) == [] and len(ended["untouched"].node_executions) == 3)
    check("broken at 2" in error["child"] and len(w.lines(at["child"])) >= 1, error["child"])


def case_a_failure_node_can_be_aborted(w):
    at = w.file("slowly")
    execution = w.run(noted_slowly, at=at, a=1)
    w.until("the failure node at work", lambda: w.lines(at), 120)
    check(w.synced(execution).closure.phase == 5, "the workflow is FAILING while its failure node runs")
    w.client.terminate(execution, "enough")
    w.end(execution, "ABORTED", 30)


def case_the_system_has_a_budget_of_its_own(w):
    tried, slow = w.file("system"), w.file("slow")
    runs = [w.run(dies_wf, times=1), w.run(dies_wf, times=9), w.run(system_wf, at=tried), w.run(slow_wf, at=slow)]
    first = w.end(runs[0])
    check([t.closure.phase for t in first.node_executions["n0"].task_executions] == [5, 3])
    second = w.end(runs[1], "FAILED")
    check(2 <= len(second.node_executions["n0"].task_executions) <= 4, second.closure.error)
    third = w.end(runs[2], "FAILED")
    check("the disk is gone" in third.closure.error.message, third.closure.error)
    fourth = w.end(runs[3], "FAILED")
    # Twice the time-out is the limit for all attempts together, the wait for a place included.
    check(len(w.lines(slow)) <= 2 and 1 <= len(fourth.node_executions["n0"].task_executions) <= 2, w.lines(slow))
