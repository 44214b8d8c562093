"""Starts one execution of each construct, or finishes them: `constructs_kill.py start|finish DIR [TIME OF A KILL]...`."""

import collections
import json
import pathlib
import sys
import time

import constructs_kill_wf as wf
from checks import check
from common import phase, remote
from constructs_run import World
from common import version

where = pathlib.Path(sys.argv[2])
client = remote()

if sys.argv[1] == "start":
    _, location = client.fast_package(pathlib.Path(__file__).parent)
    world = World(client, version(), location)
    started = {}
    names = [*wf.WANTED, "cached"]
    for name in names:
        world.register(wf.chain_plan)
        world.register(getattr(wf, name))
    for i, name in enumerate(names):
        inputs = {"at": str(where / f"{name}.trace")}
        if name == "cached":
            inputs["salt"] = world.v
        started.setdefault(name, []).append(world.run(getattr(wf, name), **inputs).id.name)
    (where / "started.json").write_text(json.dumps(started))
    print("STARTED", len(names))
    sys.exit()

started = json.loads((where / "started.json").read_text())
world = World(client, "", "")
[gated] = started["gates"]
world.until("the question", lambda: client.list_signals(gated), 120)
client.approve("go-on", gated)
failed = []
kills = [float(at) for at in sys.argv[3:]]
#: Between the last line of a task and its outputs being safe; a kill in between makes the task run again.
SLACK = 1.5
for name, executions in started.items():
    wanted = wf.WANTED[name]
    for execution in executions:
        try:
            execution = client.fetch_execution(name=execution)
            if isinstance(wanted, str):
                execution = world.end(execution, "FAILED")
                check(wanted in execution.closure.error.message, execution.closure.error)
            else:
                execution = world.end(execution)
                check(execution.outputs["o0"] == wanted, execution.outputs)
        except Exception as error:
            failed.append(f"{name}: {error}")
            continue
    counts = collections.Counter()
    spans = collections.defaultdict(list)
    trace = where / f"{name}.trace"
    for line in trace.read_text().splitlines() if trace.exists() else []:
        what, step, attempt, pid, at = line.split(" ")
        counts[what, step] += 1
        spans[step].append((float(at), what, pid))
    for (what, step), n in counts.items():
        # A retry of its own is allowed where the task fails by itself.
        allowed = 2 if step == "stumbling-try" else 1
        unlucky = [at for at, what, _ in spans[step] if what == "end" and any(-0.5 < kill - at < SLACK for kill in kills)]
        if what == "end" and n > allowed + len(unlucky):
            failed.append(f"{name}: {step} ran to its end {n} times; kills at {kills}:\n{trace.read_text()}")
        if what == "start" and n > allowed + len(kills):
            failed.append(f"{name}: {step} began {n} times:\n{trace.read_text()}")
    for step, events in spans.items():
        running = None
        for _, what, pid in sorted(events):
            if what == "start":
                running = pid
            elif running != pid:
                failed.append(f"{name}: two attempts of {step} at once:\n{trace.read_text()}")
if failed:
    print("\n".join(failed))
    sys.exit(1)
print("finished at", time.strftime("%H:%M:%S"), phase(execution))
print("SCENARIO OK")
