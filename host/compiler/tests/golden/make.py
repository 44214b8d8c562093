"""Writes workflows of flytekit in their serialized form, one file per workflow, next to this script.

A file is a WorkflowSpec (template and sub-workflows) preceded by its length, then every TaskTemplate the same way, then
an empty message, then every LaunchPlan. The first message of a dynamic task is the DynamicJobSpec that `pyflyte-execute`
wrote, the second one is that task.
"""

import dataclasses
import enum
import os
import pathlib
import subprocess
import sys
import tempfile
import typing

import constructs
from flyteidl.admin import launch_plan_pb2
from flyteidl.core import dynamic_job_pb2, interface_pb2, literals_pb2

from flytekit import (
    LaunchPlan,
    StructuredDataset,
    WorkflowFailurePolicy,
    approve,
    conditional,
    map_task,
    sleep,
    task,
    wait_for_input,
    workflow,
)
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.tools.translator import get_serializable
from flytekit.types.file import FlyteFile
from google.protobuf.internal.encoder import _VarintBytes

OUT = pathlib.Path(__file__).parent
SETTINGS = SerializationSettings(
    project="p",
    domain="d",
    version="v1",
    image_config=ImageConfig(default_image=Image("default", "example.org/image", "v1")),
)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Inner:
    name: str
    sizes: typing.List[int]


@dataclasses.dataclass
class Outer:
    inner: Inner
    table: typing.Dict[str, float]


@task
def one() -> int:
    return 1


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def pair(a: int) -> typing.Tuple[int, str]:
    return a, str(a)


@task
def text(s: str) -> str:
    return s


@task
def nothing():
    pass


@task
def make() -> Outer:
    return Outer(Inner("x", [1]), {"k": 1.0})


@task
def use(name: str, size: int, value: float, whole: Outer):
    pass


@task
def paint(color: Color, maybe: typing.Optional[int] = None) -> Color:
    return color


@task
def either(x: typing.Union[int, str, None], xs: typing.List[typing.Union[int, str]]) -> typing.Union[int, str]:
    return 1


@task
def data(f: FlyteFile, sd: StructuredDataset, m: typing.Dict[str, typing.List[int]]) -> StructuredDataset:
    return sd


@task
def is_big(a: int) -> bool:
    return a > 1


@workflow
def hello() -> int:
    return one()


@workflow
def chain(a: int, b: int = 3) -> typing.Tuple[int, str]:
    x = add(a=a, b=b)
    y, s = pair(a=x)
    n = nothing()
    t = text(s=s)
    n >> t
    return y, t


@workflow
def nested_values():
    o = make()
    use(name=o.inner.name, size=o.inner.sizes[0], value=o.table["k"], whole=o)


@workflow
def unions(x: typing.Union[int, str, None], c: Color = Color.RED) -> typing.Union[int, str]:
    paint(color=c)
    paint(color=Color.BLUE, maybe=one())
    y = either(x=x, xs=[1, "a"])
    return either(x=y, xs=[one(), "b"])


@workflow
def files(f: FlyteFile, sd: StructuredDataset) -> StructuredDataset:
    a = one()
    return data(f=f, sd=data(f=f, sd=sd, m={"k": [a, 2]}), m={"k": [1]})


@workflow(failure_policy=WorkflowFailurePolicy.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE)
def keep_going(a: int) -> int:
    return add(a=a, b=a)


@workflow
def branching(a: int) -> int:
    big = is_big(a=a)
    inner = conditional("inner").if_(a > 5).then(add(a=a, b=1)).else_().then(one())
    return (
        conditional("outer")
        .if_(big.is_true())
        .then(add(a=a, b=inner))
        .elif_(a == 0)
        .then(one())
        .else_()
        .fail("no case")
    )


@workflow
def with_sub(a: int) -> int:
    x, s = chain(a=a, b=1)
    return add(a=x, b=keep_going(a=x))


@workflow
def with_launch_plan(a: int) -> int:
    return LaunchPlan.get_or_create(keep_going, "lp", fixed_inputs={})(a=a)


@workflow
def gates(a: int) -> int:
    s = wait_for_input("value", timeout=__import__("datetime").timedelta(hours=1), expected_type=int)
    z = sleep(__import__("datetime").timedelta(seconds=1))
    ok = approve(add(a=a, b=s), "ok", timeout=__import__("datetime").timedelta(hours=1))
    z >> s
    return add(a=ok, b=1)


@workflow
def mapped(xs: typing.List[int]) -> typing.List[int]:
    return map_task(add)(a=xs, b=xs)


@task
def clean(a: int):
    pass


@workflow(on_failure=clean)
def on_failure(a: int) -> int:
    return add(a=a, b=a)


def save(name, first, tasks, plans):
    messages = [first, *tasks, literals_pb2.LiteralMap(), *plans]
    out = b""
    for message in messages:
        body = message.SerializeToString(deterministic=True)
        out += _VarintBytes(len(body)) + body
    (OUT / f"{name.rsplit('.', 1)[-1]}.bin").write_bytes(out)


def launch_plan(model, interface):
    """A launch plan as it is registered, and the interface of its workflow as if nothing had a default."""
    required = {name: interface_pb2.Parameter(var=v, required=True) for name, v in interface.inputs.variables.items()}
    closure = launch_plan_pb2.LaunchPlanClosure(
        expected_inputs=interface_pb2.ParameterMap(parameters=required), expected_outputs=interface.outputs
    )
    return launch_plan_pb2.LaunchPlan(id=model.id.to_flyte_idl(), spec=model.spec.to_flyte_idl(), closure=closure)


def models(entities):
    """Task templates and launch plans among what was serialized, by name."""
    tasks, plans, interfaces = {}, {}, {}
    for entity, model in entities.items():
        kind = type(model).__name__
        if kind == "TaskSpec":
            tasks[str(model.template.id)] = model.template.to_flyte_idl()
        elif kind == "WorkflowSpec":
            interfaces[str(model.template.id)] = model.template.to_flyte_idl().interface
        elif kind == "LaunchPlan":
            plans[str(model.id)] = model
    plans = {key: launch_plan(plan, interfaces[str(plan.spec.workflow_id)]) for key, plan in plans.items()}
    return [tasks[key] for key in sorted(tasks)], [plans[key] for key in sorted(plans)]


def write(wf):
    entities = {}
    spec = get_serializable(entities, SETTINGS, wf)
    if wf is constructs.references:
        get_serializable(entities, SETTINGS, constructs.inc)
        get_serializable(entities, SETTINGS, constructs.plan)
    save(wf.name, spec.to_flyte_idl(), *models(entities))


def write_dynamic(function, n):
    """Runs the task as it runs on a cluster, and keeps what it wrote."""
    entities = {}
    for plan in (constructs.plan, constructs.fixed):
        get_serializable(entities, SETTINGS, plan)
    parent = get_serializable(entities, SETTINGS, function).template.to_flyte_idl()
    plans = models(entities)[1]
    with tempfile.TemporaryDirectory() as tmp:
        value = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=n)))
        inputs = literals_pb2.LiteralMap(literals={"n": value})
        pathlib.Path(tmp, "inputs.pb").write_bytes(inputs.SerializeToString(deterministic=True))
        places = {
            "{{.input}}": f"{tmp}/inputs.pb",
            "{{.outputPrefix}}": f"{tmp}/out",
            "{{.rawOutputDataPrefix}}": f"{tmp}/raw",
            "{{.checkpointOutputPrefix}}": f"{tmp}/checkpoint",
            "{{.prevCheckpointPrefix}}": '""',
        }
        args = [places.get(arg, arg) for arg in parent.container.args]
        args[0] = str(pathlib.Path(sys.executable).with_name(args[0]))
        env = dict(os.environ, PYTHONPATH=str(OUT), **{pair.key: pair.value for pair in parent.container.env})
        for field in ("project", "domain", "name", "version"):
            env[f"FLYTE_INTERNAL_TASK_{field.upper()}"] = getattr(parent.id, field)
        subprocess.run(args, check=True, env=env, cwd=OUT)
        spec = dynamic_job_pb2.DynamicJobSpec.FromString(pathlib.Path(tmp, "out", "futures.pb").read_bytes())
    save(f"dynamic_{function.task_function.__name__}", spec, [parent], plans)


if __name__ == "__main__":
    for wf in [
        hello, chain, nested_values, unions, files, keep_going,
        branching, with_sub, with_launch_plan, gates, mapped, on_failure, *constructs.WORKFLOWS,
    ]:
        write(wf)
    for function, n in constructs.DYNAMICS:
        write_dynamic(function, n)
