"""Starts the crashing workflow and prints the execution's name."""

import sys

from common import remote, version
from crash_wf import crashing

client = remote()
workflow = client.fast_register_workflow(crashing, version=version())
execution = client.execute(workflow, inputs={"trace_file": sys.argv[1], "seconds": float(sys.argv[2])})
print("EXECUTION", execution.id.name)
