"""Imports what Python tasks need, once, and then forks a child for every attempt.

Started by the supervisor with the interpreter of an environment; descriptor 3 is the socket to the supervisor, the
first argument a JSON document of settings. A child becomes what the interpreter would have become, had it been started
with the command line of the attempt: same arguments, environment, directories, search path, loggers and exit status.
Where that cannot be done, the child executes the command line instead, which is what a cold start does.

The parent never runs more than one thread, and imports nothing after its first fork.
"""

import atexit
import ctypes
import gc
import importlib
import importlib.machinery
import io
import json
import os
import random
import select
import shutil
import signal
import site
import socket
import struct
import sys
import sysconfig
import tarfile
import tempfile
import threading
import time
import types
import weakref
import zlib

CHANNEL = 3
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None, use_errno=True)

# The commands whose scripts are known, and what they import.
ENTRYPOINTS = ("pyflyte-execute", "pyflyte-fast-execute", "pyflyte-map-execute")
BASE_MODULES = ("flytekit.bin.entrypoint", "flytekit.core.array_node_map_task", "s3fs")

# A larger one is unpacked faster by a program.
LARGEST_ARCHIVE = 16 << 20

# Threads that libraries start on import and that survive a fork by their own means.
HARMLESS_THREADS = ("jemalloc_bg_thd",)

# What a parent reads of its environment while it imports must be the same for its children, except for what
# `renew` reads again for each of them.
RENEWED_PREFIXES = ("FLYTE", "_F_")
RENEWED = ("TMPDIR", "TEMP", "TMP", "AWS_")
NOT_RENEWED = ("FLYTE_SDK_RICH_TRACEBACKS",)


class Unfit(Exception):
    """This parent must not fork."""

    def __init__(self, reason, culprit=None):
        super().__init__(reason)
        self.culprit = culprit


def send(channel, message):
    data = json.dumps(message).encode()
    channel.sendall(struct.pack("<I", len(data)) + data)


def report(channel, **fields):
    send(channel, {"report": fields})


# ---- imports ----


class EnvironmentReads:
    """Notes which variables are read. Only Python's own `os.environ` is seen; the host knows those of C libraries."""

    def __init__(self):
        self.names = set()

    def __enter__(self):
        names, plain, copied = self.names, type(os.environ), []

        class Noted(plain):
            def __getitem__(self, key):
                # Whoever copies all of them, in their order, is not interested in any.
                if copied and copied[-1] == key:
                    copied.pop()
                else:
                    copied.clear()
                    names.add(key)
                return plain.__getitem__(self, key)

            def __contains__(self, key):
                names.add(key)
                return plain.__contains__(self, key)

            def __iter__(self):
                keys = list(plain.__iter__(self))
                copied[:] = reversed(keys)
                return iter(keys)

        self.plain = plain
        os.environ.__class__ = Noted
        return self

    def __exit__(self, *_):
        os.environ.__class__ = self.plain


class SeedsFromEntropy:
    """Notes the generators that were seeded from the operating system: each child must seed them anew."""

    def __init__(self):
        self.generators = []

    def __enter__(self):
        generators, plain = self.generators, random.Random.seed

        def seed(self, a=None, version=2):
            if a is None:
                generators.append(weakref.ref(self))
            return plain(self, a, version)

        self.plain = plain
        random.Random.seed = seed
        return self

    def __exit__(self, *_):
        random.Random.seed = self.plain


def threads():
    """Names of the threads besides this one."""
    names = []
    for task in os.listdir("/proc/self/task"):
        if int(task) != os.getpid():
            try:
                with open(f"/proc/self/task/{task}/comm") as comm:
                    names.append(comm.read().strip())
            except OSError:
                pass
    return [name for name in names if name not in HARMLESS_THREADS]


def survives_fork():
    """Whether only one thread is left after a fork. Good libraries stop theirs before and start them after it."""
    if threads():
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    return not threads()


def preload(modules, channel):
    """Imports what tasks have been seen to import, package by package."""
    packages = {}
    for name in modules:
        packages.setdefault(name.partition(".")[0], []).append(name)
    for package, names in packages.items():
        report(channel, ready=False, reason="importing", culprit=package)
        for name in names:
            try:
                # The attribute makes a lazy module load.
                getattr(importlib.import_module(name), "__doc__", None)
            except Exception as error:
                print(f"preload: {name}: {error!r}", file=sys.stderr)
        if not survives_fork():
            raise Unfit(f"importing {package} leaves threads running: {', '.join(threads())}", package)


def site_directories():
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    if site.ENABLE_USER_SITE:
        paths.add(site.getusersitepackages())
    return tuple(sorted(path for path in map(os.path.realpath, paths) if os.path.isdir(path)))


def changes(directories):
    """Changes when packages are installed or removed."""
    times = []
    for directory in directories:
        try:
            times.append(os.stat(directory).st_mtime_ns)
        except OSError:
            times.append(0)
    return times


def origin(name):
    """The file of a module, without making a lazy module load."""
    try:
        spec = object.__getattribute__(sys.modules[name], "__dict__").get("__spec__")
        return spec.origin or ""
    except (AttributeError, KeyError):
        return ""


def foreign_modules(directories):
    """Modules that are neither of the interpreter nor installed: they may be edited while this parent lives."""
    standard = tuple({os.path.realpath(sysconfig.get_path("stdlib")), os.path.realpath(sysconfig.get_path("platstdlib"))})
    known = tuple(path + os.sep for path in directories + standard)
    own = os.path.dirname(os.path.realpath(__file__)) + os.sep
    found = []
    for name in list(sys.modules):
        path = origin(name)
        if os.path.isabs(path) and not os.path.realpath(path).startswith(known + (own,)):
            found.append(name)
    return found


# ---- what a fresh interpreter would have done ----


def modules_with_provider():
    """Modules that hold the object which flytekit makes on import for access to files."""
    flytekit = [module for name, module in list(sys.modules.items()) if name.startswith("flytekit.")]
    return [module for module in flytekit if hasattr(module, "default_local_file_access_provider")]


def renew_flytekit(holders):
    """Does again what flytekit does on import with the environment it finds."""
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


class Tar:
    """Stands in for the module `subprocess` where flytekit runs `tar`: two processes cost more than the whole fork.

    Only what every tar would unpack alike is unpacked here, anything else is left to the real one.
    """

    def __init__(self, subprocess):
        self.subprocess = subprocess

    def __getattr__(self, name):
        return getattr(self.subprocess, name)

    def run(self, command, **options):
        if len(command) == 5 and command[:2] == ["tar", "-xvf"] and command[3] == "-C":
            try:
                if unpack(command[2], command[4]):
                    return self.subprocess.CompletedProcess(command, 0, b"", b"")
            except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error):
                pass
        return self.subprocess.run(command, **options)


def unpack(archive, directory):
    """Unpacks an archive of plain files and directories. False, with nothing done, for any other."""
    if os.path.getsize(archive) > LARGEST_ARCHIVE:
        return False
    with tarfile.open(archive, "r:*") as tar:
        members = tar.getmembers()
        root = os.geteuid() == 0
        for member in members:
            parts = member.name.split("/")
            plain = (member.isreg() or member.isdir()) and not member.issparse() and ".." not in parts
            # As root, tar gives files to the owner that the archive names.
            own = not root or (member.uid, member.gid, member.uname or "root", member.gname or "root") == (0, 0, "root", "root")
            if not plain or not own or member.name.startswith("/") or member.mode & 0o7000:
                return False
        mask = 0
        if not root:
            mask = os.umask(0)
            os.umask(mask)
        later = []
        for member in members:
            path = os.path.join(directory, member.name)
            if member.isdir():
                os.makedirs(path, exist_ok=True)
                later.append((path, member))
                continue
            try:
                os.unlink(path)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as file:
                shutil.copyfileobj(tar.extractfile(member), file)
            os.chmod(path, member.mode & ~mask)
            os.utime(path, (time.time(), member.mtime))
        # Directories last: they may not be writable, and writing changes their times.
        for path, member in reversed(later):
            os.chmod(path, member.mode & ~mask)
            os.utime(path, (time.time(), member.mtime))
    return True


# ---- the child ----


class Child:
    """A forked process on its way to its task."""

    def __init__(self, parent, launch):
        self.parent = parent
        self.launch = launch
        self.interpreter = Interpreter(parent)

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
        if s3 is not None and os.environ.get("FLYTE_AWS_ENDPOINT") == s3["endpoint"]:
            import fsspec

            for protocol in ("s3", "s3a"):
                fsspec.register_implementation(protocol, self.parent.s3_class, clobber=True)
        renew_flytekit(self.parent.holders)

    def stay_in_one_process(self):
        """Lets the command that unpacks code and starts another interpreter for it go on in this one."""
        from flytekit.bin import entrypoint

        start = entrypoint._run_subprocess
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


# ---- the parent ----


class Parent:
    def __init__(self, settings, channel):
        self.channel = channel
        self.flags = settings["flags"]
        self.scripts = settings["scripts"]
        self.learned = settings.get("learned")
        self.s3 = settings.get("s3")
        self.s3_class = None
        self.children = {}
        self.retired = False
        self.directories = site_directories()
        self.changes = changes(self.directories)
        self.prepare(settings)

    def prepare(self, settings):
        start = time.monotonic()
        with SeedsFromEntropy() as seeds:
            with EnvironmentReads() as imports:
                for name in BASE_MODULES:
                    importlib.import_module(name)
                if self.s3 is not None:
                    import embedded_s3

                    # A module of a task may have that name.
                    del sys.modules["embedded_s3"]
                    self.s3_class = embedded_s3.embed(self.s3["endpoint"], self.s3["bucket-dirs"], self.s3.get("temp-dir"))
                preload(settings.get("preload", []), self.channel)
            with EnvironmentReads() as renewal:
                self.holders = modules_with_provider()
                renew_flytekit(self.holders)
        self.generators = seeds.generators
        self.base_path = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
        if not survives_fork():
            raise Unfit(f"importing flytekit leaves threads running: {', '.join(threads())}")
        foreign = foreign_modules(self.directories)
        if foreign:
            raise Unfit(f"{foreign[0]} is not an installed module and may change: {origin(foreign[0])}")
        renewed = {name for name in renewal.names if name.startswith(RENEWED_PREFIXES + RENEWED)} - set(NOT_RENEWED)
        self.loaded = frozenset(sys.modules)
        self.packages = {name.partition(".")[0] for name in self.loaded} | {"sitecustomize", "usercustomize"}
        self.module = sys.modules["__main__"]
        gc.collect()
        # Children never look at these objects again, which keeps the pages shared.
        gc.freeze()
        sys.stdout.flush()
        sys.stderr.flush()
        report(
            self.channel,
            ready=True,
            env_read=sorted(imports.names - renewed),
            modules=len(sys.modules),
            seconds=time.monotonic() - start,
        )

    def serve(self):
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.reader, self.writer = reader, writer
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(reader, select.POLLIN)
        inbox = b""
        while not (self.retired and not self.children):
            for descriptor, _ in poll.poll():
                if descriptor == reader:
                    try:
                        os.read(reader, 4096)
                    except BlockingIOError:
                        pass
                    self.reap()
                else:
                    data = self.channel.recv(1 << 16)
                    if not data:
                        self.abandon()
                    inbox += data
                    while len(inbox) >= 4:
                        (length,) = struct.unpack_from("<I", inbox)
                        if len(inbox) < 4 + length:
                            break
                        message, inbox = json.loads(inbox[4 : 4 + length]), inbox[4 + length :]
                        self.handle(message)

    def handle(self, message):
        if message == "retire":
            self.retired = True
        else:
            self.fork(message["fork"])

    def fork(self, launch):
        number = launch["id"]
        if self.retired:
            return send(self.channel, {"refused": {"id": number, "reason": "retired"}})
        if changes(self.directories) != self.changes:
            return send(self.channel, {"refused": {"id": number, "reason": "stale"}})
        try:
            pid = os.fork()
        except OSError as error:
            return send(self.channel, {"refused": {"id": number, "reason": str(error)}})
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.channel.close()
            os.close(self.reader)
            os.close(self.writer)
            try:
                Child(self, launch).main()
            finally:
                os._exit(70)
        self.children[pid] = number
        send(self.channel, {"started": {"id": number, "pid": pid}})

    def reap(self):
        while self.children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self.children.pop(pid, None)
            if number is not None:
                used = {"cpu_seconds": usage.ru_utime + usage.ru_stime, "max_rss": usage.ru_maxrss * 1024}
                send(self.channel, {"exited": {"id": number, "status": status, **used}})

    def abandon(self):
        """The supervisor is gone, and with it the right to run anything."""
        for pid in self.children:
            for target in (-pid, pid):
                try:
                    os.kill(target, signal.SIGKILL)
                except OSError:
                    pass
        os._exit(1)


def main():
    channel = socket.socket(fileno=CHANNEL)
    channel.set_inheritable(False)
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path != own] + [own]
    settings = json.loads(sys.argv[1])
    sys.argv = [settings["scripts"][ENTRYPOINTS[0]]]
    try:
        parent = Parent(settings, channel)
    except Unfit as error:
        report(channel, ready=False, reason=str(error), culprit=error.culprit)
        return
    except Exception as error:
        report(channel, ready=False, reason=f"{type(error).__name__}: {error}")
        raise
    parent.serve()


if __name__ == "__main__":
    main()
