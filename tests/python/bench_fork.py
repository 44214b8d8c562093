"""Is the floor of warm tasks: imports flytekit's entrypoint once, then forks a child per task, one after the other.

Reads a line per wanted chain on standard input (the number of tasks) and answers with the seconds it took. Each child
runs the unmodified entrypoint on local paths, with the arguments a cluster would give it.
"""

import os
import sys
import tempfile
import time

import flytekit.bin.entrypoint as entrypoint
from flytekit.models.literals import Literal, LiteralMap, Primitive, Scalar


def child(inputs: str, prefix: str) -> None:
    arguments = ["--inputs", inputs, "--output-prefix", prefix, "--raw-output-data-prefix", prefix + "/raw"]
    arguments += ["--checkpoint-path", prefix + "/checkpoint", "--prev-checkpoint", '""']
    arguments += ["--resolver", "flytekit.core.python_auto_container.default_task_resolver", "--"]
    arguments += ["task-module", "bench_wf", "task-name", "step"]
    sys.argv = ["pyflyte-execute", *arguments]
    try:
        entrypoint.execute_task_cmd.main(args=arguments, standalone_mode=False)
    except BaseException as error:
        os.write(2, f"child: {error!r}\n".encode())
        os._exit(1)
    os._exit(0)


def chain(dir: str, n: int) -> float:
    inputs = os.path.join(dir, "inputs.pb")
    literal = Literal(scalar=Scalar(primitive=Primitive(integer=1)))
    with open(inputs, "wb") as file:
        file.write(LiteralMap(literals={"x": literal}).to_flyte_idl().SerializeToString())
    start = time.perf_counter()
    for i in range(n):
        prefix = os.path.join(dir, str(i))
        os.makedirs(prefix, exist_ok=True)
        pid = os.fork()
        if pid == 0:
            child(inputs, prefix)
        _, status = os.waitpid(pid, 0)
        if status != 0 or not os.path.exists(os.path.join(prefix, "outputs.pb")):
            raise SystemExit(f"child {i} ended with status {status} and no outputs.pb")
    return time.perf_counter() - start


def main() -> None:
    for name, value in {
        "FLYTE_INTERNAL_EXECUTION_ID": "bench",
        "FLYTE_INTERNAL_EXECUTION_PROJECT": "flytesnacks",
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": "development",
        "FLYTE_INTERNAL_TASK_NAME": "bench_wf.step",
        "FLYTE_INTERNAL_IMAGE": "local",
    }.items():
        os.environ.setdefault(name, value)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as dir:
            print(chain(dir, int(line)), flush=True)


main()
