"""What every scenario needs: a FlyteRemote at the server under test, and small assertions."""

import os
import sys
from datetime import timedelta

from flytekit.configuration import Config
from flytekit.remote import FlyteRemote

PROJECT = "flytesnacks"
DOMAIN = "development"


def remote(scratch: str = "") -> FlyteRemote:
    """A stock client; where the server is comes from the environment, as for any user.

    Clients that work at the same time must not share the directory in which they keep what they fetch."""
    config = Config.auto() if "FLYTE_PLATFORM_URL" in os.environ else Config.for_sandbox()
    return FlyteRemote(
        config.with_params(local_sandbox_path=scratch) if scratch else config,
        default_project=PROJECT,
        default_domain=DOMAIN,
        interactive_mode_enabled=False,
    )


def wait(client: FlyteRemote, execution, seconds: int = 120):
    """Waits for the end with short polls."""
    return client.wait(execution, timeout=timedelta(seconds=seconds), poll_interval=timedelta(milliseconds=200))


def phase(execution) -> str:
    """Name of the phase of an execution."""
    from flyteidl.core.execution_pb2 import WorkflowExecution

    return WorkflowExecution.Phase.Name(execution.closure.phase)


def check(condition, message="") -> None:
    """Ends the scenario with a message when the condition does not hold."""
    if not condition:
        frame = sys._getframe(1)
        raise AssertionError(f"line {frame.f_lineno}: {message}")


def raises(kind, function, *words) -> str:
    """The text of the exception that the call must raise; the words must be in it."""
    try:
        function()
    except kind as error:
        text = str(error)
        for word in words:
            check(word in text, f"`{word}` is not in: {text}")
        return text
    raise AssertionError(f"no {kind} was raised")


def version() -> str:
    """A version no earlier run has used."""
    return "v" + os.urandom(6).hex()
