"""Makes a fork of a warm parent what a fresh interpreter would be, and runs a console script in it."""

import atexit
import ctypes
import gc
import importlib
import importlib.machinery
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import types

from unpack import Tar, fetch

PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None, use_errno=True)


def origin(name):
    """The file of a module, without making a lazy module load."""
    try:
        spec = object.__getattribute__(sys.modules[name], "__dict__").get("__spec__")
        return spec.origin or ""
    except (AttributeError, KeyError):
        return ""


def modules_with_provider():
    """Modules that hold the object which flytekit makes on import for access to files."""
    flytekit = [module for name, module in list(sys.modules.items()) if name.startswith("flytekit.")]
    return [module for module in flytekit if hasattr(module, "default_local_file_access_provider")]


def renew_flytekit(holders):
    """Does again what flytekit does on import with the environment it finds. Returns its temporary directory."""
    from flytekit import loggers
    from flytekit.configuration import DataConfig
    from flytekit.configuration.file import get_config_file
    from flytekit.core import data_persistence
    from flytekit.core.context_manager import FlyteContextManager

    tempfile.tempdir = None
    for log in (loggers.logger, loggers.user_space_logger, loggers.developer_logger):
        log.handlers.clear()
    loggers.initialize_global_loggers()
    get_config_file.cache_clear()
    directory = tempfile.mkdtemp(prefix="flyte-")
    data_persistence.flyte_tmp_dir = directory
    provider = data_persistence.FileAccessProvider(
        local_sandbox_dir=os.path.join(directory, "sandbox"),
        raw_output_prefix=os.path.join(directory, "raw"),
        data_config=DataConfig.auto(),
    )
    for module in holders:
        module.default_local_file_access_provider = provider
    FlyteContextManager.initialize()
    return directory


def rehearse():
    """Goes through what the definition of any task goes through, which fills the caches of libraries."""
    try:
        from flytekit.core.docstring import Docstring
        from flytekit.core.interface import transform_function_to_interface, transform_interface_to_typed_interface

        def task(x: int) -> int:
            """A task."""
            return x

        interface = transform_function_to_interface(task, Docstring(callable_=task))
        transform_interface_to_typed_interface(interface)
    except Exception as error:
        print(f"rehearsal: {error!r}", file=sys.stderr)


def wait_for_launch(reader, holders):
    """In a child that was forked ahead: prepares what every task needs, and waits for its own. None if there is none."""
    try:
        import fsspec.asyn
        from flytekit.utils.asyn import run_sync

        async def nothing():
            pass

        # Both start a thread with a loop, which children can't inherit.
        fsspec.asyn.get_loop()
        run_sync(nothing)
    except ImportError:
        pass
    rehearse()
    # It is done again in the environment of the task, but what is written to for the first time here is not copied then.
    shutil.rmtree(renew_flytekit(holders), ignore_errors=True)
    with open(reader, "rb") as pipe:
        header = pipe.read(4)
        data = pipe.read(int.from_bytes(header, "little")) if len(header) == 4 else b""
    return json.loads(data) if data else None


def renew_randomness(generators):
    for reference in generators:
        generator = reference()
        if generator is not None:
            generator.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def renew_streams():
    if os.environ.get("PYTHONUNBUFFERED"):
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            old = getattr(sys, name)
            raw = open(descriptor, "wb", 0, closefd=False)
            stream = io.TextIOWrapper(raw, old.encoding, old.errors, newline="\n", write_through=True)
            stream.mode = "w"
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def search_path(script, base):
    """`sys.path` as a fresh interpreter has it for a script."""
    path = []
    if not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated:
        path.append(os.path.dirname(script))
    own = []
    if not sys.flags.ignore_environment and os.environ.get("PYTHONPATH"):
        # `site` makes them absolute and drops repetitions.
        for entry in os.environ["PYTHONPATH"].split(os.pathsep):
            entry = os.path.abspath(entry)
            if entry not in own and entry not in base:
                own.append(entry)
    return path + own, own


def shadowed(directories, loaded):
    """A name that a fresh interpreter would find in these directories, but is already loaded from elsewhere."""
    for directory in directories:
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            stem = name.partition(".")[0]
            if stem in loaded:
                path = os.path.join(directory, name)
                # A directory that is no regular package never takes the place of a module.
                if name.endswith((".py", ".so", ".pyc")) or (name == stem and is_package(path)):
                    return path
    return None


def is_package(path):
    try:
        return any(name.startswith("__init__.") for name in os.listdir(path))
    except OSError:
        return False


class Interpreter:
    """Plays a fresh interpreter in a child."""

    def __init__(self, parent):
        self.parent = parent

    def enter(self, script, argv):
        """Sets up arguments and search path. False if a fresh interpreter would see other modules."""
        first, own = search_path(script, self.parent.base_path)
        if shadowed(own, self.parent.packages):
            return False
        sys.argv = [script, *argv]
        if hasattr(sys, "orig_argv"):
            sys.orig_argv = [sys.executable, *self.parent.flags, script, *argv]
        sys.path[:] = first + self.parent.base_path
        importlib.invalidate_caches()
        return True

    def run(self, script):
        """Runs a script as `__main__` and returns its exit code."""
        main = types.ModuleType("__main__")
        main.__file__ = script
        main.__builtins__ = __builtins__
        main.__loader__ = importlib.machinery.SourceFileLoader("__main__", script)
        main.__package__ = None
        main.__cached__ = None
        sys.modules["__main__"] = main
        try:
            with open(script, "rb") as file:
                code = compile(file.read(), script, "exec", dont_inherit=True)
            exec(code, main.__dict__)
        except SystemExit as error:
            return exit_code(error.code)
        except BaseException as error:
            trace = error.__traceback__.tb_next if error.__traceback__ else None
            error.__traceback__ = trace
            sys.excepthook(type(error), error, trace)
            if isinstance(error, KeyboardInterrupt):
                self.finish()
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGINT)
            return 1
        return 0

    def finish(self):
        """Does what an interpreter does at its end, except for taking itself apart."""
        threading._shutdown()
        atexit._run_exitfuncs()
        for thing in gc.get_objects():
            if type(thing) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
                try:
                    if not thing.closed and thing.writable():
                        thing.flush()
                except Exception:
                    pass
        status = 0
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None and not stream.closed:
                    stream.flush()
            except Exception:
                status = 120
        return status


def exit_code(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


class Child:
    """A forked process on its way to its task."""

    def __init__(self, parent, launch):
        self.parent = parent
        self.launch = launch
        self.interpreter = Interpreter(parent)
        self.embedded = False

    def main(self):
        try:
            self.become()
            script = self.launch["program"]
            ready = self.interpreter.enter(script, self.launch["argv"][1:])
        except BaseException as error:
            print(f"the warm start failed, starting cold: {error!r}", file=sys.stderr)
            ready = False
        if not ready:
            self.start_cold()
        if os.path.basename(script) == "pyflyte-fast-execute":
            self.stay_in_one_process()
        code = self.interpreter.run(script)
        status = self.interpreter.finish() or 0
        if code == 0 and status == 0:
            self.tell_what_was_imported()
        os._exit(code or status)

    def start_cold(self):
        sys.stderr.flush()
        os.execve(self.launch["program"], self.launch["argv"], self.launch["env"])

    def become(self):
        launch = self.launch
        os.setsid()
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        log = os.open(launch["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.chdir(launch["cwd"])
        zone = os.environ.get("TZ")
        os.environ.clear()
        os.environ.update(launch["env"])
        if zone != os.environ.get("TZ"):
            time.tzset()
        renew_streams()
        renew_randomness(self.parent.generators)
        if "logging" in sys.modules:
            sys.modules["logging"]._startTime = time.time()
        s3 = self.parent.s3
        self.embedded = s3 is not None and os.environ.get("FLYTE_AWS_ENDPOINT") == s3["endpoint"]
        if self.embedded:
            import fsspec

            for protocol in ("s3", "s3a"):
                fsspec.register_implementation(protocol, self.parent.s3_class, clobber=True)
        renew_flytekit(self.parent.holders)

    def stay_in_one_process(self):
        """Lets the command that unpacks code and starts another interpreter for it go on in this one."""
        from flytekit.bin import entrypoint

        start = getattr(entrypoint, "_run_subprocess", None)
        if start is None:
            # An older flytekit (1.13) starts the other interpreter in its own way, which is as good as a cold start.
            return
        fast_registration = sys.modules["flytekit.tools.fast_registration"]
        subprocess = fast_registration.subprocess
        fast_registration.subprocess = Tar(subprocess)

        def run_subprocess(cmd, env=None):
            fast_registration.subprocess = subprocess
            script = self.parent.scripts.get(cmd[0] if cmd else None)
            if script is None or env is None or shutil.which(cmd[0], path=env.get("PATH")) != script:
                return start(cmd, env)
            before = dict(os.environ)
            os.environ.clear()
            os.environ.update(env)
            if not self.interpreter.enter(script, [str(word) for word in cmd[1:]]):
                os.environ.clear()
                os.environ.update(before)
                return start(cmd, env)
            entrypoint._run_subprocess = start
            return self.interpreter.run(script)

        entrypoint._run_subprocess = run_subprocess
        download = getattr(entrypoint, "_download_distribution", None)
        if download is not None and self.embedded:
            directories = self.parent.s3["bucket-dirs"]
            entrypoint._download_distribution = lambda *words: fetch(directories, *words) or download(*words)

    def tell_what_was_imported(self):
        """Notes the installed modules that this task imported and the parent had not."""
        path = self.parent.learned
        if not path:
            return
        new = [name for name in list(sys.modules) if name not in self.parent.loaded]
        known = tuple(directory + os.sep for directory in self.parent.directories)
        names = [name for name in new if origin(name).startswith(known)]
        if names:
            line = json.dumps(names).encode() + b"\n"
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            os.write(file, line)
            os.close(file)
