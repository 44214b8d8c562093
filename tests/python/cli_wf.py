"""What a new user writes first."""

from flytekit import task, workflow


@task
def square(x: int) -> int:
    return x * x


@workflow
def wf(x: int) -> int:
    return square(x=square(x=x))
