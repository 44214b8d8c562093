"""Commands of pyflyte against what has run: get, metrics, execution, fetch, backfill, launchplan."""

import os
import pathlib
import subprocess
import sys
from datetime import datetime

from checks import check
from flytekit import CronSchedule, LaunchPlan, task, workflow


@task
def day_of(at: datetime) -> str:
    return at.isoformat()


@workflow
def daily(at: datetime) -> str:
    return day_of(at=at)


nightly = LaunchPlan.get_or_create(
    daily, "cli.nightly", schedule=CronSchedule(schedule="0 3 * * *", kickoff_time_input_arg="at")
)


@task
def breaks(at: str) -> int:
    if not os.path.exists(at):
        raise ValueError("not healed yet")
    return 1


@workflow
def healable(at: str) -> int:
    return breaks(at=at)


ENTITIES = [nightly, healable]


def pyflyte(*args, ok=True):
    """Runs a command; gives what it printed."""
    program = str(pathlib.Path(sys.executable).with_name("pyflyte"))
    ended = subprocess.run([program, *args], capture_output=True, text=True, timeout=120)
    text = ended.stdout + ended.stderr
    check((ended.returncode == 0) == ok, f"pyflyte {args}: {ended.returncode}\n{text}")
    return text


def executions(w, plan):
    from flytekit.models.filters import Equal

    filters = [Equal("launch_plan.name", plan)]
    return w.client.client.list_executions_paginated("flytesnacks", "development", limit=100, filters=filters)[0]


def case_backfills_run_every_tick(w):
    text = pyflyte(
        "backfill", "-p", "flytesnacks", "-d", "development", "-v", w.v, "--from-date", "2025-01-01T00:00:00",
        "--backfill-window", "3 days", "--parallel", "cli.nightly",
    )
    check("/executions/" in text or "xecution" in text, text)
    found = w.until("three days", lambda: len(executions(w, "cli.nightly")) >= 3 and executions(w, "cli.nightly"), 120)
    ended = [w.end(w.client.fetch_execution(name=e.id.name)) for e in found]
    check({e.outputs["o0"][:10] for e in ended} >= {"2025-01-01", "2025-01-02", "2025-01-03"}, [e.outputs for e in ended])


def case_commands_show_what_ran(w):
    execution = w.end(w.run(healable, at=w.file("cli-never")), "FAILED")
    name = execution.id.name
    check("cli.nightly" in pyflyte("get", "launchplan", "-p", "flytesnacks", "-d", "development", "cli.nightly"))
    text = pyflyte("metrics", "-p", "flytesnacks", "dump", name)
    check("n0" in text, text)
    pyflyte("metrics", "-p", "flytesnacks", "explain", name)
    open(w.file("cli-never"), "w").close()
    pyflyte("execution", "-p", "flytesnacks", "-d", "development", "--execution-id", name, "recover")
    pyflyte("execution", "-p", "flytesnacks", "-d", "development", "--execution-id", name, "relaunch")
    w.until("both", lambda: sum(e.closure.phase == 4 for e in executions(w, healable.name)) >= 2, 120)


def case_launch_plans_are_switched(w):
    project = ["-p", "flytesnacks", "-d", "development"]
    pyflyte("launchplan", *project, "--activate", "cli.nightly", w.v)
    active = w.client.fetch_active_launchplan(name="cli.nightly")
    check(active is not None and active.id.version == w.v)
    pyflyte("launchplan", *project, "--deactivate", "cli.nightly", w.v)
    check(w.client.fetch_active_launchplan(name="cli.nightly") is None)


def case_outputs_are_fetched(w):
    execution = w.result(nightly, at=datetime(2025, 5, 6))
    url = f"flyte://v1/flytesnacks/development/{execution.id.name}/n0/0/o"
    text = pyflyte("fetch", url)
    check("2025-05-06" in text, text)
