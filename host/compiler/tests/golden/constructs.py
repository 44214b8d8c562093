"""Workflows of every construct of flytekit that the compiler must take; `make.py` writes them down."""

import datetime
import functools
import typing

from flytekit import (
    ContainerTask,
    HashMethod,
    LaunchPlan,
    Resources,
    approve,
    conditional,
    dynamic,
    eager,
    kwtypes,
    map_task,
    reference_launch_plan,
    reference_task,
    sleep,
    task,
    wait_for_input,
    workflow,
)
from flytekit.core.array_node import array_node
from flytekit.core.cache import Cache
from flytekit.core.node_creation import create_node
from flytekit.core.workflow import ImperativeWorkflow
from flytekit.types.error.error import FlyteError
from flytekit.types.file import FlyteFile

HOUR = datetime.timedelta(hours=1)


@task(retries=2, timeout=datetime.timedelta(minutes=5))
def inc(a: int) -> int:
    return a + 1


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def scale(x: float, k: float) -> float:
    return x * k


@task
def flip(b: bool) -> bool:
    return not b


@task
def total(xs: typing.List[typing.Optional[int]]) -> int:
    return sum(x or 0 for x in xs)


@task
def join(xs: typing.List[int]) -> int:
    return sum(xs)


@workflow
def comparisons(a: int, f: float, s: str, b: bool) -> int:
    x = conditional("ints").if_((a > 1) & (a <= 7)).then(inc(a=a)).elif_((a < 0) | (a >= 100)).then(add(a=a, b=1)).else_().then(inc(a=0))
    conditional("floats").if_(f == 1.5).then(inc(a=a)).elif_(f != 2.5).then(inc(a=x)).else_().fail("no float")
    conditional("texts").if_((s == "a") & ((f < 1.0) | (s != "b"))).then(inc(a=a)).else_().fail("no text")
    flipped = flip(b=b)
    return conditional("bools").if_(flipped.is_true()).then(inc(a=x)).elif_(b == False).then(inc(a=2)).else_().fail("no bool")  # noqa: E712


@workflow
def inner_branch(a: int) -> int:
    return conditional("deep").if_(a == 1).then(inc(a=a)).else_().then(inc(a=0))


@workflow
def branch_of_everything(a: int) -> int:
    nested = conditional("nested").if_(a > 10).then(inc(a=a)).else_().then(add(a=a, b=a))
    return (
        conditional("outer")
        .if_(a == 1)
        .then(inner_branch(a=nested))
        .elif_(a == 2)
        .then(LaunchPlan.get_or_create(inner_branch, "constructs.inner")(a=a))
        .elif_(a == 3)
        .then(conditional("third").if_(a == 3).then(inc(a=nested)).else_().fail("not three"))
        .else_()
        .then(fan(n=a))
    )


@dynamic
def fan(n: int) -> int:
    return join(xs=[inc(a=i) for i in range(n)])


@workflow
def sub_in_sub(a: int) -> int:
    return inner_branch(a=inc(a=a))


@task
def clean(a: int, err: typing.Optional[FlyteError] = None):
    pass


@workflow(on_failure=clean)
def with_err(a: int) -> int:
    return sub_in_sub(a=a)


@workflow
def clean_wf(a: int):
    inc(a=a)


@workflow(on_failure=clean_wf)
def cleaned_by_a_workflow(a: int) -> int:
    return with_err(a=a)


plan = LaunchPlan.get_or_create(sub_in_sub, "constructs.plan", default_inputs={"a": 3})
fixed = LaunchPlan.get_or_create(sub_in_sub, "constructs.fixed", fixed_inputs={"a": 4})


@workflow
def add_wf(a: int, b: int) -> int:
    return add(a=a, b=b)


half = LaunchPlan.get_or_create(add_wf, "constructs.half", fixed_inputs={"b": 4})


@workflow
def plans(a: int) -> int:
    x = plan()
    y = plan(a=a)
    z = fixed()
    x >> z
    return join(xs=[x, y, z])


@workflow
def maps(xs: typing.List[int], k: int) -> typing.Tuple[typing.List[int], int, typing.List[typing.Optional[int]]]:
    partial = map_task(functools.partial(add, b=k), concurrency=2, metadata=None)(a=xs)
    some = map_task(inc, min_success_ratio=0.5)(a=partial).with_overrides(requests=Resources(cpu="1"))
    few = map_task(inc, min_successes=1)(a=xs)
    return partial, total(xs=some), few


@workflow
def maps_of_plans(xs: typing.List[int]) -> typing.Tuple[typing.List[int], typing.List[int], typing.List[typing.Optional[int]]]:
    a = map_task(plan)(a=xs)
    b = map_task(half)(a=a)
    c = array_node(plan, min_success_ratio=0.3, concurrency=4)(a=xs)
    return a, b, c


@workflow
def gated(a: int) -> typing.Tuple[int, str, typing.List[int]]:
    text = wait_for_input("text", timeout=HOUR, expected_type=str)
    values = wait_for_input("values", timeout=HOUR, expected_type=typing.List[int])
    pause = sleep(datetime.timedelta(milliseconds=10))
    ok = approve(inc(a=a), "ok", timeout=HOUR)
    again = approve(ok, "again", timeout=HOUR)
    pause >> text
    return conditional("gate").if_(again > 1).then(inc(a=again)).else_().fail("small"), text, values


@reference_task(project="p", domain="d", name="constructs.inc", version="v1")
def inc_ref(a: int) -> int: ...


@reference_launch_plan(project="p", domain="d", name="constructs.plan", version="v1")
def plan_ref(a: int) -> int: ...


@workflow
def references(a: int) -> typing.Tuple[int, typing.List[int], typing.List[int]]:
    x = inc_ref(a=a)
    return plan_ref(a=x), map_task(inc_ref)(a=[1, 2]), map_task(plan_ref)(a=[3])


@eager
async def eagerly(a: int) -> int:
    return inc(a=a) + add(a=a, b=1)


@task(cache=Cache(version="1", serialize=True, ignored_inputs=("b",)))
def cached(a: int, b: int) -> typing.Annotated[int, HashMethod(str)]:
    return a


script = ContainerTask(
    name="script",
    image="example.org/shell",
    inputs=kwtypes(a=int),
    outputs=kwtypes(o=int),
    command=["sh", "-c", "echo {{.inputs.a}} > /out/o"],
    input_data_dir="/in",
    output_data_dir="/out",
)


@task
def nothing():
    pass


@workflow
def odds_and_ends(a: int = 3, f: typing.Optional[FlyteFile] = None) -> int:
    x = cached(a=a, b=1).with_overrides(node_name="named", retries=5, timeout=HOUR, interruptible=True)
    y = script(a=x)
    n = create_node(nothing)
    m = create_node(inc, a=y)
    n >> m
    return m.o0


@task
def tidy(xs: typing.List[int]):
    pass


imperative = ImperativeWorkflow(name="constructs.imperative")
imperative.add_workflow_input("xs", typing.List[int])
_node = imperative.add_entity(map_task(inc), a=imperative.inputs["xs"])
imperative.add_workflow_output("out", [_node.outputs["o0"], imperative.inputs["xs"]], python_type=typing.List[typing.List[int]])
imperative.add_on_failure_handler(tidy)

WORKFLOWS = [
    comparisons, branch_of_everything, with_err, cleaned_by_a_workflow, plans, maps, maps_of_plans, gated, references,
    eagerly.get_as_workflow(), odds_and_ends, imperative,
]


@dynamic
def nests(n: int) -> typing.Tuple[int, typing.List[int]]:
    deep = [fan(n=i) for i in range(n)]
    return with_err(a=deep[0]), map_task(inc)(a=deep)


@dynamic
def calls_plans(n: int) -> int:
    x = inc(a=n)
    chosen = conditional("n").if_(x > 2).then(plan(a=n)).else_().then(fixed())
    return join(xs=[chosen, fixed(), *map_task_of_plans(n)])


def map_task_of_plans(n):
    return [inc(a=plan(a=i)) for i in range(n)]


@dynamic
def waits(n: int) -> int:
    sleep(datetime.timedelta(seconds=n))
    return approve(inc(a=n), "inside", timeout=HOUR)


@dynamic
def constant(n: int) -> int:
    nothing()
    return n


DYNAMICS = [(fan, 3), (nests, 2), (calls_plans, 2), (waits, 1), (constant, 7)]
