"""Workflows inside workflows: sub-workflows, launch plans, dynamic tasks, and all of them in each other."""

import os
import time
from typing import List, Tuple

from checks import check, children, element_phases, elements, phases
from flytekit import LaunchPlan, WorkflowFailurePolicy, conditional, dynamic, map_task, reference_launch_plan, task, workflow
from flytekit.core.options import Options
from flytekit.models.common import Annotations, Labels


@task
def inc(a: int) -> int:
    return a + 1


@task
def add(xs: List[int]) -> int:
    return sum(xs)


@task
def breaks(a: int) -> int:
    if a >= 0:
        raise ValueError(f"broken at {a}")
    return a


@task
def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task
def environment(name: str) -> str:
    return os.environ.get(name, "")


@workflow
def twice(a: int) -> Tuple[int, int]:
    x = inc(a=a)
    return x, inc(a=x)


@workflow
def subs(a: int) -> int:
    x, y = twice(a=a)
    z, last = twice(a=y)
    return add(xs=[x, y, z, last])


@workflow(failure_policy=WorkflowFailurePolicy.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE)
def keeps_going(a: int) -> int:
    x = breaks(a=a)
    inc(a=inc(a=a))
    return x


@workflow
def stops_in_a_sub(a: int) -> int:
    inc(a=a)
    return inc(a=keeps_going(a=a))


plan = LaunchPlan.get_or_create(twice, "nested.plan", default_inputs={"a": 3})
fixed = LaunchPlan.get_or_create(twice, "nested.fixed", fixed_inputs={"a": 40})
sub_plan = LaunchPlan.get_or_create(subs, "nested.subs")
bad_plan = LaunchPlan.get_or_create(keeps_going, "nested.bad")


@workflow
def plans(a: int) -> int:
    x, _ = plan()
    y, _ = plan(a=a)
    z, _ = fixed()
    return add(xs=[x, y, z, sub_plan(a=a)])


@workflow
def bad_child(a: int) -> int:
    return inc(a=bad_plan(a=a))


@workflow
def told(name: str) -> str:
    return environment(name=name)


told_plan = LaunchPlan.get_or_create(told, "nested.told")


@workflow
def tells(name: str) -> Tuple[str, str]:
    return environment(name=name), told_plan(name=name)


@workflow
def sleeps(seconds: float) -> float:
    return slow(seconds=seconds)


sleeps_plan = LaunchPlan.get_or_create(sleeps, "nested.sleeps")


@workflow
def sleeps_below(seconds: float) -> float:
    return sleeps_plan(seconds=seconds)


sleeps_below_plan = LaunchPlan.get_or_create(sleeps_below, "nested.sleeps_below")


@workflow
def sleeps_deep(seconds: float) -> float:
    return sleeps_below_plan(seconds=seconds)


@dynamic
def fan(n: int) -> List[int]:
    return [inc(a=i) for i in range(n)]


@dynamic
def dynamics(n: int) -> int:
    first = fan(n=n)
    x, y = twice(a=n)
    z, _ = plan(a=n)
    chosen = conditional("chosen").if_(x > 2).then(inc(a=x)).else_().then(inc(a=0))
    return add(xs=[add(xs=first), x, y, z, chosen, *[inc(a=i) for i in range(n)]])


@dynamic
def nothing_to_do(n: int) -> int:
    return n


@dynamic
def breaks_inside(n: int) -> int:
    inc(a=n)
    return breaks(a=n)


@reference_launch_plan(project="flytesnacks", domain="development", name="nested.nowhere", version="1")
def nowhere(a: int) -> int: ...


@dynamic
def cannot_be_built(n: int) -> int:
    return nowhere(a=n)


@dynamic
def deeper(n: int) -> int:
    return inc(a=n) if n == 0 else deeper(n=n - 1)


@workflow
def dynamic_wf(n: int) -> Tuple[int, int, int]:
    return dynamics(n=n), nothing_to_do(n=n), deeper(n=3)


@workflow
def dynamic_breaks(n: int) -> int:
    return inc(a=breaks_inside(n=n))


@workflow
def dynamic_unbuilt(n: int) -> int:
    return inc(a=cannot_be_built(n=n))


@workflow
def one_of_each(n: int) -> int:
    return dynamics(n=n)


one_plan = LaunchPlan.get_or_create(one_of_each, "nested.one")


@workflow
def maps_plans(ns: List[int]) -> List[int]:
    return map_task(one_plan)(n=ns)


@workflow
def holds_maps(ns: List[int]) -> int:
    return add(xs=maps_plans(ns=ns))


maps_plan = LaunchPlan.get_or_create(holds_maps, "nested.maps")


@workflow
def everything_in_everything(ns: List[int]) -> int:
    return maps_plan(ns=ns)


ENTITIES = [
    subs, stops_in_a_sub, plan, fixed, sub_plan, bad_plan, plans, bad_child, told_plan, tells, sleeps_plan,
    sleeps_below_plan, sleeps_deep, dynamic_wf, dynamic_breaks, dynamic_unbuilt, one_plan, maps_plan, everything_in_everything,
]


def case_sub_workflows_run_inside(w):
    execution = w.result(subs, a=1)
    check(execution.outputs["o0"] == 2 + 3 + 4 + 5, execution.outputs)
    nodes = execution.node_executions
    check(set(nodes) == {"start-node", "end-node", "n0", "n1", "n2"}, set(nodes))
    check(nodes["n0"].metadata.is_parent_node, "a sub-workflow is a parent")
    inside = nodes["n0"].subworkflow_node_executions
    check(set(inside) == {"n0-0-start-node", "n0-0-end-node", "n0-0-n0", "n0-0-n1"}, set(inside))
    check(inside["n0-0-n0"].metadata.spec_node_id == "n0" and inside["n0-0-n0"].metadata.retry_group == "0")
    check(set(phases(inside).values()) == {"SUCCEEDED"}, phases(inside))
    check(inside["n0-0-n0"].inputs["a"] == 1 and inside["n0-0-n1"].outputs["o0"] == 3)
    check(nodes["n1"].outputs["o1"] == 5, nodes["n1"].outputs)


def case_a_sub_workflow_has_a_policy_of_its_own(w):
    execution = w.fails(stops_in_a_sub, "broken at 5", a=5)
    nodes = phases(execution.node_executions)
    check(nodes["n1"] == "FAILED" and nodes.get("n2", "SKIPPED") == "SKIPPED", nodes)
    inside = phases(children(execution.node_executions["n1"]))
    check(inside == {"n1-0-n0": "FAILED", "n1-0-n1": "SUCCEEDED", "n1-0-n2": "SUCCEEDED"}, inside)


def case_launch_plans_start_children(w):
    execution = w.result(plans, a=1)
    check(execution.outputs["o0"] == 4 + 2 + 41 + (2 + 3 + 4 + 5), execution.outputs)
    node = execution.node_executions["n3"]
    [child] = node.workflow_executions
    child_id = node.closure.workflow_node_metadata.execution_id
    check(child.id.name == child_id.name and child.spec.metadata.mode == 4, child.spec.metadata)
    check(child.spec.metadata.nesting == 1, child.spec.metadata.nesting)
    parent = child.spec.metadata.parent_node_execution
    check(parent.node_id == "n3" and parent.execution_id.name == execution.id.name, parent)
    check(child.outputs["o0"] == 14 and node.outputs["o0"] == 14)
    check("n0-0-n0" in child.node_executions["n0"].subworkflow_node_executions)


def case_a_failed_child_fails_its_node(w):
    execution = w.fails(bad_child, "broken at 7", a=7)
    [child] = execution.node_executions["n0"].workflow_executions
    check("broken at 7" in child.closure.error.message)
    check(phases(execution.node_executions)["n0"] == "FAILED")


def case_children_inherit(w):
    options = Options(labels=Labels({"team": "blue"}), annotations=Annotations({"note": "hi"}), max_parallelism=7)
    run = w.run(tells, options=options, envs={"SAID": "hello"}, interruptible=True, overwrite_cache=True, name="SAID")
    execution = w.end(run)
    check((execution.outputs["o0"], execution.outputs["o1"]) == ("hello", "hello"), execution.outputs)
    [child] = execution.node_executions["n1"].workflow_executions
    for spec in (execution.spec, child.spec):
        check(spec.labels.values == {"team": "blue"}, spec.labels)
        check(spec.annotations.values == {"note": "hi"}, spec.annotations)
        check(spec.max_parallelism == 7 and spec.interruptible and spec.overwrite_cache, spec)
        check(spec.envs.envs == {"SAID": "hello"}, spec.envs)


def case_an_abort_reaches_grandchildren(w):
    execution = w.run(sleeps_deep, seconds=300.0)

    def running():
        found = w.synced(execution)
        for _ in range(2):
            node = found.node_executions.get("n0")
            if node is None or not node.workflow_executions:
                return None
            found = node.workflow_executions[0]
        node = found.node_executions.get("n0")
        return found if node is not None and phases({"n0": node})["n0"] == "RUNNING" else None

    grandchild = w.until("the grandchild running", running, 120)
    w.client.terminate(execution, "enough")
    ended = w.end(execution, "ABORTED", 30)
    check(ended.closure.abort_metadata.cause == "enough")
    grandchild = w.end(grandchild, "ABORTED", 30)
    check("cascading abort" in grandchild.closure.abort_metadata.cause, grandchild.closure.abort_metadata.cause)
    check(phases(grandchild.node_executions)["n0"] == "ABORTED", phases(grandchild.node_executions))


def case_dynamic_tasks_expand(w):
    execution = w.result(dynamic_wf, n=2)
    expected = (1 + 2) + 3 + 4 + 3 + 4 + (1 + 2)
    out = execution.outputs
    check((out["o0"], out["o1"], out["o2"]) == (expected, 2, 1), out)
    node = execution.node_executions["n0"]
    check(node.metadata.is_dynamic and node.metadata.is_parent_node, node.metadata)
    inside = children(node)
    check(inside["n0-0-dn0"].metadata.spec_node_id == "dn0", inside["n0-0-dn0"].metadata)
    check(set(phases(inside).values()) == {"SUCCEEDED"}, phases(inside))
    check(len(children(inside["n0-0-dn0"])) == 2, "a dynamic task inside a dynamic task")
    check(len(inside["n0-0-dn2"].workflow_executions) == 1, "a launch plan inside a dynamic task")
    check(not execution.node_executions["n1"].metadata.is_parent_node, "nothing to expand")
    check(len(node.task_executions) >= 1)


def case_a_dynamic_task_fails_with_its_child(w):
    execution = w.fails(dynamic_breaks, "broken at 3", n=3)
    found = phases(children(execution.node_executions["n0"]))
    check(found["n0-0-dn1"] == "FAILED", found)
    check(phases(execution.node_executions)["n0"] == "FAILED")


def case_a_dynamic_task_that_makes_no_sense_fails(w):
    execution = w.fails(dynamic_unbuilt, "DynamicWorkflowBuildFailed", "nested.nowhere", n=3)
    check(execution.closure.error.kind == 1, execution.closure.error)
    check(phases(execution.node_executions)["n0"] == "FAILED")


def case_everything_nests_in_everything(w):
    execution = w.result(everything_in_everything, ns=[1, 2])
    check(execution.outputs["o0"] == (1 + 2 + 3 + 2 + 1 + 1) + 20, execution.outputs)
    [child] = execution.node_executions["n0"].workflow_executions
    array = children(child.node_executions["n0"])["n0-0-n0"]
    check(element_phases(array) == ["SUCCEEDED", "SUCCEEDED"], element_phases(array))
    names = [element.workflow_node_metadata.execution_id.name for element in elements(array)]
    check(len(set(names)) == 2 and all(names), names)
    mapped = w.end(w.client.fetch_execution(name=names[1]))
    check(mapped.outputs["o0"] == 20 and children(mapped.node_executions["n0"]), mapped.outputs)
