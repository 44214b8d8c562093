"""Imports what Python tasks need, once, and then forks a child for every attempt.

Started by the supervisor with the interpreter of an environment; descriptor 3 is the socket to the supervisor, the
first argument a file with settings as JSON. A child becomes what the interpreter would have become, had it been started
with the command line of the attempt: same arguments, environment, directories, search path, loggers and exit status.
Where that cannot be done, the child executes the command line instead, which is what a cold start does.

The parent never runs more than one thread, and imports nothing after its first fork.
"""

import gc
import importlib
import json
import os
import random
import select
import signal
import site
import socket
import struct
import sys
import sysconfig
import time
import weakref

# Not there in every mode of the interpreter.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import child  # noqa: E402

CHANNEL = 3

# What the known console scripts import.
BASE_MODULES = ("flytekit.bin.entrypoint", "flytekit.core.array_node_map_task", "s3fs")

# Threads that libraries start on import and that survive a fork by their own means.
HARMLESS_THREADS = ("jemalloc_bg_thd",)

# What a parent reads of its environment while it imports must be the same for its children, except for what
# a child reads again for itself.
RENEWED = ("FLYTE", "_F_", "TMPDIR", "TEMP", "TMP", "AWS_")
NOT_RENEWED = ("FLYTE_SDK_RICH_TRACEBACKS",)

# Milliseconds without anything to do before a spare child is made, and before one that nobody wanted is let go.
SPARE_AFTER = 2
SPARE_KEPT = 60_000

# The modules of these scripts. A task may have modules of the same names.
OWN_MODULES = ("child", "embedded_s3", "unpack")


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


class EnvironmentReads:
    """Notes which variables are read. Only Python's own `os.environ` is seen; the host knows those of C libraries."""

    def __init__(self):
        self.names = set()

    def __enter__(self):
        names, plain, copied = self.names, type(os.environ), []

        def note(key):
            # A variable may be asked for by bytes; what is neither is the error of the one who asks.
            if isinstance(key, (str, bytes)):
                names.add(os.fsdecode(key))

        class Noted(plain):
            def __getitem__(self, key):
                # Whoever copies all of them, in their order, is not interested in any.
                if copied and copied[-1] == key:
                    copied.pop()
                else:
                    copied.clear()
                    note(key)
                return plain.__getitem__(self, key)

            def __contains__(self, key):
                note(key)
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


def both(paths):
    """Paths as they are named and as they really are: either may be a link."""
    return tuple(sorted({name for path in paths if path for name in (os.path.abspath(path), os.path.realpath(path)) if os.path.isdir(name)}))


def site_directories():
    paths = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        paths.append(site.getusersitepackages())
    return both(paths)


def changes(directories):
    """Changes when packages are installed or removed."""
    times = []
    for directory in directories:
        try:
            times.append(os.stat(directory).st_mtime_ns)
        except OSError:
            times.append(0)
    return times


def foreign_modules(directories):
    """Modules that are neither of the interpreter nor installed: they may be edited while this parent lives."""
    standard = both([sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")])
    known = tuple(path + os.sep for path in directories + standard)
    found = []
    for name in list(sys.modules):
        path = child.origin(name)
        inside = path.startswith(known) or os.path.realpath(path).startswith(known)
        if name != "__main__" and os.path.isabs(path) and not inside:
            found.append(name)
    return found


class Spare:
    """A child that was forked ahead of its task and waits for it."""

    def __init__(self, pid, writer):
        self.pid = pid
        self.writer = writer

    def take(self, launch):
        """Hands it its task. False if it is not there any more."""
        data = json.dumps(launch).encode()
        try:
            with self.writer as writer:
                writer.write(struct.pack("<I", len(data)) + data)
        except OSError:
            return False
        return True

    def dismiss(self):
        """It ends when it sees that nobody is left who could hand it a task."""
        self.writer.close()


class Parent:
    def __init__(self, settings, channel):
        self.channel = channel
        self.flags = settings["flags"]
        self.scripts = settings["scripts"]
        self.learned = settings.get("learned")
        self.s3 = settings.get("s3")
        self.s3_class = None
        self.children = {}
        self.keeps_spare = settings.get("spare", False)
        self.spare = None
        # Nobody has forked since the last spare was let go.
        self.quiet = True
        self.processors = len(os.sched_getaffinity(0))
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

                    self.s3_class = embedded_s3.embed(self.s3["endpoint"], self.s3["bucket-dirs"], self.s3.get("temp-dir"))
                preload(settings.get("preload", []), self.channel)
            with EnvironmentReads() as renewal:
                self.holders = child.modules_with_provider()
                child.renew_flytekit(self.holders)
        child.rehearse()
        self.generators = seeds.generators
        self.base_path = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
        if not survives_fork():
            raise Unfit(f"importing flytekit leaves threads running: {', '.join(threads())}")
        for name in OWN_MODULES:
            sys.modules.pop(name, None)
        foreign = foreign_modules(self.directories)
        if foreign:
            raise Unfit(f"{foreign[0]} is not an installed module and may change: {child.origin(foreign[0])}")
        renewed = {name for name in renewal.names if name.startswith(RENEWED)} - set(NOT_RENEWED)
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
            events = poll.poll(self.patience())
            if not events:
                self.idle()
            for descriptor, _ in events:
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

    def patience(self):
        """Milliseconds to wait for something to happen; None is for ever."""
        if self.spare is not None:
            return SPARE_KEPT
        # While all processors are at work, a spare would take from the tasks what it saves.
        wanted = self.keeps_spare and not self.quiet and not self.retired and len(self.children) < self.processors
        return SPARE_AFTER if wanted else None

    def idle(self):
        """Nothing happened for as long as `patience` said."""
        if self.spare is None:
            self.spare = self.fork_spare()
            self.quiet = self.spare is None
        else:
            self.dismiss_spare()
            self.quiet = True

    def dismiss_spare(self):
        if self.spare is not None:
            self.spare.dismiss()
            self.spare = None

    def handle(self, message):
        if message == "retire":
            self.retired = True
            self.dismiss_spare()
        else:
            self.fork(message["fork"])

    def fork(self, launch):
        number = launch["id"]
        if self.retired:
            return send(self.channel, {"refused": {"id": number, "reason": "retired"}})
        if changes(self.directories) != self.changes:
            self.dismiss_spare()
            return send(self.channel, {"refused": {"id": number, "reason": "stale"}})
        self.quiet = False
        spare, self.spare = self.spare, None
        if spare is not None and spare.take(launch):
            pid = spare.pid
        else:
            try:
                pid = os.fork()
            except OSError as error:
                return send(self.channel, {"refused": {"id": number, "reason": str(error)}})
            if pid == 0:
                self.be_child(lambda: launch)
        self.children[pid] = number
        send(self.channel, {"started": {"id": number, "pid": pid}})

    def fork_spare(self):
        """Forks a child that waits for its task; None if that is not possible now."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            return None
        if pid == 0:
            os.close(writer)
            self.be_child(lambda: child.wait_for_launch(reader, self.holders))
        os.close(reader)
        return Spare(pid, open(writer, "wb"))

    def be_child(self, launch):
        """Is the whole life of a child, from the fork on."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.channel.close()
            os.close(self.reader)
            os.close(self.writer)
            wanted = launch()
            if wanted is None:
                os._exit(0)
            child.Child(self, wanted).main()
        finally:
            os._exit(70)

    def reap(self):
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.spare is not None and self.spare.pid == pid:
                self.dismiss_spare()
            number = self.children.pop(pid, None)
            if number is not None:
                used = {"cpu_seconds": usage.ru_utime + usage.ru_stime, "max_rss": usage.ru_maxrss * 1024}
                send(self.channel, {"exited": {"id": number, "status": status, **used}})

    def abandon(self):
        """The supervisor is gone, and with it the right to run anything. A spare ends by itself."""
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
    # Own modules last, so that they are never in the way.
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path != own] + [own]
    with open(sys.argv[1]) as file:
        settings = json.load(file)
    os.unlink(sys.argv[1])
    sys.argv = sys.argv[:1]
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
