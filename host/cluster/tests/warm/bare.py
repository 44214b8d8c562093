"""Forks a warm parent in a bare loop: the floor that warm starts are measured against.

    bare.py <directory of make.py> <case> <times>

Prints the median seconds of a fork that runs the case, and of a fork that does nothing.
"""

import gc
import json
import os
import sys
import time

root, name, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(os.path.join(root, "cases.json")) as file:
    case = next(case for case in json.load(file) if case["name"] == name)
if name in ("learns", "frame"):
    import pandas
    import sklearn.linear_model
import flytekit.bin.entrypoint as entrypoint

sys.path.insert(0, os.path.join(root, "code"))
args = case["args"]
args = args[args.index("--") + 2 :] if args[0] == "pyflyte-fast-execute" else args[1:]
gc.collect()
gc.freeze()


def fork(work):
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        log = os.open(os.path.join(root, "bare.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        work()
        os._exit(0)
    os.waitpid(pid, 0)
    return time.perf_counter() - start


def task():
    out = os.path.join(root, "bare", f"{time.time_ns()}")
    os.chdir(root)
    sys.argv = ["pyflyte-execute"] + [word.replace("@OUT@", out) for word in args]
    try:
        entrypoint.execute_task_cmd()
    except SystemExit:
        pass


def median(values):
    return sorted(values)[len(values) // 2]


print(median([fork(task) for _ in range(times)]), median([fork(lambda: None) for _ in range(times)]))
