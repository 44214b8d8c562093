"""The cache as clients see it: hits, misses, versions, ignored inputs, given hashes, one at a time."""

import os
import time
from datetime import timedelta
from typing import List

from checks import cache_status, check, children, phases
from flytekit import HashMethod, dynamic, task, workflow
from flytekit.core.cache import Cache
from typing_extensions import Annotated


def unique() -> str:
    return f"{os.getpid()} {time.time_ns()}"


@task(cache=Cache(version="1"))
def remembers(salt: str, a: int) -> str:
    return unique()


@task(cache=Cache(version="2"))
def remembers_too(salt: str, a: int) -> str:
    return unique()


@task(cache=Cache(version="1", ignored_inputs=("a",)))
def ignores(salt: str, a: int) -> str:
    return unique()


@task
def hashed(salt: str, a: int) -> Annotated[str, HashMethod(lambda text: text.split("/")[0])]:
    return f"{salt}/{unique()}"


@task(cache=Cache(version="1"))
def takes(value: str) -> str:
    return unique()


@task(cache=Cache(version="1", serialize=True))
def one_at_a_time(at: str, salt: str) -> str:
    with open(at, "a") as out:
        out.write("ran\n")
    time.sleep(2)
    return unique()


@task(cache=Cache(version="1", serialize=True))
def fails_alone(at: str, salt: str) -> str:
    with open(at, "a") as out:
        out.write("ran\n")
    time.sleep(0.5)
    if salt:
        raise ValueError("nothing to remember")
    return salt


@task
def plain(a: int) -> str:
    return unique()


@dynamic(cache=Cache(version="1"))
def dynamic_remembers(salt: str, n: int) -> List[str]:
    return [plain(a=i) for i in range(n)]


@workflow
def all_kinds(salt: str, a: int) -> List[str]:
    return [remembers(salt=salt, a=a), ignores(salt=salt, a=a), takes(value=hashed(salt=salt, a=a))]


@workflow
def new_version(salt: str, a: int) -> str:
    return remembers_too(salt=salt, a=a)


@workflow
def serial(at: str, salt: str) -> str:
    return one_at_a_time(at=at, salt=salt)


@workflow
def serial_failure(at: str, salt: str) -> str:
    return fails_alone(at=at, salt=salt)


@workflow
def cached_dynamic(salt: str, n: int) -> List[str]:
    return dynamic_remembers(salt=salt, n=n)


ENTITIES = [all_kinds, new_version, serial, serial_failure, cached_dynamic]


def case_what_was_computed_is_not_computed_again(w):
    first = w.result(all_kinds, salt=w.v, a=1)
    nodes = first.node_executions
    check([cache_status(nodes[id]) for id in ("n0", "n1", "n3")] == ["POPULATED"] * 3, [cache_status(n) for n in nodes.values()])
    check(cache_status(nodes["n2"]) == "DISABLED")
    runs = [w.run(all_kinds, salt=w.v, a=1), w.run(all_kinds, salt=w.v, a=2), w.run(all_kinds, salt=w.v + "x", a=1)]
    again, other, fresh = (w.end(run) for run in runs)
    one, two, three = first.outputs["o0"]
    check(again.outputs["o0"] == [one, two, three], (first.outputs, again.outputs))
    check([cache_status(again.node_executions[id]) for id in ("n0", "n1", "n3")] == ["HIT"] * 3)
    check(set(phases(again.node_executions).values()) == {"SUCCEEDED"}, phases(again.node_executions))
    key = again.node_executions["n0"].closure.task_node_metadata.catalog_key
    check(key.artifact_tag.name.startswith("flyte_cached-"), key)
    source = key.source_task_execution.node_execution_id
    check(source.execution_id.name == first.id.name and source.node_id == "n0", source)
    check(key.dataset_id.name == "flyte_task-constructs_cache.remembers", key.dataset_id)
    changed = other.outputs["o0"]
    check(changed[0] != one and changed[1] == two and changed[2] == three, "one input counts, one does not, one has a hash")
    check(not set(fresh.outputs["o0"]) & {one, two, three})


def case_overwriting_computes_again(w):
    salt = w.v + "overwrite"
    first = w.result(all_kinds, salt=salt, a=1)
    second = w.end(w.run(all_kinds, overwrite_cache=True, salt=salt, a=1))
    check(not set(first.outputs["o0"]) & set(second.outputs["o0"]), "computed again")
    third = w.result(all_kinds, salt=salt, a=1)
    check(third.outputs["o0"] == second.outputs["o0"], "the new values took the place of the old ones")


def case_a_version_has_a_cache_of_its_own(w):
    salt = w.v + "version"
    first = w.result(all_kinds, salt=salt, a=1)
    second = w.result(new_version, salt=salt, a=1)
    check(second.outputs["o0"] not in first.outputs["o0"])


def case_serialised_tasks_run_one_at_a_time(w):
    at, bad = w.file("serial"), w.file("serial-failure")
    begin = time.monotonic()
    runs = [w.run(serial, at=at, salt=w.v) for _ in range(3)]
    failing = [w.run(serial_failure, at=bad, salt=w.v) for _ in range(2)]
    out = {w.end(run).outputs["o0"] for run in runs}
    check(len(out) == 1 and w.lines(at) == ["ran"], (out, w.lines(at)))
    for run in failing:
        w.end(run, "FAILED")
    check(w.lines(bad) == ["ran", "ran"], "a failure frees the next one at once")
    check(time.monotonic() - begin < timedelta(seconds=120).total_seconds())


def case_a_dynamic_task_is_cached_as_a_whole(w):
    first = w.result(cached_dynamic, salt=w.v, n=2)
    check(len(children(first.node_executions["n0"])) == 2)
    second = w.result(cached_dynamic, salt=w.v, n=2)
    check(second.outputs["o0"] == first.outputs["o0"])
    node = second.node_executions["n0"]
    check(cache_status(node) == "HIT" and not children(node), "a hit expands nothing")
