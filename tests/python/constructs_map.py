"""Maps over tasks and launch plans: partial inputs, success criteria, parallelism, retries, cache."""

import functools
import os
import time
from typing import List, Optional

from checks import cache_status, check, children, element_phases, elements, phases
from flytekit import LaunchPlan, Resources, map_task, task, workflow
from flytekit.core.array_node import array_node
from flytekit.core.cache import Cache
from flytekit.exceptions.user import FlyteRecoverableException


@task
def add(a: int, b: int, c: str = "") -> str:
    return f"{a + b}{c}"


@task
def odd(a: int) -> int:
    if a % 2 == 0:
        raise ValueError(f"{a} is even")
    return a


@task(retries=2)
def settles(a: int) -> int:
    if int(os.environ["FLYTE_ATTEMPT_NUMBER"]) < a:
        raise FlyteRecoverableException(f"not yet {a}")
    return a


@task
def overlap(at: str, a: int) -> float:
    """How many of its kind it saw at work at once."""
    mine = os.path.join(at, f"{a}.running")
    open(mine, "w").close()
    seen = 0
    for _ in range(5):
        seen = max(seen, len([name for name in os.listdir(at) if name.endswith(".running")]))
        time.sleep(0.05)
    os.rename(mine, mine.removesuffix("running") + "done")
    return float(seen)


@task(cache=Cache(version="1"))
def remembers(a: int, salt: str) -> str:
    return f"{a} {os.getpid()} {time.time_ns()}"


@task
def index() -> int:
    return int(os.environ["FLYTE_K8S_ARRAY_INDEX"])


@task
def largest(xs: List[float]) -> float:
    return max(xs)


@task
def greet(name: str):
    print("hello", name)


@workflow
def partial(xs: List[int], k: int) -> List[str]:
    return map_task(functools.partial(add, b=k, c="!"))(a=xs)


@workflow
def empty(xs: List[int]) -> List[int]:
    return map_task(odd)(a=xs)


@workflow
def silent(names: List[str]):
    map_task(greet)(name=names).with_overrides(requests=Resources(mem="100Mi"))


@workflow
def some(xs: List[int]) -> List[Optional[int]]:
    return map_task(odd, min_success_ratio=0.5)(a=xs)


@workflow
def few(xs: List[int]) -> List[int]:
    return map_task(odd, min_successes=1, min_success_ratio=None)(a=xs)


@workflow
def all_of_them(xs: List[int]) -> List[int]:
    return map_task(odd)(a=xs)


@workflow
def to_the_end(xs: List[int]) -> List[int]:
    return map_task(odd, run_all_sub_nodes=True)(a=xs)


@workflow
def retried(xs: List[int]) -> List[int]:
    return map_task(settles)(a=xs)


@workflow
def limited(at: str, xs: List[int]) -> float:
    return largest(xs=map_task(functools.partial(overlap, at=at), concurrency=2)(a=xs))


@workflow
def cached(xs: List[int], salt: str) -> List[str]:
    return map_task(functools.partial(remembers, salt=salt))(a=xs)


@workflow
def checked(a: int) -> int:
    return odd(a=a)


checked_plan = LaunchPlan.get_or_create(checked, "map.checked")


@workflow
def added(a: int, b: int) -> str:
    return add(a=a, b=b)


half_plan = LaunchPlan.get_or_create(added, "map.half", fixed_inputs={"b": 100})


@workflow
def over_plans(xs: List[int]) -> List[str]:
    return map_task(half_plan)(a=xs)


@workflow
def over_bad_plans(xs: List[int]) -> List[Optional[int]]:
    return array_node(checked_plan, min_success_ratio=0.4, concurrency=2)(a=xs)


@workflow
def in_a_row(xs: List[int]) -> List[str]:
    first = map_task(half_plan)(a=xs)
    greeted = map_task(greet)(name=first)
    last = map_task(functools.partial(add, b=1, c=""))(a=xs)
    greeted >> last
    return last


ENTITIES = [
    partial, empty, silent, some, few, all_of_them, to_the_end, retried, limited, cached, checked_plan, half_plan, over_plans,
    over_bad_plans, in_a_row,
]


def case_bound_inputs_go_to_every_element(w):
    execution = w.result(partial, xs=[1, 2, 3], k=10)
    check(execution.outputs["o0"] == ["11!", "12!", "13!"], execution.outputs)
    node = execution.node_executions["n0"]
    check(node.metadata.is_array and not node.metadata.is_parent_node, node.metadata)
    check(element_phases(node) == ["SUCCEEDED"] * 3, element_phases(node))
    [task] = node.task_executions
    check(task.id.retry_attempt == 0 and task.outputs["o0"] == ["11!", "12!", "13!"], task)
    check([e.index for e in elements(node)] == [0, 1, 2] and len({e.external_id for e in elements(node)}) == 3)
    check(node.inputs["a"] == [1, 2, 3] and node.inputs["b"] == 10, node.inputs)
    check(phases(execution.node_executions) == {id: "SUCCEEDED" for id in ("start-node", "end-node", "n0")})
    rows = {row.id.node_id: row for row in w.list_nodes(execution, "n0")}
    check(set(rows) == {"n0-0-n0", "n0-0-n1", "n0-0-n2"}, set(rows))


def case_an_empty_list_maps_to_an_empty_list(w):
    execution = w.result(empty, xs=[])
    check(execution.outputs["o0"] == [], execution.outputs)
    check(element_phases(execution.node_executions["n0"]) == [])
    w.result(silent, names=["a", "b"])


def case_success_criteria_are_kept(w):
    runs = [w.run(some, xs=[1, 2, 3, 4]), w.run(some, xs=[1, 2, 4]), w.run(few, xs=[2, 3]), w.run(all_of_them, xs=[1, 2, 4])]
    runs.append(w.run(to_the_end, xs=[1, 2, 4, 5]))
    execution = w.end(runs[0])
    check(execution.outputs.get("o0", List[Optional[int]]) == [1, None, 3, None], execution.outputs)
    check(element_phases(execution.node_executions["n0"]) == ["SUCCEEDED", "FAILED", "SUCCEEDED", "FAILED"])
    failed = w.end(runs[1], "FAILED")
    check("is even" in failed.closure.error.message, failed.closure.error)
    w.end(runs[2])
    failed = w.end(runs[3], "FAILED")
    message = failed.closure.error.message
    check("is even" in message, message)
    check(phases(failed.node_executions)["n0"] == "FAILED")
    failed = w.end(runs[4], "FAILED")
    message = failed.closure.error.message
    check("2 is even" in message and "4 is even" in message, message)
    check(element_phases(failed.node_executions["n0"]) == ["SUCCEEDED", "FAILED", "FAILED", "SUCCEEDED"])


def case_elements_have_retries_of_their_own(w):
    runs = [w.run(retried, xs=[0, 1, 2]), w.run(retried, xs=[0, 3])]
    execution = w.end(runs[0])
    check(execution.outputs["o0"] == [0, 1, 2])
    attempts = [e.retry_attempt for e in elements(execution.node_executions["n0"])]
    check(attempts == [0, 1, 2], attempts)
    failed = w.end(runs[1], "FAILED")
    check("not yet 3" in failed.closure.error.message, failed.closure.error)
    check(elements(failed.node_executions["n0"])[1].retry_attempt == 2)


def case_concurrency_is_a_limit(w):
    import tempfile

    with tempfile.TemporaryDirectory() as at:
        execution = w.result(limited, at=at, xs=list(range(6)))
        check(1 <= execution.outputs["o0"] <= 2, execution.outputs)
        check(len(os.listdir(at)) == 6)


def case_elements_are_cached_one_by_one(w):
    first = w.result(cached, xs=[1, 2], salt=w.v)
    second = w.result(cached, xs=[2, 3, 1], salt=w.v)
    one, two = first.outputs["o0"]
    out = second.outputs["o0"]
    check(out[0] == two and out[2] == one and out[1] not in (one, two), (first.outputs, second.outputs))
    status = [e.cache_status for e in elements(second.node_executions["n0"])]
    check(status[0] == status[2] == 2 and status[1] in (1, 3), status)
    check(cache_status(second.node_executions["n0"]) is not None)


def case_launch_plans_are_mapped_over(w):
    runs = [w.run(over_plans, xs=[1, 2]), w.run(over_bad_plans, xs=[1, 2, 3, 4, 5]), w.run(over_bad_plans, xs=[2, 4])]
    execution = w.end(runs[0])
    check(execution.outputs["o0"] == ["101", "102"], execution.outputs)
    node = execution.node_executions["n0"]
    names = [e.workflow_node_metadata.execution_id.name for e in elements(node)]
    check(len(set(names)) == 2 and element_phases(node) == ["SUCCEEDED"] * 2, names)
    child = w.end(w.client.fetch_execution(name=names[1]))
    check(child.inputs["a"] == 2 and child.spec.metadata.nesting == 1, child.inputs)
    execution = w.end(runs[1])
    out = execution.outputs.get("o0", List[Optional[int]])
    check(out == [1, None, 3, None, 5], out)
    failed = w.end(runs[2], "FAILED")
    check("is even" in failed.closure.error.message, failed.closure.error)


def case_maps_follow_maps(w):
    execution = w.result(in_a_row, xs=[5, 6])
    check(execution.outputs["o0"] == ["6", "7"], execution.outputs)
    check(not children(execution.node_executions["n0"]))
