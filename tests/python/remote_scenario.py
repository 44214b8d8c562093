"""A stock FlyteRemote registers, fetches, lists, executes, waits, syncs and terminates."""

import time
from collections import OrderedDict

from common import DOMAIN, PROJECT, check, phase, raises, remote, version, wait
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.exceptions.user import (
    FlyteEntityAlreadyExistsException,
    FlyteEntityNotExistException,
    FlyteInvalidInputException,
)
from flytekit.models import filters, literals
from flytekit.models.execution import ExecutionMetadata, ExecutionSpec
from flytekit.models.admin.common import Sort
from flytekit.models.core.identifier import Identifier, ResourceType
from flytekit.tools.translator import get_serializable
from remote_wf import add, double, fixed, plan, slow, wf

client = remote()
v = version()

# What is not there is said to be not there.
raises(FlyteEntityNotExistException, lambda: client.fetch_workflow(name="nope", version="1"))
raises(FlyteEntityNotExistException, lambda: client.fetch_execution(name="nope"))

# Fast registration, a run, its outputs, again by fetch.
workflow = client.fast_register_workflow(wf, version=v)
execution = wait(client, client.execute(workflow, inputs={"x": 5}))
check(phase(execution) == "SUCCEEDED", execution.closure.error)
check(execution.outputs["o0"] == 11, execution.outputs)
again = client.sync(client.fetch_execution(name=execution.id.name), sync_nodes=True)
check(again.outputs["o0"] == 11)
check(set(again.node_executions) == {"start-node", "end-node", "n0", "n1"}, set(again.node_executions))
check(again.node_executions["n0"].outputs["o0"] == 10, again.node_executions["n0"].outputs)
check(again.node_executions["n1"].inputs["x"] == 10 and again.node_executions["n1"].inputs["y"] == 1)
check(again.closure.duration.total_seconds() > 0)

# Bad inputs are the caller's fault and start nothing.
raises(FlyteInvalidInputException, lambda: client.client.create_execution(
    PROJECT, DOMAIN, None, ExecutionSpec(
        Identifier(ResourceType.LAUNCH_PLAN, PROJECT, DOMAIN, wf.name, v),
        ExecutionMetadata(
            ExecutionMetadata.ExecutionMode.MANUAL, "me", 0),
    ), literals.LiteralMap({"unknown": literals.Literal(
        scalar=literals.Scalar(primitive=literals.Primitive(integer=1)))}),
), "unknown")

# Launch plans with defaults and fixed inputs.
for p, want in ((plan, 21), (fixed, 41)):
    client.register_launch_plan(p, version=v)
    run = wait(client, client.execute(client.fetch_launch_plan(name=p.name, version=v), inputs={}))
    check(phase(run) == "SUCCEEDED" and run.outputs["o0"] == want, (p.name, run.closure.error, run.outputs))

# A task on its own.
task = client.fetch_task(name=double.name, version=v)
run = wait(client, client.execute(task, inputs={"x": 21}))
check(phase(run) == "SUCCEEDED" and run.outputs["o0"] == 42, run.closure.error)

# Names chosen by the caller are kept, and taken once.
name = "mine" + v
run = wait(client, client.execute(task, inputs={"x": 1}, execution_name=name))
check(run.id.name == name, run.id.name)
# flytekit takes ALREADY_EXISTS for "the same execution" and returns it.
same = client.execute(task, inputs={"x": 2}, execution_name=name)
check(wait(client, same).outputs["o0"] == 2, "a second execution ran under a taken name")

# Lists: filters, sorting, paging by token.
listed, _ = client.client.list_executions_paginated(
    PROJECT,
    DOMAIN,
    limit=100,
    filters=[filters.Equal("phase", "SUCCEEDED")],
    sort_by=Sort("created_at", Sort.Direction.DESCENDING),
)
names = [e.id.name for e in listed]
check(name in names and execution.id.name in names)
created = [e.closure.created_at for e in listed]
check(created == sorted(created, reverse=True))
seen, token = [], None
while True:
    page, token = client.client.list_executions_paginated(
        PROJECT, DOMAIN, limit=2, token=token, sort_by=Sort("created_at", Sort.Direction.ASCENDING),
    )
    seen += [e.id.name for e in page]
    if not token:
        break
check(len(seen) == len(set(seen)) and set(names) <= set(seen), "paging lost or repeated executions")
raises(FlyteInvalidInputException, lambda: client.client.list_executions_paginated(
    PROJECT, DOMAIN, limit=2, token="x"))
tasks = client.list_tasks_by_version(v)
check({t.id.name for t in tasks} >= {double.name, add.name}, [t.id.name for t in tasks])
check(client.fetch_workflow(name=wf.name).id.version == v, "the newest version is not the last registered")

# The same again is fine; something else under the same version is not.
client.fast_register_workflow(wf, version=v)
base = SerializationSettings(image_config=ImageConfig.auto(img_name="pinion:test"), project=PROJECT, domain=DOMAIN, version=v + "b")
one = get_serializable(OrderedDict(), base, double)
client.client.create_task(one.template.id, one)
raises(FlyteEntityAlreadyExistsException, lambda: client.client.create_task(one.template.id, one))
other = get_serializable(OrderedDict(), SerializationSettings(
    image_config=ImageConfig.auto(img_name="pinion:other"), project=PROJECT, domain=DOMAIN, version=v + "b"), double)
raises(FlyteInvalidInputException, lambda: client.client.create_task(one.template.id, other), "image", "version")

# Terminate: the run ends as aborted, soon, and its process is gone.
running = client.execute(client.fast_register_workflow(slow, version=v), inputs={"seconds": 300.0})
for _ in range(200):
    running = client.sync(running, sync_nodes=True)
    node = running.node_executions.get("n0")
    if node is not None and node.closure.phase == 2 and node.task_executions and node.task_executions[0].closure.phase == 2:
        break
    time.sleep(0.1)
else:
    raise AssertionError("the slow task never ran")
client.terminate(running, "enough of it")
ended = wait(client, running, 30)
check(phase(ended) == "ABORTED", phase(ended))
check(ended.closure.abort_metadata.cause == "enough of it", ended.closure)
raises(Exception, lambda: client.terminate(running, "again"))

# What a person sees.
check(client.generate_console_url(execution).endswith(f"/executions/{execution.id.name}"))
check(client.client.get_control_plane_version())
check(PROJECT in [p.id for p in client.client.list_projects_paginated(limit=10)[0]])
print("SCENARIO OK")
