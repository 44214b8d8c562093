"""A task whose outputs are cached."""

from flytekit import Cache, task, workflow


@task(cache=Cache(version="1"))
def cached(x: int, salt: str) -> int:
    return x + 1


@workflow
def keep(x: int, salt: str) -> int:
    return cached(x=x, salt=salt)
