"""A workflow that succeeds, fails or goes on until somebody ends it, and launch plans that want people to be told."""

import time

from flytekit import Email, LaunchPlan, PagerDuty, Slack, task, workflow
from flytekit.models.core.execution import WorkflowExecutionPhase as Phase


@task(retries=1)
def first(x: int) -> int:
    return x + 1


@task
def second(x: int) -> int:
    if x < 0:
        raise ValueError("no luck <today>")
    time.sleep(x)
    return x


@workflow
def told(x: int) -> int:
    return second(x=first(x=x))


ends = [Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED]
asking = LaunchPlan.get_or_create(
    workflow=told,
    name="events_wf.asking",
    notifications=[
        Email(phases=[Phase.SUCCEEDED], recipients_email=["happy@example.com"]),
        Slack(phases=[Phase.FAILED], recipients_email=["team@example.slack.com"]),
        PagerDuty(phases=[Phase.FAILED, Phase.ABORTED], recipients_email=["oncall@example.pagerduty.com"]),
    ],
)
