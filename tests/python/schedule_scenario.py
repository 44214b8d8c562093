"""Schedules by the stock flytekit: `register` activates them, `check` looks at what they started."""

import sys
from datetime import datetime, timedelta, timezone

from common import DOMAIN, PROJECT, check, phase, raises, remote, version, wait
from flytekit import CronSchedule, LaunchPlan
from flytekit.exceptions.user import FlyteInvalidInputException
from flytekit.models import filters
from flytekit.models.execution import ExecutionMetadata
from flytekit.models.schedule import Schedule
from schedule_wf import PLANS, quick, rate, minutely, wf

client = remote()


def register() -> None:
    v = version()
    client.fast_register_workflow(wf, version=v)
    for plan in PLANS:
        client.register_launch_plan(plan, version=v)
        found = client.fetch_launch_plan(name=plan.name, version=v)
        client.activate_launchplan(found.id)
        client.activate_launchplan(found.id)
        active = client.fetch_active_launchplan(name=plan.name)
        check(active.id.version == v, active.id)
    # A schedule that can't be run is refused before anything else: here an input that nobody would give, ...
    for n, schedule in enumerate([
        CronSchedule(schedule="0 8 * * *"),
        # ... a time zone that is none, and a date that does not come.
        Schedule("kickoff_time", cron_schedule=Schedule.CronSchedule("CRON_TZ=Mars/Base 0 8 * * *", None)),
        Schedule("kickoff_time", cron_schedule=Schedule.CronSchedule("0 0 30 2 *", None)),
    ]):
        bad = LaunchPlan.get_or_create(wf, f"schedule_wf.bad{n}", schedule=schedule)
        raises(FlyteInvalidInputException, lambda: client.register_launch_plan(bad, version=v), "schedule")


def started(plan):
    """Every execution of a launch plan, the earliest tick first."""
    out, token = [], None
    while True:
        page, token = client.client.list_executions_paginated(
            PROJECT, DOMAIN, limit=100, token=token, filters=[filters.Equal("launch_plan.name", plan.name)]
        )
        out += page
        if not token:
            break
    return sorted(out, key=lambda execution: execution.spec.metadata.scheduled_at)


def check_ticks(plan, step: timedelta, at_least: int) -> None:
    executions = started(plan)
    check(len(executions) >= at_least, f"{plan.name} has {len(executions)} executions")
    ticks = []
    for execution in executions:
        metadata = execution.spec.metadata
        check(metadata.mode == ExecutionMetadata.ExecutionMode.SCHEDULED, metadata)
        check(execution.id.name.startswith("f") and len(execution.id.name) == 20, execution.id.name)
        # The client's models read times as UTC without saying so.
        ticks.append(metadata.scheduled_at.replace(tzinfo=timezone.utc))
    # None is missing, none came twice, whatever happened to the host in between.
    want = [ticks[0] + step * n for n in range(len(ticks))]
    check(ticks == want, f"{plan.name}: {[str(tick) for tick in ticks]}")
    now = datetime.now(timezone.utc)
    check(now - ticks[-1] < step + timedelta(seconds=5), f"{plan.name} stopped at {ticks[-1]}")
    # The time of the tick is an input, and what was due late is no later for the workflow.
    for execution, tick in [(executions[0], ticks[0]), (executions[-1], ticks[-1])]:
        done = wait(client, client.fetch_execution(name=execution.id.name))
        check(phase(done) == "SUCCEEDED", done.closure.error)
        note = "rate" if plan is rate else "tick"
        check(done.inputs["kickoff_time"] == tick, done.inputs)
        check(done.outputs["o0"] == f"{note} {int(tick.timestamp())}", done.outputs)


if sys.argv[1] == "register":
    register()
elif sys.argv[1] == "check":
    check_ticks(quick, timedelta(seconds=5), 8)
    check_ticks(minutely, timedelta(minutes=1), 1)
    check_ticks(rate, timedelta(minutes=1), 1)
else:
    for plan in PLANS:
        client.client.update_launch_plan(client.fetch_active_launchplan(name=plan.name).id, 0)
print("SCENARIO OK")
