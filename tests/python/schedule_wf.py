"""A workflow that is told when it was due, on several schedules."""

from datetime import datetime, timedelta

from flytekit import Annotations, CronSchedule, FixedRate, LaunchPlan, task, workflow
from flytekit.models.schedule import Schedule


@task
def stamp(kickoff_time: datetime, note: str) -> str:
    return f"{note} {int(kickoff_time.timestamp())}"


@workflow
def wf(kickoff_time: datetime, note: str = "tick") -> str:
    return stamp(kickoff_time=kickoff_time, note=note)


minutely = LaunchPlan.get_or_create(
    wf, "schedule_wf.minutely", schedule=CronSchedule(schedule="* * * * *", kickoff_time_input_arg="kickoff_time")
)
rate = LaunchPlan.get_or_create(
    wf,
    "schedule_wf.rate",
    fixed_inputs={"note": "rate"},
    schedule=FixedRate(timedelta(minutes=1), kickoff_time_input_arg="kickoff_time"),
)
# What robfig/cron reads, and with it flyteadmin; flytekit's own classes stop at a minute.
quick = LaunchPlan.get_or_create(
    wf,
    "schedule_wf.quick",
    schedule=Schedule("kickoff_time", cron_schedule=Schedule.CronSchedule("@every 5s", None)),
)
berlin = LaunchPlan.get_or_create(
    wf,
    "schedule_wf.berlin",
    schedule=CronSchedule(schedule="0 8 * * mon-fri", kickoff_time_input_arg="kickoff_time"),
    annotations=Annotations({"pinion.dev/timezone": "Europe/Berlin", "pinion.dev/catch-up": "latest"}),
)
PLANS = [minutely, rate, quick, berlin]
