"""One workflow of each construct, whose tasks write down when they begin and end."""

import functools
import os
import time
from datetime import timedelta
from typing import List

from flytekit import LaunchPlan, approve, conditional, dynamic, eager, map_task, sleep, task, workflow
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
    """Fails once by itself, which is written down: kills of the host don't count."""
    work(at, name + "-try")
    if not os.path.exists(at + ".stumbled"):
        open(at + ".stumbled", "w").close()
        raise FlyteRecoverableException("once")
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


chain_plan = LaunchPlan.get_or_create(chain, "kill.chain")


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
def maps_of_plans(at: str) -> int:
    return add(xs=map_task(chain_plan)(at=[at, at], name=["mapped-1", "mapped-2"], a=[0, 10]))


@workflow
def gates(at: str) -> int:
    nap = sleep(timedelta(seconds=2))
    x = step(at=at, name="gate-before", a=0)
    y = step(at=at, name="gate-after", a=approve(x, "go-on", timeout=timedelta(hours=1)))
    nap >> y
    return y


@workflow(on_failure=clean)
def fails(at: str) -> int:
    return breaks(at=at, name="failing")


@workflow
def retries(at: str) -> int:
    return stumbles(at=at, name="stumbling")


@workflow
def cached(at: str, salt: str) -> int:
    return once(at=at, name="cached", salt=salt)


@eager
async def eagerly(at: str) -> int:
    return step(at=at, name="eager-2", a=step(at=at, name="eager-1", a=0, part=0), part=0)


#: What comes out, or the beginning of the error.
WANTED = {
    "sub_workflows": 4, "branches": 3, "children": 4, "dynamics": 5, "maps": 10, "maps_of_plans": 14, "gates": 2,
    "fails": "broken in failing", "retries": 1, "cached": 1, "eagerly": 2,
}
