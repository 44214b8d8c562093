"""One workflow of each construct, whose tasks write down when they begin and end."""

import functools
import os
import time
from datetime import timedelta
from typing import List, Optional

from flytekit import (
    LaunchPlan, approve, conditional, current_context, dynamic, eager, map_task, sleep, task, wait_for_input, workflow,
)
from flytekit.core.cache import Cache
from flytekit.exceptions.user import FlyteRecoverableException


def trace(at: str, what: str, name: str) -> None:
    with open(at, "a") as out:
        out.write(f"{what} {name} {os.environ.get('FLYTE_ATTEMPT_NUMBER', '?')} {os.getpid()} {time.time():.3f}\n")


def work(at: str, name: str, seconds: float = 0.5) -> None:
    trace(at, "start", name)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
    trace(at, "end", name)


def once_broken(at: str, name: str) -> None:
    """Fails once by itself, which is written down: kills of the host don't count."""
    if not os.path.exists(f"{at}.{name}"):
        open(f"{at}.{name}", "w").close()
        raise FlyteRecoverableException("once")


@task(retries=1)
def step(at: str, name: str, a: int, part: int = 0) -> int:
    work(at, f"{name}.{part}")
    return a + 1


@task(retries=1)
def element(at: str, name: str, a: int) -> int:
    work(at, f"{name}-{a}")
    return a


@task(retries=3)
def stumbles(at: str, name: str) -> int:
    work(at, name + "-try")
    once_broken(at, name)
    return 1


@task(retries=3)
def stumbling_element(at: str, a: int) -> int:
    work(at, f"partly-{a}-try", 0.2)
    if a % 2:
        raise ValueError(f"{a} is odd")
    once_broken(at, f"element-{a}")
    return a


@task(retries=1, cache=Cache(version="1"))
def cached_element(at: str, salt: str, a: int) -> int:
    work(at, f"cached-{a}")
    return a


@task
def count_present(xs: List[Optional[int]]) -> int:
    return sum(x is not None for x in xs)


@task(retries=1)
def inherited(at: str, name: str) -> int:
    work(at, name)
    return int(os.environ.get("SAID") == "hello")


@task(retries=1)
def named(at: str) -> int:
    work(at, os.environ["FLYTE_INTERNAL_EXECUTION_ID"])
    return 1


@task(retries=1)
def heals(at: str) -> int:
    work(at, "heals-try", 0.1)
    if not os.path.exists(at + ".healed"):
        raise ValueError("not healed yet")
    return 1


@task(retries=5)
def counts(at: str, to: int) -> int:
    """Goes on from its checkpoint, so that no number comes twice."""
    checkpoint = current_context().checkpoint
    before = checkpoint.read()
    for i in range(int(before.decode()) if before else 0, to):
        work(at, f"count-{i}", 0.3)
        checkpoint.write(f"{i + 1}".encode())
    return to


@task(retries=1)
def sleeps(at: str, name: str, seconds: float) -> float:
    work(at, name, seconds)
    return seconds


@task(timeout=timedelta(seconds=3))
def too_slow(at: str) -> int:
    work(at, "too-slow", 300)
    return 1


@task
def add(xs: List[int]) -> int:
    return sum(xs)


@task
def breaks(at: str, name: str) -> int:
    work(at, name)
    if name:
        raise ValueError(f"broken in {name}")
    return 0


@task(retries=1, cache=Cache(version="1", serialize=True))
def once(at: str, name: str, salt: str) -> int:
    work(at, name, 1.0)
    return 1


@task(retries=1)
def clean(at: str):
    work(at, "clean-up")


@workflow
def chain(at: str, name: str, a: int) -> int:
    return step(at=at, name=name, a=step(at=at, name=name, a=a), part=1)


@workflow
def sub_workflows(at: str) -> int:
    x = chain(at=at, name="sub-1", a=0)
    return chain(at=at, name="sub-2", a=x)


@workflow
def branches(at: str) -> int:
    x = step(at=at, name="branch-before", a=0)
    y = conditional("arm").if_(x == 1).then(step(at=at, name="branch-arm", a=x)).else_().fail("never")
    return step(at=at, name="branch-after", a=y)


@workflow
def branch_else(at: str) -> int:
    x = step(at=at, name="else-before", a=0)
    y = conditional("else").if_(x > 5).then(step(at=at, name="never", a=x)).else_().then(step(at=at, name="else-arm", a=x))
    return step(at=at, name="else-after", a=y)


@workflow
def branch_fails(at: str) -> int:
    x = step(at=at, name="no-arm-before", a=0)
    return conditional("none").if_(x == 0).then(step(at=at, name="no-arm", a=x)).else_().fail("no arm for this")


@workflow
def sub_of_sub(at: str, a: int) -> int:
    return chain(at=at, name="deep-2", a=chain(at=at, name="deep-1", a=a))


@workflow
def nested_subs(at: str) -> int:
    return step(at=at, name="deep-after", a=sub_of_sub(at=at, a=0))


chain_plan = LaunchPlan.get_or_create(chain, "kill.chain")


@workflow
def told(at: str) -> int:
    return inherited(at=at, name="inherited-below")


told_plan = LaunchPlan.get_or_create(told, "kill.told")


@workflow
def inherits(at: str) -> int:
    return add(xs=[told_plan(at=at), inherited(at=at, name="inherited")])


@workflow
def sleeps_wf(at: str) -> float:
    return sleeps(at=at, name="sleeper", seconds=300.0)


sleeps_plan = LaunchPlan.get_or_create(sleeps_wf, "kill.sleeps")


@workflow
def sleeps_below(at: str) -> float:
    return sleeps_plan(at=at)


sleeps_below_plan = LaunchPlan.get_or_create(sleeps_below, "kill.sleeps_below")


@workflow
def cascades(at: str) -> float:
    return sleeps_below_plan(at=at)


@workflow
def children(at: str) -> int:
    x = chain_plan(at=at, name="child-1", a=0)
    return chain_plan(at=at, name="child-2", a=x)


@dynamic(retries=1)
def inner_fan(at: str) -> int:
    return step(at=at, name="dynamic-inner", a=0)


@dynamic(retries=1)
def fan(at: str) -> int:
    work(at, "dynamic-itself", 0.2)
    return add(xs=[inner_fan(at=at), *[step(at=at, name=f"dynamic-{i}", a=i) for i in range(2)]])


@workflow
def dynamics(at: str) -> int:
    return step(at=at, name="dynamic-after", a=fan(at=at))


@workflow
def maps(at: str) -> int:
    return add(xs=map_task(functools.partial(element, at=at, name="element"), concurrency=2)(a=[0, 1, 2, 3, 4]))


@workflow
def maps_partly(at: str) -> int:
    partly = functools.partial(stumbling_element, at=at)
    return count_present(xs=map_task(partly, min_success_ratio=0.5)(a=[0, 1, 2, 3]))


@workflow
def maps_cached(at: str, salt: str) -> int:
    return add(xs=map_task(functools.partial(cached_element, at=at, salt=salt), concurrency=1)(a=[1, 2, 3, 4]))


@workflow
def maps_of_plans(at: str) -> int:
    return add(xs=map_task(chain_plan)(at=[at, at], name=["mapped-1", "mapped-2"], a=[0, 10]))


@workflow
def gates(at: str) -> int:
    nap = sleep(timedelta(seconds=2))
    x = step(at=at, name="gate-before", a=0)
    y = step(at=at, name="gate-after", a=approve(x, "go-on", timeout=timedelta(hours=1)))
    nap >> y
    return y


@workflow
def signals(at: str) -> int:
    return step(at=at, name="signal-after", a=wait_for_input("a-number", timeout=timedelta(hours=1), expected_type=int))


@workflow(on_failure=clean)
def fails(at: str) -> int:
    return breaks(at=at, name="failing")


@workflow
def retries(at: str) -> int:
    return stumbles(at=at, name="stumbling")


@workflow
def cached(at: str, salt: str) -> int:
    return once(at=at, name="cached", salt=salt)


@workflow
def recovers(at: str) -> int:
    x = step(at=at, name="recovered-first", a=0)
    return step(at=at, name="recovered-last", a=add(xs=[x, heals(at=at)]))


@workflow
def relaunches(at: str) -> int:
    return named(at=at)


@workflow
def checkpoints(at: str) -> int:
    return counts(at=at, to=20)


@workflow
def times_out(at: str) -> int:
    return too_slow(at=at)


@eager
async def eagerly(at: str) -> int:
    return step(at=at, name="eager-2", a=step(at=at, name="eager-1", a=0, part=0), part=0)


#: What comes out, or a part of the error; nothing of what is aborted.
WANTED = {
    "sub_workflows": 4, "nested_subs": 5, "branches": 3, "branch_else": 3, "branch_fails": "no arm for this", "children": 4,
    "inherits": 2, "dynamics": 5, "maps": 10, "maps_partly": 2, "maps_cached": 10, "maps_of_plans": 14, "gates": 2,
    "signals": 43, "fails": "broken in failing", "retries": 1, "cached": 1, "eagerly": 2, "recovers": 3, "relaunches": 1,
    "checkpoints": 20, "times_out": "imeout", "cascades": None,
}
