"""Writes the tasks of the warm tests, their inputs and their code bundle; prints the cases as JSON.

    make.py <directory>

Every case is {name, args, env, fast, code}: `args` is the command line of pyflyte-execute with `@OUT@` where the
outputs go, `fast` whether the code comes as a bundle, `code` the expected exit code.
"""

import json
import os
import sys
import tarfile
import typing

TASKS = '''
import os
import random
import sys
import typing
from dataclasses import dataclass

import flytekit
from flytekit import Deck, FlyteDirectory, FlyteFile, task
from flytekit.exceptions.user import FlyteRecoverableException


@dataclass
class Point:
    x: int
    y: float
    name: typing.Optional[str] = None


@task
def nothing():
    pass


@task
def plain(a: int, b: str) -> typing.Tuple[int, str]:
    return a + 1, b * 2


@task
def data(point: Point) -> Point:
    return Point(point.x + 1, point.y * 2, "moved")


@task
def file(source: FlyteFile) -> FlyteFile:
    with open(source) as text:
        content = text.read()
    with open("out.txt", "w") as out:
        out.write(content.upper())
    return FlyteFile("out.txt")


@task
def directory(source: FlyteDirectory) -> FlyteDirectory:
    os.makedirs("made/sub")
    for name in sorted(os.listdir(source)):
        with open(os.path.join(source, name)) as text, open(f"made/sub/{name}", "w") as out:
            out.write(text.read()[::-1])
    return FlyteDirectory("made")


class Odd:
    def __init__(self, value):
        self.value = value


@task
def pickled(n: int) -> Odd:
    return Odd(n)


@task(enable_deck=True)
def decked(n: int) -> int:
    Deck("mine", "<p>deck</p>")
    return n


@task
def failing(n: int) -> int:
    if n:
        raise ValueError(f"no {n}")
    return n


@task
def chained(n: int) -> int:
    try:
        {}["a"]
    except KeyError as error:
        raise RuntimeError("outer") from error
    return n


@task
def recoverable(n: int) -> int:
    if n:
        raise FlyteRecoverableException("again")
    return n


@task
def exits(code: int) -> int:
    sys.exit(code)
    return code


@task
def exits_at_once(code: int) -> int:
    print("last words")
    sys.stdout.flush()
    os._exit(code)
    return code


@task
def dies(signal: int) -> int:
    os.kill(os.getpid(), signal)
    return signal


@task
def prints(n: int) -> int:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    sys.stdout.buffer.write(b"bytes\\n")
    flytekit.current_context().logging.info("logged")
    return n


@task
def surroundings() -> typing.List[str]:
    context = flytekit.current_context()
    known = sorted(name for name in os.environ if not name.startswith("_"))
    return [
        os.path.basename(os.getcwd()),
        str([os.path.basename(word) for word in sys.argv[:1]] + sys.argv[1:2]),
        str([entry.replace(os.getcwd(), "CWD") for entry in sys.path]),
        str(known),
        os.environ["MINE"],
        os.environ["POD_NAME"],
        str(context.execution_id.name),
        str(context.task_id.version),
        __name__,
        str(os.path.dirname(os.path.abspath(__file__)) == os.getcwd()),
        str(sys.modules["__main__"].__file__),
        sys.executable,
        str(sys.flags),
        str(os.getpgid(0) == os.getpid() or os.getppid() != 1),
        str(os.umask(0o22)),
        str(sys.stdin.read()),
        str(sorted(os.listdir("/proc/self/fd"))),
        str(flytekit.loggers.logger.level),
        str(len(flytekit.loggers.logger.handlers)),
        str(len(flytekit.loggers.user_space_logger.handlers)),
    ]


@task
def chance() -> typing.List[float]:
    import tempfile
    import uuid

    import numpy as np

    return [random.random(), float(np.random.rand()), float(uuid.uuid4().int % 1000), float(hash(tempfile.mkdtemp()) % 997)]


HELD = []


@task
def unflushed(path: str) -> int:
    HELD.append(open(path, "w"))
    HELD[0].write("kept in a buffer")
    return 1


@task
def threads(n: int) -> int:
    import subprocess
    import threading
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        total = sum(pool.map(int, ["1", "2", "3"]))
    with ProcessPoolExecutor(2) as pool:
        total += sum(pool.map(abs, [-1, -2]))
    total += int(subprocess.run(["echo", "4"], capture_output=True, text=True).stdout)
    late = threading.Thread(target=lambda: (__import__("time").sleep(0.2), print("late thread")))
    late.start()
    return total + n


@task
def how() -> bool:
    with open("/proc/self/cmdline") as line:
        print("warm" if "parent.py" in line.read() else "cold", "ahead" if "pandas.core" in sys.modules else "plain")
    return True


@task
def stays(path: str) -> int:
    import subprocess
    import time

    with open(path + ".new", "w") as out:
        out.write(f"{os.getpid()} {subprocess.Popen(['setsid', 'sleep', '600']).pid} {os.getppid()}\\n")
    os.rename(path + ".new", path)
    while not os.path.exists(path + ".go"):
        time.sleep(0.01)
    return 1


@task
def mapped(n: int) -> str:
    return f"item {n}"


@flytekit.dynamic
def grows(n: int) -> int:
    for i in range(n):
        plain(a=i, b="x")
    return n
'''

FRAMES = '''
import pandas as pd
from flytekit import task


@task
def frame(source: pd.DataFrame) -> pd.DataFrame:
    source["z"] = source["x"] * 2
    return source


@task
def learns(n: int) -> float:
    from sklearn.linear_model import LogisticRegression

    import numpy as np

    rng = np.random.default_rng(n)
    x = rng.normal(size=(200, 4))
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    return float(LogisticRegression().fit(x, y).score(x, y))
'''


def main(root):
    code = os.path.join(root, "code")
    os.makedirs(code)
    with open(os.path.join(code, "tasks.py"), "w") as out:
        out.write(TASKS)
    with open(os.path.join(code, "frames.py"), "w") as out:
        out.write(FRAMES)
    with open(os.path.join(code, "README.md"), "w") as out:
        out.write("Not a module.\n")
    bundle = os.path.join(root, "bundle.tar.gz")
    with tarfile.open(bundle, "w:gz") as tar:
        tar.add(os.path.join(code, "tasks.py"), "tasks.py")
        tar.add(os.path.join(code, "frames.py"), "frames.py")
        tar.add(os.path.join(code, "README.md"), "README.md")
    shadow = os.path.join(root, "shadow.tar.gz")
    with open(os.path.join(root, "decorator.py"), "w") as out:
        out.write("# Shadows an installed module that flytekit needs.\nraise ImportError('shadowed')\n")
    with tarfile.open(shadow, "w:gz") as tar:
        tar.add(os.path.join(code, "tasks.py"), "tasks.py")
        tar.add(os.path.join(root, "decorator.py"), "decorator.py")
    sys.path.insert(0, code)

    import frames
    import pandas as pd
    import tasks
    from flytekit import FlyteContextManager, FlyteDirectory, FlyteFile
    from flytekit.core.data_persistence import FileAccessProvider
    from flytekit.core.type_engine import TypeEngine

    store = os.path.join(root, "store")
    os.makedirs(store)
    with open(os.path.join(store, "text.txt"), "w") as out:
        out.write("some text\n")
    os.makedirs(os.path.join(store, "dir"))
    for name in ("one", "two"):
        with open(os.path.join(store, "dir", name), "w") as out:
            out.write(name)
    context = FlyteContextManager.current_context()
    access = FileAccessProvider(os.path.join(root, "sandbox"), os.path.join(store, "raw"))
    context = context.new_builder().with_file_access(access).build()

    def inputs(name, task, values):
        with FlyteContextManager.with_context(context.new_builder()) as current:
            types = task.python_interface.inputs
            if isinstance(values.get("n"), list):
                types = {"n": typing.List[types["n"]]}
            literals = TypeEngine.dict_to_literal_map(current, values, types)
        path = os.path.join(root, "inputs", f"{name}.pb")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(literals.to_flyte_idl().SerializeToString())
        return path

    cases = []

    def case(name, task="", values=None, code=0, env=None, fast=True, bundle=bundle, command=None):
        task = task or name
        module = frames if hasattr(frames, task) else tasks
        path = inputs(name, getattr(module, task), values or {})
        args = command or ["pyflyte-execute"]
        args += [
            "--inputs", path, "--output-prefix", "@OUT@/meta", "--raw-output-data-prefix", "@OUT@/raw",
            "--checkpoint-path", "@OUT@/checkpoints", "--prev-checkpoint", '""',
            "--resolver",
        ]
        if command is None:
            args += ["flytekit.core.python_auto_container.default_task_resolver", "--", "task-module", module.__name__, "task-name", task]
        else:
            args += [
                "flytekit.core.array_node_map_task.ArrayNodeMapTaskResolver", "--", "vars", "", "resolver",
                "flytekit.core.python_auto_container.default_task_resolver", "task-module", "tasks", "task-name", task,
            ]
        if fast:
            args = ["pyflyte-fast-execute", "--additional-distribution", bundle, "--dest-dir", ".", "--"] + args
        env = dict(env or {})
        if not fast:
            env["PYTHONPATH"] = env.get("PYTHONPATH", os.path.join(root, "code"))
        cases.append({"name": name.replace("_", "-"), "args": args, "env": env, "code": code})

    case("how")
    case("stays", values={"path": os.path.join(root, "pids")})
    case("nothing")
    case("plain", values={"a": 1, "b": "two"})
    case("plain_slow", "plain", values={"a": 1, "b": "two"}, fast=False)
    case("data", values={"point": tasks.Point(1, 2.5)})
    case("file", values={"source": FlyteFile(os.path.join(store, "text.txt"))})
    case("directory", values={"source": FlyteDirectory(os.path.join(store, "dir"))})
    case("frame", values={"source": pd.DataFrame({"x": [1, 2, 3], "y": ["a", "b", "c"]})})
    case("pickled", values={"n": 7})
    case("decked", values={"n": 7})
    case("failing", values={"n": 7})
    case("failing_hard", "failing", values={"n": 7}, env={"FLYTE_FAIL_ON_ERROR": "true"}, code=1)
    case("chained", values={"n": 7})
    case("recoverable", values={"n": 7})
    case("exits", values={"code": 3}, code=3)
    case("exits_slow", "exits", values={"code": 3}, fast=False, code=3)
    case("exits_at_once", values={"code": 5}, code=5)
    case("dies", values={"signal": 9}, code=247)
    case("dies_slow", "dies", values={"signal": 15}, fast=False, code=143)
    case("prints", values={"n": 7})
    case("prints_unbuffered", "prints", values={"n": 7}, env={"PYTHONUNBUFFERED": "1", "FLYTE_SDK_LOGGING_LEVEL": "20"})
    case("surroundings", env={"FLYTE_INTERNAL_EXECUTION_ID": "abc", "FLYTE_INTERNAL_TASK_VERSION": "v9", "FLYTE_SDK_LOGGING_LEVEL": "10"})
    case("surroundings_slow", "surroundings", fast=False, env={"FLYTE_INTERNAL_EXECUTION_ID": "abd"})
    case("chance")
    case("unflushed", values={"path": "unflushed.txt"})
    case("threads", values={"n": 1})
    case("learns", values={"n": 1})
    index = {"BATCH_JOB_ARRAY_INDEX_VAR_NAME": "FLYTE_K8S_ARRAY_INDEX", "FLYTE_K8S_ARRAY_INDEX": "1"}
    case("mapped", values={"n": [3, 4]}, command=["pyflyte-map-execute"], env=index)
    case("seeded", "plain", values={"a": 1, "b": "x"}, fast=False, env={"PYTHONHASHSEED": "0"})
    case("grows", values={"n": 3}, env={"_F_SS_C": settings(), "FLYTE_INTERNAL_TASK_VERSION": "v9"})
    case("missing", "plain", values={"a": 1, "b": "two"}, bundle=os.path.join(root, "no-such.tar.gz"), code=1)
    case("shadow", "plain", values={"a": 1, "b": "two"}, bundle=shadow, code=1)
    print(json.dumps(cases))


def settings():
    from flytekit.configuration import Image, ImageConfig, SerializationSettings

    image = ImageConfig(default_image=Image("default", "img", "1"))
    return SerializationSettings(image_config=image, project="p", domain="d", version="v9", python_interpreter="python").serialized_context


main(sys.argv[1])
