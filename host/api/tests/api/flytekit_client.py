"""Registers, fetches, lists and starts things with the stock flytekit, and checks each answer."""

import os
import subprocess
import sys

from flytekit.configuration import Config, FastSerializationSettings, ImageConfig, SerializationSettings
from flytekit.exceptions.user import FlyteEntityNotExistException
from flytekit.models import filters
from flytekit.models.admin.common import Sort
from flytekit.models.core.identifier import ResourceType
from flytekit.remote import FlyteRemote

SOURCE = '''
import typing
from flytekit import task, workflow, LaunchPlan, Resources

@task(requests=Resources(cpu="1", mem="200Mi"), retries=2)
def t1(a: int) -> typing.NamedTuple("OutputsBC", t1_int_output=int, c=str):
    """First task.

    A longer text about it."""
    return a + 2, "world"

@task
def t2(a: str, b: str) -> str:
    return b + a

@workflow
def my_wf(a: int, b: str = "hello") -> (int, str):
    """A workflow."""
    x, y = t1(a=a)
    d = t2(a=y, b=b)
    return x, d

plan = LaunchPlan.get_or_create(my_wf, "my_plan", default_inputs={"a": 7}, fixed_inputs={"b": "fixed"})
'''

with open("example.py", "w") as f:
    f.write(SOURCE)
sys.path.insert(0, os.getcwd())
import example  # noqa: E402

remote = FlyteRemote(Config.auto(), default_project="flytesnacks", default_domain="development")
version = "v1"
md5, native_url = remote.fast_package(os.getcwd())[:2]
assert native_url.startswith("s3://"), native_url
again = remote.fast_package(os.getcwd())[1]
assert native_url == again, (native_url, again)
settings = SerializationSettings(
    image_config=ImageConfig.auto(img_name="img:1"),
    fast_serialization_settings=FastSerializationSettings(
        enabled=True, destination_dir=".", distribution_location=native_url
    ),
    version=version,
    project="flytesnacks",
    domain="development",
)

# Nothing is there before it is registered: NOT_FOUND, precisely.
for fetch in (remote.fetch_task, remote.fetch_workflow, remote.fetch_launch_plan):
    try:
        fetch(name="example.nothing", version=version)
        raise AssertionError("found nothing")
    except FlyteEntityNotExistException:
        pass

wf = remote.register_workflow(example.my_wf, settings, version=version)
lp = remote.register_launch_plan(example.plan, version=version, project="flytesnacks", domain="development", serialization_settings=settings)
# Twice is once.
wf2 = remote.register_workflow(example.my_wf, settings, version=version)
assert wf.id == wf2.id

raw = remote.client
fetched = remote.fetch_workflow(name="example.my_wf", version=version)
ids = [n.id for n in fetched.template.nodes]
assert "n0" in ids and "n1" in ids, ids
t1 = remote.fetch_task(name="example.t1", version=version)
assert "--additional-distribution" in t1.template.container.args and native_url in t1.template.container.args
assert t1.template.metadata.retries.retries == 2
assert [r.value for r in t1.template.container.resources.requests] == ["1", "200Mi"]

plan = remote.fetch_launch_plan(name="my_plan", version=version)
assert plan.default_inputs.parameters["a"].default.scalar.primitive.integer == 7
assert list(plan.fixed_inputs.literals) == ["b"]
default = remote.fetch_launch_plan(name="example.my_wf", version=version)
assert default.default_inputs.parameters["a"].required
assert default.default_inputs.parameters["b"].default.scalar.primitive.string_value == "hello"
assert remote.fetch_launch_plan(name="my_plan").id.version == version
assert remote.fetch_task(name="example.t1").id.version == version

# Other content under the same version.
changed = SerializationSettings(
    image_config=ImageConfig.auto(img_name="img:2"),
    fast_serialization_settings=settings.fast_serialization_settings,
    version=version,
    project="flytesnacks",
    domain="development",
)
try:
    remote.register_task(example.t1, changed, version=version)
    raise AssertionError("changed content was taken")
except Exception as error:
    text = str(error.__cause__ or error) + str(error)
    assert "register a new version" in text, text
    assert "container/image" in text, text

# Active launch plans.
assert remote.fetch_active_launchplan(name="my_plan") is None
remote.activate_launchplan(plan.id)
assert remote.fetch_active_launchplan(name="my_plan").id == plan.id

# Lists with filters, order and tokens.
tasks = remote.list_tasks_by_version(version=version)
assert sorted(t.id.name for t in tasks) == ["example.t1", "example.t2"], tasks
from flytekit.models.common import NamedEntityIdentifier  # noqa: E402

here = NamedEntityIdentifier("flytesnacks", "development")
page, token = raw.list_tasks_paginated(here, limit=1, sort_by=Sort("name", Sort.Direction.ASCENDING))
assert [t.id.name for t in page] == ["example.t1"] and token == "1", (page, token)
page, token = raw.list_tasks_paginated(here, limit=1, token=token, sort_by=Sort("name", Sort.Direction.ASCENDING))
assert [t.id.name for t in page] == ["example.t2"] and token == "2"
page, token = raw.list_tasks_paginated(here, limit=1, token=token, sort_by=Sort("name", Sort.Direction.ASCENDING))
assert page == [] and not token
page, _ = raw.list_workflows_paginated(
    NamedEntityIdentifier("flytesnacks", "development", "example.my_wf"), filters=[filters.Equal("version", version)]
)
assert len(page) == 1
names, _ = raw.list_task_ids_paginated("flytesnacks", "development")
assert [n.name for n in names] == ["example.t1", "example.t2"]
assert [p.id for p in raw.list_projects_paginated()[0]] == ["flytesnacks"]
assert [d.id for d in raw.get_domains()] == ["development", "staging", "production"]
assert raw.get_control_plane_version() == "1.2.3"

# Executions: a workflow, a plan, a single task.
run = remote.execute(
    fetched,
    inputs={"a": 3},
    execution_name_prefix="pre",
    overwrite_cache=True,
    envs={"K": "V"},
    tags=["tag"],
    cluster_pool="gpu",
)
assert run.spec.envs.envs == {"K": "V"}, run.spec
assert run.spec.tags == ["tag"]
assert run.spec.cluster_assignment.cluster_pool == "gpu"
run = remote.sync(run, sync_nodes=True)
assert run.inputs["a"] == 3 and run.inputs["b"] == "hello", run.inputs
assert not run.is_done
planned = remote.execute(plan, inputs={}, execution_name="Planned-1")
assert planned.id.name == "planned-1"
planned = remote.fetch_execution(name="planned-1")
assert planned.inputs["a"] == 7 and planned.inputs["b"] == "fixed", planned.inputs
single = remote.execute(t1, inputs={"a": 5})
single = remote.sync(single, sync_nodes=True)
assert single.spec.launch_plan.resource_type == ResourceType.TASK
assert single.id.name.isalnum() and len(single.id.name) == 20

for bad in ({"a": "text"}, {}, {"a": 1, "zzz": 2}):
    try:
        remote.execute(fetched, inputs=bad)
    except Exception:
        continue
    raise SystemExit(f"{bad} was taken")

assert len(remote.recent_executions()) == 3
remote.terminate(run, "no need")
run = remote.sync(run)
assert run.closure.phase == 9 and run.closure.abort_metadata.cause == "no need", run.closure
again = raw.relaunch_execution(run.id, "again-1")
assert raw.get_execution(again).spec.metadata.reference_execution == run.id

# Data.
link = remote.client.get_upload_signed_url("flytesnacks", "development", filename_root="00000")
assert link.native_url.startswith("s3://") and link.signed_url.startswith("http://")
uploaded = remote.upload_file(__import__("pathlib").Path("example.py"))
assert uploaded[1].endswith("/example.py"), uploaded

# The command line, as people use it.
def pyflyte(*args):
    command = [os.path.join(os.path.dirname(sys.executable), "pyflyte"), *args]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout


where = ["-p", "flytesnacks", "-d", "development"]
for _ in range(2):
    pyflyte("register", *where, "--version", "v-cli_1", "--image", "img:1", "example.py")
assert remote.fetch_launch_plan(name="my_plan", version="v-cli_1").fixed_inputs.literals
assert "executions/" in pyflyte("run", "--remote", *where, "--image", "img:1", "example.py", "my_wf", "--a", "3")
assert "executions/" in pyflyte("run", "--remote", *where, "--image", "img:1", "example.py", "t1", "--a", "3")
pyflyte("launchplan", *where, "--activate", "my_plan", "v-cli_1")
assert remote.fetch_active_launchplan(name="my_plan").id.version == "v-cli_1"
assert "my_plan" in pyflyte("get", "launchplan", *where, "--active-only")
print("all claims hold")
