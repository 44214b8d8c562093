"""Tasks that fail in every way a task can."""

import os
import time
from datetime import timedelta

from flytekit import WorkflowFailurePolicy, task, workflow
from flytekit.exceptions.user import FlyteRecoverableException


def attempt() -> int:
    return int(os.environ["FLYTE_ATTEMPT_NUMBER"])


@task(retries=3)
def recovers(succeed_at: int) -> int:
    if attempt() < succeed_at:
        raise FlyteRecoverableException(f"attempt {attempt()} is not enough")
    return attempt()


@task(retries=3)
def user_error() -> int:
    if attempt() >= 0:
        raise ValueError("a message for the user")
    return 0


@task(retries=1)
def exits(code: int) -> int:
    print("last words before the exit", flush=True)
    os._exit(code)
    return code


@task(timeout=timedelta(seconds=2))
def too_slow() -> int:
    time.sleep(600)
    return 1


@task
def ok() -> int:
    return 1


@task
def later(x: int) -> int:
    return x + 1


@task
def slow_ok() -> int:
    time.sleep(2)
    return 5


@workflow
def retried(succeed_at: int = 2) -> int:
    return recovers(succeed_at=succeed_at)


@workflow
def raises() -> int:
    return user_error()


@workflow
def crashes(code: int = 3) -> int:
    return exits(code=code)


@workflow
def times_out() -> int:
    return too_slow()


@workflow
def fails_at_once() -> int:
    later(x=slow_ok())
    return later(x=user_error())


@workflow(failure_policy=WorkflowFailurePolicy.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE)
def fails_at_the_end() -> int:
    later(x=slow_ok())
    return later(x=user_error())
