"""Starts one execution of each construct, intervenes, or finishes them.

`constructs_kill.py start|intervene|finish DIR [TIME OF A KILL]...`
"""

import collections
import json
import pathlib
import sys

import constructs_kill_wf as wf
from checks import check
from common import remote, version
from constructs_run import World
from flytekit.core.options import Options
from flytekit.models.common import Labels

where = pathlib.Path(sys.argv[2])
client = remote()
#: Between the last line of a task and its outputs being safe; a kill in between makes the task run again.
SLACK = 1.5
#: How often a step may run to its end by itself: where it fails once, and where its execution is recovered.
OFTEN = {"stumbling-try": 2, "partly-0-try": 2, "partly-2-try": 2, "heals-try": 2}
#: Executions that come out of interventions, beside those of their workflow.
INTERVENED = where / "intervened.json"


def start():
    _, location = client.fast_package(pathlib.Path(__file__).parent)
    world = World(client, version(), location)
    started = {}
    options = Options(labels=Labels({"team": "blue"}))
    for plan in (wf.chain_plan, wf.told_plan, wf.sleeps_plan, wf.sleeps_below_plan):
        world.register(plan)
    names = [*wf.WANTED, "cached"]
    # What is intervened in comes first, and must not wait for the rest.
    names.sort(key=lambda name: name not in ("recovers", "cascades", "signals", "relaunches"))
    for name in set(names):
        world.register(getattr(wf, name))
    for name in names:
        inputs = {"at": str(where / f"{name}.trace")}
        if "cached" in name:
            inputs["salt"] = world.v
        run = world.run(getattr(wf, name), options=options, envs={"SAID": "hello"}, **inputs)
        started.setdefault(name, []).append(run.id.name)
    (where / "started.json").write_text(json.dumps(started))


def intervene(world, started):
    """Answers, recovers, relaunches, terminates; the host is killed right after."""
    [asked], [broken], [again], [deep] = (started[name] for name in ("signals", "recovers", "relaunches", "cascades"))
    world.until("a question", lambda: client.list_signals(asked), 120)
    broken = world.end(client.fetch_execution(name=broken), "FAILED")
    pathlib.Path(broken.inputs["at"] + ".healed").touch()
    world.until("a sleeper", lambda: (where / "cascades.trace").exists(), 120)
    client.set_input("a-number", asked, 42, python_type=int)
    recovered = client.client.recover_execution(broken.id).name
    relaunched = client.client.relaunch_execution(client.fetch_execution(name=again).id).name
    client.terminate(client.fetch_execution(name=deep), "enough")
    INTERVENED.write_text(json.dumps({"recovers": recovered, "relaunches": relaunched}))


def below(execution):
    """The execution that the first node of an execution started."""
    [child] = execution.node_executions["n0"].workflow_executions
    return child


def ends_well(world, name, execution):
    """An execution ends as it would have without a kill."""
    wanted = wf.WANTED[name]
    execution = client.fetch_execution(name=execution)
    if wanted is None:
        execution = world.end(execution, "ABORTED")
        for _ in range(2):
            execution = world.end(below(execution), "ABORTED")
            check("cascading abort" in execution.closure.abort_metadata.cause, execution.closure.abort_metadata)
    elif isinstance(wanted, str):
        execution = world.end(execution, "FAILED")
        check(wanted in execution.closure.error.code + execution.closure.error.message, execution.closure.error)
    else:
        execution = world.end(execution)
        check(execution.outputs["o0"] == wanted, execution.outputs)
    if name == "inherits":
        check(below(execution).spec.labels.values == {"team": "blue"}, below(execution).spec.labels)


def traced_well(name, kills):
    """Nothing ran more often than the kills explain, and nothing twice at once."""
    trace = where / f"{name}.trace"
    text = trace.read_text() if trace.exists() else ""
    counts = collections.Counter()
    spans = collections.defaultdict(list)
    for line in text.splitlines():
        what, step, _, pid, at = line.split(" ")
        counts[what, step] += 1
        spans[step].append((float(at), what, pid))
    for (what, step), n in counts.items():
        allowed = OFTEN.get(step, 1)
        unlucky = [at for at, what, _ in spans[step] if what == "end" and any(-0.5 < kill - at < SLACK for kill in kills)]
        if what == "end":
            check(n <= allowed + len(unlucky), f"{step} ran to its end {n} times; kills at {kills}:\n{text}")
        else:
            check(n <= allowed + len(kills), f"{step} began {n} times:\n{text}")
    for step, events in spans.items():
        running = None
        for _, what, pid in sorted(events):
            running = pid if what == "start" else running
            check(running == pid, f"two attempts of {step} at once:\n{text}")


def finish(world, started, kills):
    [gated] = started["gates"]
    world.until("the question", lambda: client.list_signals(gated), 120)
    client.approve("go-on", gated)
    for name, execution in json.loads(INTERVENED.read_text()).items():
        started[name] = [execution] if name == "recovers" else [*started[name], execution]
    failed = []
    for name, executions in started.items():
        try:
            for execution in executions:
                ends_well(world, name, execution)
            traced_well(name, kills)
        except Exception as error:
            failed.append(f"{name}: {error}")
    if failed:
        print("\n".join(failed))
        sys.exit(1)


if sys.argv[1] == "start":
    start()
else:
    known = json.loads((where / "started.json").read_text())
    if sys.argv[1] == "intervene":
        intervene(World(client, "", ""), known)
    else:
        finish(World(client, "", ""), known, [float(at) for at in sys.argv[3:]])
print("SCENARIO OK")
