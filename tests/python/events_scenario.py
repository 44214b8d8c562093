"""Launch plans ask for notifications as in Flyte; prints the names of executions that ended in each way."""

import json
import time

from flyteidl.admin.execution_pb2 import WorkflowExecutionGetRequest

from common import check, phase, remote, version, wait
from events_wf import asking, told

client = remote()
v = version()
client.fast_register_workflow(told, version=v)
plan = client.register_launch_plan(asking, version=v)
plan = client.fetch_launch_plan(name="events_wf.asking", version=v)


def run(x):
    return client.execute(plan, inputs={"x": x})


good, bad, long = run(0), run(-5), run(300)
good, bad = wait(client, good), wait(client, bad)
check(phase(good) == "SUCCEEDED", good.closure.error)
check(phase(bad) == "FAILED", "x is negative")

while not client.sync(long, sync_nodes=True).node_executions.get("n1"):
    time.sleep(0.2)
client.terminate(long, "it takes too long")
long = wait(client, long)
check(phase(long) == "ABORTED", phase(long))

# The wishes of the launch plan are shown with each execution; flytekit's own classes leave them out.
for execution in (good, bad, long):
    request = WorkflowExecutionGetRequest(id=execution.id.to_flyte_idl())
    found = client.client._stub.GetExecution(request).closure.notifications
    check([n.WhichOneof("type") for n in found] == ["email", "slack", "pager_duty"], found)
    check(list(found[0].email.recipients_email) == ["happy@example.com"], found)

print("EXECUTIONS " + json.dumps({"good": good.id.name, "bad": bad.id.name, "long": long.id.name}))
print("SCENARIO OK")
