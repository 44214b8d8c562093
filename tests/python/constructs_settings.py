"""What comes with an execution: environment, decks, checkpoints, references, large values."""

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Dict, List, Tuple

import requests
from checks import check, phases
from flytekit import Deck, Resources, current_context, map_task, reference_launch_plan, reference_task, task, workflow
from flytekit.exceptions.user import FlyteInvalidInputException, FlyteRecoverableException
from flytekit.types.file import FlyteFile

MIB = 1 << 20


@dataclass
class Wide:
    text: str
    numbers: List[int]


@task(environment={"FROM_TASK": "task"})
def environment() -> Dict[str, str]:
    names = ["FROM_TASK", "FROM_EXECUTION", "FLYTE_INTERNAL_EXECUTION_ID", "FLYTE_INTERNAL_TASK_VERSION"]
    return {name: os.environ.get(name, "") for name in names}


@task(enable_deck=True)
def decked() -> str:
    Deck("mine", "<h1>published before the end</h1>")
    return "done"


@task(retries=2)
def goes_on() -> int:
    checkpoint = current_context().checkpoint
    before = checkpoint.read()
    n = int(before.decode()) if before else 0
    checkpoint.write(f"{n + 1}".encode())
    if n < 2:
        raise FlyteRecoverableException(f"only at {n}")
    return n


@task
def large(mib: int) -> str:
    return "x" * (mib * MIB)


@task
def many(n: int) -> List[str]:
    return ["y" * 1000 for _ in range(n)]


@task
def pair(mib: int) -> List[str]:
    return ["a" * (mib * MIB), "b" * MIB]


@task
def wide(mib: int) -> Wide:
    return Wide(text="z" * (mib * MIB), numbers=[1, 2, 3])


@task
def length(text: str) -> int:
    return len(text)


@task
def count(texts: List[str]) -> int:
    return sum(len(text) for text in texts)


@task
def third(numbers: List[int]) -> int:
    return numbers[2]


@task
def write(text: str) -> FlyteFile:
    path = os.path.join(current_context().working_directory, "note.txt")
    with open(path, "w") as out:
        out.write(text)
    return FlyteFile(path)


@task
def echo(a: int) -> int:
    return a


@workflow
def told() -> Dict[str, str]:
    return environment().with_overrides(requests=Resources(mem="200Mi"), node_name="renamed")


@workflow
def shows() -> Tuple[str, int]:
    return decked(), goes_on()


@workflow
def heavy(mib: int) -> Tuple[int, int, int, str, List[int]]:
    text = large(mib=mib)
    texts = many(n=3000)
    both = wide(mib=mib)
    return length(text=text), count(texts=texts), third(numbers=both.numbers), text, map_task(length)(text=pair(mib=mib))


@workflow
def maps_heavy(texts: List[str]) -> List[int]:
    return map_task(length)(text=texts)


@workflow
def writes(text: str) -> FlyteFile:
    return write(text=text)


@workflow
def echoes(a: int) -> int:
    return echo(a=a)


ENTITIES = [told, shows, heavy, maps_heavy, writes, echoes]


def case_tasks_see_their_environment(w):
    execution = w.end(w.run(told, envs={"FROM_EXECUTION": "execution"}))
    out = execution.outputs["o0"]
    check(out["FROM_TASK"] == "task" and out["FROM_EXECUTION"] == "execution", out)
    check(out["FLYTE_INTERNAL_EXECUTION_ID"] == execution.id.name and out["FLYTE_INTERNAL_TASK_VERSION"] == w.v, out)
    check("renamed" in execution.node_executions, list(execution.node_executions))


def case_decks_and_checkpoints(w):
    execution = w.result(shows)
    check((execution.outputs["o0"], execution.outputs["o1"]) == ("done", 2), execution.outputs)
    check([t.closure.phase for t in execution.node_executions["n1"].task_executions] == [5, 5, 3])
    node = execution.node_executions["n0"]
    link = w.client.client.get_download_artifact_signed_url(
        node_id=node.id.node_id, project=execution.id.project, domain=execution.id.domain, name=execution.id.name
    )
    page = requests.get(link.signed_url[0], timeout=10)
    check(page.status_code == 200 and "published before the end" in page.text, page.status_code)
    [log] = [link.uri for link in node.task_executions[0].closure.logs[:1]] or [None]
    check(log, "the attempt links its log")


def case_large_values_cross(w):
    execution = w.result(heavy, mib=12)
    out = execution.outputs
    check((out["o0"], out["o1"], out["o2"]) == (12 * MIB, 3_000_000, 3), (out["o0"], out["o1"], out["o2"]))
    check(len(out.get("o3", str)) == 12 * MIB and out["o4"] == [12 * MIB, MIB], out["o4"])


def case_large_inputs_are_mapped_over(w):
    execution = w.result(maps_heavy, texts=["a" * MIB, "b" * (2 * MIB)])
    check(execution.outputs["o0"] == [MIB, 2 * MIB], execution.outputs)


def case_files_are_fetched(w):
    execution = w.result(writes, text="hello")
    with open(execution.outputs["o0"].download()) as found:
        check(found.read() == "hello")
    url = f"flyte://v1/{execution.id.project}/{execution.id.domain}/{execution.id.name}/n0/0/o/o0"
    check(w.client.get(url).scalar.blob.uri.endswith("note.txt"), w.client.get(url))


def case_references_stand_for_what_is_registered(w):
    @reference_task(project="flytesnacks", domain="development", name=echo.name, version=w.v)
    def echo_ref(a: int) -> int: ...

    @reference_launch_plan(project="flytesnacks", domain="development", name=echoes.name, version=w.v)
    def echoes_ref(a: int) -> int: ...

    @workflow
    def refers(a: int) -> Tuple[int, int, List[int]]:
        x = echo_ref(a=a)
        return x, echoes_ref(a=x), map_task(echoes_ref)(a=[a, a])

    execution = w.result(refers, a=7)
    check((execution.outputs["o0"], execution.outputs["o1"], execution.outputs["o2"]) == (7, 7, [7, 7]), execution.outputs)
    check(len(execution.node_executions["n1"].workflow_executions) == 1)


def case_names_are_taken_once(w):
    name = "mine-" + re.sub("[^a-z0-9]", "", w.v)
    first = w.end(w.run(echoes, execution_name=name, a=1))
    check(first.id.name == name)
    again = w.end(w.run(echoes, execution_name=name, a=2))
    check(again.outputs["o0"] == 1, "the same name is the same execution")
    try:
        w.run(echoes, execution_name="Not A Name", a=1)
        raise AssertionError("a bad name was taken")
    except FlyteInvalidInputException:
        pass
    check(first.closure.duration > timedelta(0) and phases(first.node_executions))
