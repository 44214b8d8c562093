"""Failures end as Flyte ends them: budgets, codes, kinds, policies."""

from common import check, phase, remote, version, wait
from failures_wf import crashes, fails_at_once, fails_at_the_end, raises, retried, times_out

client = remote()
v = version()


def run(workflow, **inputs):
    registered = client.fast_register_workflow(workflow, version=v)
    return client.execute(registered, inputs=inputs)


runs = {
    "retried": run(retried, succeed_at=2),
    "exhausted": run(retried, succeed_at=9),
    "raises": run(raises),
    "crashes": run(crashes, code=3),
    "times_out": run(times_out),
    "at_once": run(fails_at_once),
    "at_the_end": run(fails_at_the_end),
}
runs = {name: wait(client, execution, 240) for name, execution in runs.items()}


def node(name, id):
    return runs[name].node_executions[id]


check(phase(runs["retried"]) == "SUCCEEDED", runs["retried"].closure.error)
check(runs["retried"].outputs["o0"] == 2)
attempts = node("retried", "n0").task_executions
check([t.id.retry_attempt for t in attempts] == [0, 1, 2], attempts)
check([t.closure.phase for t in attempts] == [5, 5, 3], [t.closure.phase for t in attempts])

error = runs["exhausted"].closure.error
check(phase(runs["exhausted"]) == "FAILED" and "attempt 3 is not enough" in error.message, error)
check(len(node("exhausted", "n0").task_executions) == 4, "one try and three retries")
check("RetriesExhausted" in error.code, error.code)

error = runs["raises"].closure.error
check(phase(runs["raises"]) == "FAILED" and "a message for the user" in error.message, error)
check(error.kind == 1, "the user's fault")
check(len(node("raises", "n0").task_executions) == 1, "an ordinary exception is not retried")

error = runs["crashes"].closure.error
check(phase(runs["crashes"]) == "FAILED" and "3" in error.message, error)
check(len(node("crashes", "n0").task_executions) == 2, "an exit code spends the user's budget")
check("last words" in error.message, f"the end of the log is not shown: {error.message}")

check(phase(runs["times_out"]) == "FAILED", phase(runs["times_out"]))

check(phase(runs["at_once"]) == "FAILED")
check(runs["at_once"].node_executions["n0"].closure.phase == 6, "the sibling is aborted: " + str({k: n.closure.phase for k, n in runs["at_once"].node_executions.items()}))
check("a message for the user" in runs["at_once"].closure.error.message)

check(phase(runs["at_the_end"]) == "FAILED")
phases = {id: n.closure.phase for id, n in runs["at_the_end"].node_executions.items()}
check(phases["n0"] == 3 and phases["n1"] == 3, f"the healthy branch runs to its end: {phases}")
check(phases["n2"] == 5, phases)
check(phases.get("n3", 7) == 7, f"what hangs on the failure is skipped: {phases}")
print("SCENARIO OK")
