"""Recover, relaunch and terminate."""

import functools
import os
import time
from typing import List, Tuple

from checks import NODE_PHASES, check, children, element_phases, phases
from flytekit import LaunchPlan, conditional, current_context, dynamic, map_task, task, workflow


@task
def step(at: str, name: str, a: int) -> int:
    """Leaves a line for each time it runs."""
    with open(at, "a") as out:
        out.write(f"{name}\n")
    return a + 1


@task
def breaks_unless(at: str, name: str, a: int) -> int:
    """Fails until a file is there that says it may go on."""
    with open(at, "a") as out:
        out.write(f"{name}\n")
    if not os.path.exists(at + ".healed"):
        raise ValueError(f"{name} is broken")
    return a + 1


@task
def element(at: str, a: int) -> int:
    with open(at, "a") as out:
        out.write(f"element {a}\n")
    if a == 2 and not os.path.exists(at + ".healed"):
        while len(open(at).readlines()) < 3:
            time.sleep(0.1)
        time.sleep(2)
        raise ValueError("element 2 is broken, the others are through")
    return a


@task
def counts(at: str, to: int) -> int:
    """Goes on from its checkpoint; breaks in the middle until it may go on."""
    checkpoint = current_context().checkpoint
    before = checkpoint.read()
    begin = int(before.decode()) if before else 0
    for i in range(begin, to):
        checkpoint.write(f"{i + 1}".encode())
        if i == to // 2 and not os.path.exists(at + ".healed"):
            raise ValueError("broken in the middle")
    return begin


@task
def add(xs: List[int]) -> int:
    return sum(xs)


@workflow
def simple(at: str) -> int:
    x = step(at=at, name="first", a=1)
    y = breaks_unless(at=at, name="second", a=x)
    return step(at=at, name="third", a=y)


@workflow
def maps(at: str, xs: List[int]) -> int:
    return add(xs=map_task(functools.partial(element, at=at))(a=xs))


@workflow
def below(at: str) -> int:
    x = step(at=at, name="sub first", a=1)
    return breaks_unless(at=at, name="sub second", a=x)


below_plan = LaunchPlan.get_or_create(below, "recover.below")


@dynamic
def expands(at: str, n: int, after: int) -> int:
    with open(at, "a") as out:
        out.write("expands\n")
    xs = [step(at=at, name=f"dynamic {i}", a=i) for i in range(n)]
    return breaks_unless(at=at, name="dynamic last", a=add(xs=xs))


@workflow
def nested(at: str, at_dynamic: str) -> Tuple[int, int, int]:
    x = below(at=at)
    y = conditional("always").if_(x > 0).then(step(at=at, name="arm", a=x)).else_().fail("never")
    return x, y, expands(at=at_dynamic, n=2, after=y)


@workflow
def child(at: str) -> int:
    return below_plan(at=at)


@workflow
def dynamic_wf(at: str) -> int:
    return expands(at=at, n=2, after=0)


@workflow
def checkpoints(at: str) -> int:
    return counts(at=at, to=10)


@task
def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@workflow
def slow_wf(seconds: float) -> float:
    return slow(seconds=seconds)


ENTITIES = [simple, maps, below_plan, nested, child, dynamic_wf, checkpoints, slow_wf]


def recover(w, execution):
    """A new execution that goes on where an old one failed."""
    return w.client.fetch_execution(name=w.client.client.recover_execution(execution.id).name)


def broken_then_recovered(w, workflow, name, **inputs):
    """Runs until it breaks, heals it, recovers; gives both executions and the lines that the recovery added."""
    at = w.file("recover-" + name)
    broken = w.end(w.run(workflow, at=at, **inputs), "FAILED")
    before = len(w.lines(at)), len(w.lines(at + ".d"))
    for place in (at, at + ".d"):
        open(place + ".healed", "w").close()
    recovered = w.end(recover(w, broken))
    check(recovered.spec.metadata.mode == 5, recovered.spec.metadata.mode)
    check(recovered.spec.metadata.reference_execution.name == broken.id.name)
    return broken, recovered, w.lines(at)[before[0]:] + w.lines(at + ".d")[before[1]:]


def case_what_succeeded_is_reused(w):
    broken, recovered, lines = broken_then_recovered(w, simple, "simple")
    check(lines == ["second", "third"], lines)
    check(recovered.outputs["o0"] == 4, recovered.outputs)
    found = phases(recovered.node_executions)
    check(found == {"start-node": "SUCCEEDED", "n0": "RECOVERED", "n1": "SUCCEEDED", "n2": "SUCCEEDED", "end-node": "SUCCEEDED"}, found)
    check(recovered.node_executions["n0"].closure.output_uri == broken.node_executions["n0"].closure.output_uri)
    again = w.end(recover(w, recovered))
    check("SUCCEEDED" not in {phase for id, phase in phases(again.node_executions).items() if id.startswith("n")}, phases(again.node_executions))
    check(again.outputs["o0"] == 4)


def case_elements_of_maps_are_reused(w):
    _, recovered, lines = broken_then_recovered(w, maps, "maps", xs=[1, 2, 3])
    check(lines == ["element 2"], lines)
    check(recovered.outputs["o0"] == 6, recovered.outputs)
    check(element_phases(recovered.node_executions["n0"]) == ["SUCCEEDED"] * 3)
    rows = {row.id.node_id: NODE_PHASES[row.closure.phase] for row in w.list_nodes(recovered, "n0")}
    check(rows == {"n0-0-n0": "RECOVERED", "n0-0-n1": "SUCCEEDED", "n0-0-n2": "RECOVERED"}, rows)


def case_nodes_inside_nodes_are_reused(w):
    at = w.file("recover-nested")
    open(at + ".healed", "w").close()
    broken = w.end(w.run(nested, at=at, at_dynamic=at + ".d"), "FAILED")
    open(at + ".d.healed", "w").close()
    n_before = len(w.lines(at)), len(w.lines(at + ".d"))
    recovered = w.end(recover(w, broken))
    lines = w.lines(at)[n_before[0]:] + w.lines(at + ".d")[n_before[1]:]
    check(lines == ["dynamic last"], lines)
    check((recovered.outputs["o0"], recovered.outputs["o1"], recovered.outputs["o2"]) == (3, 4, 4), recovered.outputs)
    inside = {node.metadata.spec_node_id: node for node in children(recovered.node_executions["n2"]).values()}
    check(phases(inside)["dn0"] == "RECOVERED", phases(inside))


def case_sub_workflows_go_on_inside(w):
    at = w.file("recover-sub")
    broken = w.end(w.run(nested, at=at, at_dynamic=at + ".d"), "FAILED")
    for place in (at, at + ".d"):
        open(place + ".healed", "w").close()
    n_before = len(w.lines(at))
    recovered = w.end(recover(w, broken))
    check(sorted(w.lines(at)[n_before:]) == ["arm", "sub second"], w.lines(at))
    check(phases(children(recovered.node_executions["n0"]))["n0-0-n0"] == "RECOVERED")


def case_children_are_recovered(w):
    _, recovered, lines = broken_then_recovered(w, child, "child")
    check(lines == ["sub second"], lines)
    [started] = recovered.node_executions["n0"].workflow_executions
    check(phases(started.node_executions)["n0"] == "RECOVERED", phases(started.node_executions))


def case_dynamic_tasks_expand_once(w):
    _, _, lines = broken_then_recovered(w, dynamic_wf, "dynamic")
    check(lines == ["dynamic last"], lines)


def case_checkpoints_are_passed_on(w):
    _, recovered, _ = broken_then_recovered(w, checkpoints, "checkpoint")
    check(recovered.outputs["o0"] >= 5, recovered.outputs)


def case_relaunch_starts_from_scratch(w):
    at = w.file("recover-relaunch")
    broken = w.end(w.run(simple, at=at), "FAILED")
    open(at + ".healed", "w").close()
    again = w.end(w.client.fetch_execution(name=w.client.client.relaunch_execution(broken.id).name))
    check(w.lines(at) == ["first", "second", "first", "second", "third"], w.lines(at))
    check(again.spec.metadata.mode == 3 and again.spec.metadata.reference_execution.name == broken.id.name)


def case_a_terminated_execution_ends(w):
    execution = w.run(slow_wf, seconds=300.0)
    w.until_node(execution, "n0", "RUNNING", 120)
    w.client.terminate(execution, "enough of it")
    ended = w.end(execution, "ABORTED", 30)
    check(phases(ended.node_executions)["n0"] == "ABORTED" and ended.closure.abort_metadata.cause == "enough of it")
    recovered = recover(w, ended)
    w.until_node(recovered, "n0", "RUNNING", 120)
    w.client.terminate(recovered, "again")
    w.end(recovered, "ABORTED", 30)
