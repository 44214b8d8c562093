"""Drives the real flytectl, every command family, against the server under test.

PINION_TEST_FLYTECTL says where the binary is.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time

from common import DOMAIN, check
from flytectl_place import Flytectl

tool = Flytectl(os.environ["PINION_TEST_FLYTECTL"], os.environ["FLYTE_PLATFORM_URL"])
project = "p" + os.urandom(4).hex()
here = ("-p", project, "-d", DOMAIN)


def get(*words):
    """What `get` prints as JSON; one thing or a list of several."""
    return json.loads(tool("get", *words, *here, "-o", "json"))


def names(found):
    return [one["id"]["name"] for one in found]


def until(name, phase, seconds=60):
    deadline = time.monotonic() + seconds
    while (found := get("execution", name)["closure"].get("phase", "UNDEFINED")) != phase:
        check(time.monotonic() < deadline, f"{name} is {found} and not {phase}")
        time.sleep(0.3)


def started(text):
    return re.search(r'name:"(\w+)"', text).group(1)


# version; projects are made, changed, archived and brought back
check("controlPlane" in tool("version"))
check("created" in tool("create", "project", "--id", project, "--name", "A name", "--description", "first",
                        "--labels", "team=one"))
check("already exists" in tool.refused("create", "project", "--id", project, "--name", "A name"))
found = get("project", project)
check((found["name"], found["description"], found["labels"]["values"]) == ("A name", "first", {"team": "one"}), found)
check([domain["id"] for domain in found["domains"]] == ["development", "staging", "production"], found)
tool("update", "project", "--id", project, "--description", "changed", "--force")
check(get("project", project)["description"] == "changed")
tool("update", "project", "--id", project, "--archive", "--force")
check(project not in tool("get", "projects"), "an archived project is hidden")
tool("update", "project", "--id", project, "--activate", "--force")
check(project in tool("get", "projects"))
check("not found" in tool.refused("update", "project", "--id", "nobody", "--archive", "--force").lower())

# register files, of what `pyflyte package` writes, twice
archive = os.path.join(tool.dir, "package.tgz")
source = os.path.join(tool.dir, "source")
os.mkdir(source)
shutil.copy("flytectl_wf.py", source)
pyflyte = os.path.join(os.path.dirname(sys.executable), "pyflyte")
subprocess.run(
    [pyflyte, "--pkgs", "flytectl_wf", "package", "--image", "any:image", "--force", "--fast", "-d", ".",
     "--output", archive, "--source", "."], check=True, capture_output=True, cwd=source)
register = ("register", "files", *here, "--archive", archive)
check(tool(*register, "--version", "v1").count("Successfully registered") == 12)
check(tool(*register, "--version", "v1").count("AlreadyExists") == 12)
check(tool(*register, "--version", "v2", "--enableSchedule").count("Successfully registered") == 12)

# get task, workflow, launchplan: all, one name, one version; pages, order, filters
check(sorted(set(names(get("task")))) == ["flytectl_wf.fail_if", "flytectl_wf.square"])
check(len(get("task", "flytectl_wf.square")) == 2)
check(get("task", "flytectl_wf.square", "--latest")["id"]["version"] == "v2")
check(get("task", "flytectl_wf.square", "--version", "v1")["id"]["version"] == "v1")
pages = [get("task", "--filter.limit", "3", "--filter.page", str(page), "--filter.sortBy", "name", "--filter.asc")
         for page in (1, 2)]
check([len(page) if isinstance(page, list) else 1 for page in pages] == [3, 1], pages)
check(names(pages[0])[:2] == ["flytectl_wf.fail_if"] * 2, names(pages[0]))
check("invalid sort key" in tool.refused("get", "task", *here, "--filter.sortBy", "nothing"))
check("unknown field" in tool.refused("get", "task", *here, "--filter.fieldSelector", "nothing=1"))
filtered = get("task", "--filter.fieldSelector", "task.name=flytectl_wf.square,task.version in (v1;v9)")
check(filtered["id"]["version"] == "v1" if isinstance(filtered, dict) else len(filtered) == 1, filtered)
check(sorted(names(get("workflow"))) == [f"flytectl_wf.{name}" for name in ("bad", "gated", "outer", "wf")])
compiled = get("workflow", "flytectl_wf.wf", "--latest")["closure"]["compiledWorkflow"]
check(len(compiled["primary"]["template"]["nodes"]) == 4, compiled)
check("tasks" in compiled and "connections" in compiled["primary"], compiled)
check(len(get("launchplan")) == 12)
check(len(get("launchplan", "--workflow", "flytectl_wf.wf")) == 6)
plan = get("launchplan", "flytectl_wf.nightly", "--latest")
plan = plan[0] if isinstance(plan, list) else plan
check((plan["closure"]["state"], plan["id"]["version"]) == ("ACTIVE", "v2"), plan)
check(plan["spec"]["entityMetadata"]["schedule"]["cronSchedule"]["schedule"] == "0 3 * * *", plan)
for form in ("yaml", "table"):
    check("flytectl_wf.square" in tool("get", "task", *here, "-o", form))
check("no workflow retrieved" in tool.refused("get", "workflow", *here, "flytectl_wf.none", "--latest"))
check("NotFound" in tool.refused("get", "task", *here, "flytectl_wf.none", "--version", "v1"))

# launch plans: activate, deactivate
fixed = ("launchplan", *here, "flytectl_wf.fixed", "--version", "v1")
tool("update", *fixed, "--activate", "--force")
check(get("launchplan", "flytectl_wf.fixed", "--version", "v1")["closure"]["state"] == "ACTIVE")
tool("update", *fixed, "--deactivate", "--force")
check(get("launchplan", "flytectl_wf.fixed", "--version", "v1")["closure"].get("state", "INACTIVE") == "INACTIVE")

# named entities: description and state
for kind, name in (("workflow-meta", "wf"), ("task-meta", "square"), ("launchplan-meta", "fixed")):
    tool("update", kind, *here, f"flytectl_wf.{name}", "--description", "said so", "--force")
check("said so" in tool("get", "workflow", *here))
tool("update", "workflow-meta", *here, "flytectl_wf.gated", "--archive", "--force")
archived = get("workflow", "--filter.fieldSelector", "state=1")
check("flytectl_wf.gated" in json.dumps(archived), archived)
tool("update", "workflow-meta", *here, "flytectl_wf.gated", "--activate", "--force")

# create execution: of files that flytectl wrote itself, for a launch plan and for a task
plan_file, task_file = (os.path.join(tool.dir, name) for name in ("plan.yaml", "task.yaml"))
tool("get", "launchplan", *here, "flytectl_wf.wf", "--latest", "--execFile", plan_file)
with open(plan_file) as file:
    text = file.read()
check("x: 3" in text and "workflow: flytectl_wf.wf" in text, text)
with open(plan_file, "w") as file:
    file.write(text.replace("x: 3", "x: 4").replace("envs: {}", "envs: {FROM: flytectl}"))
run = started(tool("create", "execution", *here, "--execFile", plan_file))
tool("get", "task", *here, "flytectl_wf.square", "--latest", "--execFile", task_file)
single = started(tool("create", "execution", *here, "--execFile", task_file))
until(run, "SUCCEEDED")
until(single, "SUCCEEDED")
spec = get("execution", run)["spec"]
check(spec["envs"]["values"] == [{"key": "FROM", "value": "flytectl"}], spec)
with open(plan_file, "w") as file:
    file.write(text.replace("x: 3", "x: text"))
tool.refused("create", "execution", *here, "--execFile", plan_file)

# get execution --details, --nodeID, filters and order
details = {node["node_exec"]["id"]["nodeId"]: node for node in get("execution", run, "--details")}
check(sorted(details) == ["end-node", "n0", "n1", "start-node"] or sorted(details) == ["n0", "n1", "start-node"],
      sorted(details))
check((details["n1"]["inputs"], details["n1"]["outputs"]) == ({"x": 16}, {"o0": 256}), details["n1"])
check(len(details["n0"]["task_execs"]) == 1, details["n0"])
node = get("execution", run, "--nodeID", "n0")
check("taskNodeMetadata" in json.dumps(node) or "task_execs" in json.dumps(node), node)
tree = tool("get", "execution", *here, run, "--details")
check("n0 - SUCCEEDED" in tree and "o0: 16" in tree, tree)
bad = started(tool("create", "execution", *here, "--execFile", tool.exec_file(here, "flytectl_wf.bad")))
until(bad, "FAILED")
failed = get("execution", "--filter.fieldSelector", "phase in (FAILED;ABORTED)")
check(bad in json.dumps(failed) and run not in json.dumps(failed), failed)
listed = get("execution", "--filter.sortBy", "created_at", "--filter.asc", "--filter.limit", "2")
check(names(listed) == [run, single], names(listed))
check("it was asked to fail" in tool("get", "execution", *here, bad, "--details"))

# relaunch, recover, terminate
again = started(tool("create", "execution", *here, "--relaunch", run, "--overwriteCache"))
until(again, "SUCCEEDED")
spec = get("execution", again)["spec"]
check((spec["metadata"]["referenceExecution"]["name"], spec["overwriteCache"]) == (run, True), spec)
recovered = started(tool("create", "execution", *here, "--recover", bad))
until(recovered, "FAILED")
check("n0 - RECOVERED" in tool("get", "execution", *here, recovered, "--details"))
gated = started(tool("create", "execution", *here, "--execFile", tool.exec_file(here, "flytectl_wf.gated")))
until(gated, "RUNNING")
tool("delete", "execution", *here, gated)
until(gated, "ABORTED")
tool.refused("delete", "execution", *here, "nobody")
outer = started(tool("create", "execution", *here, "--execFile", tool.exec_file(here, "flytectl_wf.outer")))
until(outer, "SUCCEEDED")
nested = get("execution", outer, "--details")
check("n0-0-n1" in json.dumps(nested), "nodes of sub-workflows are part of the details")
tool("update", "execution", *here, run, "--archive", "--force")
check(run not in names(get("execution")))
tool("update", "execution", *here, run, "--activate", "--force")
check(run in names(get("execution")))

# attributes of every kind that flytectl has, at the level of the domain and of a workflow
kinds = {
    "task-resource-attribute": ("defaults: {cpu: '1', memory: 150Mi}\nlimits: {cpu: '2', memory: 450Mi}", "450Mi"),
    "cluster-resource-attribute": ("attributes: {foo: bar}", "bar"),
    "execution-queue-attribute": ("tags: [fast, cheap]", "cheap"),
    "execution-cluster-label": ("value: gpu", "gpu"),
    "plugin-override": ("overrides: [{task_type: python-task, plugin_id: [other], missing_plugin_behavior: 1}]", "other"),
    "workflow-execution-config": ("max_parallelism: 7\nsecurity_context: {run_as: {k8s_service_account: demo}}", "demo"),
}
for kind, (body, word) in kinds.items():
    for workflow in ("", "flytectl_wf.wf"):
        named = f"workflow: {workflow}\n" if workflow else ""
        file = tool.file("attributes.yaml", f"domain: {DOMAIN}\nproject: {project}\n{named}{body}\n")
        at = (*here, workflow) if workflow else here
        if not workflow:
            tool.refused("get", kind, *at)
        tool("update", kind, "--attrFile", file, "--force")
        shown = tool("get", kind, *at)
        check(word in shown, f"{kind}: {shown}")
        written = os.path.join(tool.dir, "written.yaml")
        tool("get", kind, *at, "--attrFile", written)
        with open(written) as back:
            check(word in back.read(), kind)
        os.remove(written)
        tool("delete", kind, "--attrFile", file)
    tool.refused("get", kind, *here)

# an execution under attributes: what they say is in its spec
file = tool.file("attributes.yaml", f"domain: {DOMAIN}\nproject: {project}\nmax_parallelism: 7\n")
tool("update", "workflow-execution-config", "--attrFile", file, "--force")
last = started(tool("create", "execution", *here, "--execFile", tool.exec_file(here, "flytectl_wf.wf")))
check(get("execution", last)["spec"]["maxParallelism"] == 7)
until(last, "SUCCEEDED")
print("SCENARIO OK")
