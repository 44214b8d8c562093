"""Runs the cases of the named modules side by side: `python constructs_run.py constructs_branch constructs_map ...`.

A module has `ENTITIES`, what is registered before, and functions `case_...`, each of which runs in a thread of its own.
`ONLY` in the environment names the cases to run.
"""

import contextvars
import copy
import importlib
import itertools
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from checks import NODE_PHASES, check
from common import DOMAIN, PROJECT, phase, remote, version
from flytekit import LaunchPlan
from flytekit.configuration import FastSerializationSettings, ImageConfig, SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.context_manager import FlyteContextManager

#: What one case may take at most, other cases running beside it.
LIMIT = int(os.environ.get("CONSTRUCTS_LIMIT", "240"))


class World:
    """A client and what was registered for it."""

    def __init__(self, client, v, location):
        self.client, self.v = client, v
        self.places = tempfile.mkdtemp(prefix="pinion-constructs-")
        self.settings = SerializationSettings(
            image_config=ImageConfig.auto_default_image(),
            project=PROJECT,
            domain=DOMAIN,
            version=v,
            fast_serialization_settings=FastSerializationSettings(
                enabled=True, destination_dir=".", distribution_location=location
            ),
        )
        self.known = {}
        self.lock = threading.Lock()

    def for_case(self, name):
        """The same with a client and a place for files of its own."""
        world = copy.copy(self)
        world.places = os.path.join(self.places, name)
        os.makedirs(world.places)
        world.client = remote(tempfile.mkdtemp(dir=self.places))
        return world

    def register(self, entity, options=None):
        """Registers an entity once and gives the registered one."""
        with self.lock:
            if id(entity) in self.known:
                return self.known[id(entity)]
            if isinstance(entity, LaunchPlan):
                found = self.client.register_launch_plan(entity, version=self.v, serialization_settings=self.settings)
            elif isinstance(entity, PythonTask):
                found = self.client.register_task(entity, serialization_settings=self.settings, version=self.v)
            else:
                found = self.client.register_workflow(entity, serialization_settings=self.settings, version=self.v, options=options)
            self.known[id(entity)] = found
            return found

    def run(self, entity, execution_name=None, options=None, envs=None, overwrite_cache=None, interruptible=None, **inputs):
        """Starts an execution."""
        return self.client.execute(
            self.register(entity), inputs=inputs, execution_name=execution_name, options=options, envs=envs,
            overwrite_cache=overwrite_cache, interruptible=interruptible, wait=False,
        )

    def end(self, execution, wanted="SUCCEEDED", seconds=LIMIT):
        """Waits for the end, which must be the wanted one, and gives the execution with all its nodes."""
        until = time.monotonic() + seconds
        pause = 0.1
        for n_looks in itertools.count():
            # What is half done must be readable as well.
            execution = self.client.sync_execution(execution, sync_nodes=n_looks % 3 == 1)
            if execution.is_done:
                break
            check(time.monotonic() < until, f"{execution.id.name} is {phase(execution)} after {seconds} s: {self.picture(execution)}")
            time.sleep(pause)
            pause = min(pause * 1.3, 1.0)
        self.client.sync_execution(execution, sync_nodes=True)
        check(phase(execution) == wanted, f"{execution.id.name} is {phase(execution)}, not {wanted}: {self.picture(execution)} {getattr(execution.closure.error, 'message', '')}")
        return execution

    def result(self, entity, execution_name=None, options=None, **inputs):
        """Runs to the successful end and gives the execution."""
        return self.end(self.run(entity, execution_name=execution_name, options=options, **inputs))

    def fails(self, entity, *words, **inputs):
        """Runs to the failed end, whose error has the words, and gives the execution."""
        execution = self.end(self.run(entity, **inputs), "FAILED")
        for word in words:
            check(word in f"{execution.closure.error.code} {execution.closure.error.message}", f"`{word}` is not in {execution.closure.error}")
        return execution

    def file(self, name):
        """A place for tasks to leave traces; nothing is there yet."""
        return os.path.join(self.places, name)

    def lines(self, at):
        """What tasks left."""
        return open(at).read().splitlines() if os.path.exists(at) else []

    def until(self, what, condition, seconds=60):
        """Waits until the condition gives something."""
        until = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            check(time.monotonic() < until, f"{what} did not happen within {seconds} s")
            time.sleep(0.1)

    def synced(self, execution):
        """The execution as it is now, with its nodes."""
        return self.client.sync_execution(execution, sync_nodes=True)

    def until_node(self, execution, node, wanted, seconds=60):
        """Waits until a top-level node is in a phase."""

        def reached():
            found = self.synced(execution).node_executions.get(node)
            return found is not None and NODE_PHASES[found.closure.phase] in wanted.split()

        self.until(f"{node} of {execution.id.name} being {wanted}", reached, seconds)

    def list_nodes(self, execution, parent=None):
        """Rows of nodes as a list call gives them."""
        found, token = [], None
        while True:
            page, token = self.client.client.list_node_executions(execution.id, limit=100, token=token, unique_parent_id=parent)
            found += page
            if not token:
                return found

    def picture(self, execution):
        """Phases of all top-level nodes, for messages."""
        try:
            return {n.id.node_id: NODE_PHASES[n.closure.phase] for n in self.list_nodes(execution)}
        except Exception as error:  # noqa: BLE001
            return f"no nodes: {error}"


def main(names):
    client = remote()
    modules = [importlib.import_module(name) for name in names]
    here = pathlib.Path(__file__).parent
    _, location = client.fast_package(here)
    world = World(client, version(), location)
    failed = []
    for module in modules:
        for entity in module.ENTITIES:
            try:
                world.register(entity)
            except Exception:  # noqa: BLE001
                failed.append(entity.name)
                print(f"--- {entity.name} can't be registered\n{traceback.format_exc()}", flush=True)
    only = os.environ.get("ONLY", "").split()
    found = [function for module in modules for name, function in vars(module).items() if name.startswith("case_")]
    cases = [function for function in found if not only or function.__name__ in only]
    slowest = []

    def run(function):
        # The stack of contexts of flytekit is not made for several threads.
        FlyteContextManager.initialize()
        begin = time.monotonic()
        try:
            function(world.for_case(function.__name__))
        except BaseException:  # noqa: BLE001
            failed.append(function.__name__)
            print(f"--- {function.__module__}.{function.__name__} failed\n{traceback.format_exc()}", flush=True)
        slowest.append((time.monotonic() - begin, function.__name__))

    begin = time.monotonic()
    with ThreadPoolExecutor(max(1, len(cases))) as pool:
        for future in [pool.submit(contextvars.copy_context().run, run, c) for c in cases]:
            future.result()
    shutil.rmtree(world.places, ignore_errors=True)
    print(f"{len(cases)} cases in {time.monotonic() - begin:.1f} s; slowest: {sorted(slowest, reverse=True)[:5]}")
    if failed:
        print("FAILED:", " ".join(failed))
        sys.exit(1)
    print("SCENARIO OK")


if __name__ == "__main__":
    main(sys.argv[1:])
