"""What a launch decides: concurrency, parallelism, where files go, fixed inputs, who runs it, what a task may spend."""

import os
import time
from datetime import timedelta
from typing import Dict, List

from checks import check, phases
from flytekit import LaunchPlan, Resources, current_context, task, workflow
from flytekit.core.options import Options
from flytekit.exceptions.user import FlyteInvalidInputException
from flytekit.models.common import RawOutputDataConfig
from flytekit.models.concurrency import ConcurrencyPolicy
from flytekit.models.security import Identity, SecurityContext
from flytekit.types.file import FlyteFile


@task
def overlap(at: str, i: int) -> int:
    """How many of its kind it saw at work at once."""
    os.makedirs(at, exist_ok=True)
    mine = os.path.join(at, f"{i}.running")
    open(mine, "w").close()
    seen = 0
    for _ in range(5):
        seen = max(seen, len([name for name in os.listdir(at) if name.endswith(".running")]))
        time.sleep(0.05)
    os.rename(mine, mine.removesuffix("running") + "done")
    return seen


@task
def largest(xs: List[int]) -> int:
    return max(xs)


@task
def waits(at: str) -> int:
    while not os.path.exists(at):
        time.sleep(0.1)
    return 1


@task
def write() -> FlyteFile:
    path = os.path.join(current_context().working_directory, "note.txt")
    with open(path, "w") as out:
        out.write("hello")
    return FlyteFile(path)


@task
def told() -> Dict[str, str]:
    context = current_context()
    return {
        "name": context.execution_id.name, "domain": context.execution_id.domain, "task": context.task_id.name,
        "version": context.task_id.version, "raw": context.raw_output_prefix,
    }


@workflow
def one_at_a_time(at: str) -> int:
    return largest(xs=[overlap(at=at, i=i) for i in range(4)])


@workflow
def waits_wf(at: str) -> int:
    return waits(at=at)


@workflow
def writes() -> FlyteFile:
    return write()


@workflow
def overridden() -> Dict[str, str]:
    return told().with_overrides(
        name="ein schöner Name", node_name="my-node", retries=2, timeout=timedelta(minutes=5), interruptible=True,
        requests=Resources(cpu="10m", mem="100Mi"), limits=Resources(cpu="1", mem="900Mi"), container_image="other:1",
    )


narrow = LaunchPlan.get_or_create(waits_wf, "launch.narrow", concurrency=ConcurrencyPolicy(max_concurrency=1))
fixed = LaunchPlan.get_or_create(waits_wf, "launch.fixed", fixed_inputs={"at": "/"})
ENTITIES = [one_at_a_time, narrow, fixed, writes, overridden]


def refused(w, plan, *words, **inputs):
    """The text of the refusal that a launch must meet."""
    try:
        w.run(plan, **inputs)
    except Exception as error:  # noqa: BLE001
        text = f"{error} {error.__cause__}"
        check(all(word in text for word in words), text)
        return error
    raise AssertionError(f"{plan.name} was started")


def case_a_plan_limits_its_executions(w):
    at = w.file("narrow")
    first = w.run(narrow, at=at)
    refused(w, narrow, "RESOURCE_EXHAUSTED", "launch.narrow", "has 1 executions", at=at)
    open(at, "w").close()
    w.end(first)
    w.result(narrow, at=at)


def case_parallelism_is_a_limit(w):
    execution = w.end(w.run(one_at_a_time, options=Options(max_parallelism=1), at=w.file("overlap")))
    check(execution.outputs["o0"] == 1 and execution.spec.max_parallelism == 1, execution.outputs)


def case_files_go_where_the_launch_says(w):
    place = f"s3://my-s3-bucket/elsewhere/{w.v}"
    who = SecurityContext(run_as=Identity(iam_role="role", k8s_service_account="account"))
    options = Options(raw_output_data_config=RawOutputDataConfig(place), security_context=who)
    execution = w.end(w.run(writes, options=options))
    file = execution.outputs["o0"]
    check(str(file.remote_source).startswith(place), file.remote_source)
    with open(file.download()) as found:
        check(found.read() == "hello")
    check(execution.spec.raw_output_data_config.output_location_prefix == place, execution.spec)
    run_as = execution.spec.security_context.run_as
    check((run_as.iam_role, run_as.k8s_service_account) == ("role", "account"), run_as)


def case_fixed_inputs_are_fixed(w):
    check(w.result(fixed).inputs["at"] == "/")
    error = refused(w, fixed, at="/elsewhere")
    check(isinstance(error, FlyteInvalidInputException), error)


def case_overrides_reach_the_node(w):
    execution = w.result(overridden)
    out = execution.outputs["o0"]
    check(out["name"] == execution.id.name and out["domain"] == "development" and out["version"] == w.v, out)
    check(out["raw"].startswith("s3://my-s3-bucket/"), out)
    check(phases(execution.node_executions) == {id: "SUCCEEDED" for id in ("start-node", "my-node", "end-node")})
    node = execution.flyte_workflow.flyte_nodes[0]
    check(node.metadata.name == "ein schöner Name" and node.metadata.retries.retries == 2, node.metadata)
