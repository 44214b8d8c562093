"""What the real flytectl registers, runs and looks at."""

from datetime import timedelta

from flytekit import CronSchedule, LaunchPlan, task, wait_for_input, workflow


@task(cache=True, cache_version="1", retries=1)
def square(x: int) -> int:
    return x * x


@task
def fail_if(x: int, fail: bool) -> int:
    if fail:
        raise ValueError("it was asked to fail")
    return x


@workflow
def wf(x: int = 3) -> int:
    """Squares twice."""
    return square(x=square(x=x))


@workflow
def bad(x: int = 2, fail: bool = True) -> int:
    return fail_if(x=square(x=x), fail=fail)


@workflow
def gated() -> int:
    return square(x=wait_for_input("number", timeout=timedelta(hours=1), expected_type=int))


@workflow
def outer(x: int = 2) -> int:
    return wf(x=wf(x=x))


nightly = LaunchPlan.get_or_create(
    wf, name="flytectl_wf.nightly", default_inputs={"x": 5}, schedule=CronSchedule(schedule="0 3 * * *"))
fixed = LaunchPlan.get_or_create(wf, name="flytectl_wf.fixed", fixed_inputs={"x": 6}, max_parallelism=4)
