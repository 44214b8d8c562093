"""Waits for an execution and prints phase and output."""

import sys

from common import phase, remote, wait

client = remote()
execution = wait(client, client.fetch_execution(name=sys.argv[1]), 180)
print("PHASE", phase(execution), execution.closure.error.message if execution.closure.error else "")
print("OUTPUT", execution.outputs["o0"] if phase(execution) == "SUCCEEDED" else "")
