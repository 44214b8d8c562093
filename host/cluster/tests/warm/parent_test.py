"""Tests the scripts of the warm parents where they stand.

    parent_test.py <directory of the scripts>
"""

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, sys.argv.pop(1))
import child
import embedded_s3
import fsspec
import parent
import unpack


class Preload(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        sys.path.insert(0, self.directory)
        self.ours, self.theirs = socket.socketpair()

    def tearDown(self):
        sys.path.remove(self.directory)
        self.ours.close()
        self.theirs.close()

    def module(self, name, text):
        with open(os.path.join(self.directory, f"{name}.py"), "w") as out:
            out.write(text)

    def preload(self, modules):
        """Imports in a process of its own, which has one thread; returns the culprit and what was imported."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            culprit = None
            try:
                parent.preload(modules, self.ours)
            except parent.Unfit as unfit:
                culprit = unfit.culprit
            os.write(writer, json.dumps([culprit, [name for name in modules if name in sys.modules]]).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        os.close(writer)
        with open(reader, "rb") as answer:
            return json.load(answer)

    def test_a_module_that_starts_threads_is_the_culprit(self):
        self.module("quiet_one", "import json\n")
        self.module("busy_one", "import threading, time\nthreading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n")
        culprit, imported = self.preload(["quiet_one", "busy_one", "never_seen"])
        self.assertEqual((culprit, imported), ("busy_one", ["quiet_one", "busy_one"]))

    def test_what_cannot_be_imported_is_left_out(self):
        self.module("broken_one", "raise ValueError\n")
        self.module("fine_one", "")
        self.assertEqual(self.preload(["broken_one", "no_such_one", "fine_one"]), [None, ["fine_one"]])

    def test_installing_a_package_is_noticed(self):
        before = parent.changes([self.directory])
        os.utime(self.directory, (1, 1))
        self.assertNotEqual(parent.changes([self.directory]), before)

    def test_reads_of_the_environment_are_noted_and_copies_are_not(self):
        os.environ["READ_ONE"] = os.environ["COPIED_ONE"] = "x"
        with parent.EnvironmentReads() as reads:
            os.environ.get("READ_ONE")
            os.getenv("ABSENT_ONE")
            dict(os.environ)
            os.environ.copy()
            {**os.environ}
            list(os.environ.items())
            "ASKED_ONE" in os.environ
            with self.assertRaises(TypeError):
                b"BYTES_ONE" in os.environ
        self.assertEqual(reads.names, {"READ_ONE", "ABSENT_ONE", "ASKED_ONE", "BYTES_ONE"})
        self.assertIs(type(os.environ), os._Environ)

    def test_only_generators_seeded_by_chance_are_seeded_anew(self):
        import random

        with parent.SeedsFromEntropy() as seeds:
            chance, fixed = random.Random(), random.Random(7)
        before = chance.getstate(), fixed.getstate()
        child.renew_randomness(seeds.generators)
        self.assertNotEqual(chance.getstate(), before[0])
        self.assertEqual(fixed.getstate(), before[1])


class SearchPath(unittest.TestCase):
    def test_shadows_are_found(self):
        directory = tempfile.mkdtemp()
        for name in ("data", "json", "regular"):
            os.mkdir(os.path.join(directory, name))
        open(os.path.join(directory, "regular", "__init__.py"), "w").close()
        open(os.path.join(directory, "notes.txt"), "w").close()
        self.assertIsNone(child.shadowed([directory], {"data", "json", "notes"}))
        self.assertIsNotNone(child.shadowed([directory], {"regular"}))
        open(os.path.join(directory, "types.py"), "w").close()
        self.assertIsNotNone(child.shadowed([directory], {"types"}))

    def test_it_is_that_of_a_fresh_interpreter(self):
        directory = os.path.realpath(tempfile.mkdtemp())
        script = os.path.join(directory, "bin", "script")
        os.mkdir(os.path.dirname(script))
        with open(script, "w") as out:
            out.write("import json, sys\nprint(json.dumps(sys.path))\n")
        python_path = os.pathsep.join(["a", os.path.join(directory, "b"), "a", "", directory])
        os.environ["PYTHONPATH"] = python_path
        os.chdir(directory)
        try:
            fresh = json.loads(subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout)
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            bare = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env=environment).stdout
            base = json.loads(bare)[1:]
            first, _ = child.search_path(script, base)
            self.assertEqual(first + base, fresh)
        finally:
            del os.environ["PYTHONPATH"]


class Unpack(unittest.TestCase):
    def archive(self, add):
        path = os.path.join(tempfile.mkdtemp(), "a.tar.gz")
        with tarfile.open(path, "w:gz") as tar:
            add(tar)
        return path

    def test_it_is_what_tar_does(self):
        def add(tar):
            for name, mode, data in (("a.py", 0o644, b"a"), ("d/b.sh", 0o755, b"b"), ("d/e/c", 0o400, b""), ("a.py", 0o600, b"again")):
                info = tarfile.TarInfo(name)
                info.size, info.mode, info.mtime = len(data), mode, 1_000_000
                tar.addfile(info, io.BytesIO(data))
            info = tarfile.TarInfo("d")
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o750, 2_000_000
            tar.addfile(info)

        path = self.archive(add)
        trees = []
        for run in (lambda to: self.assertTrue(unpack.unpack(path, to)), lambda to: subprocess.run(["tar", "-xf", path, "-C", to], check=True)):
            to = tempfile.mkdtemp()
            run(to)
            tree = {}
            for directory, names, files in os.walk(to):
                for name in names + files:
                    full = os.path.join(directory, name)
                    stat = os.stat(full)
                    # Directories that the archive does not name are as old as they are.
                    time = stat.st_mtime if name != "e" else 0
                    content = None
                    if name in files:
                        with open(full, "rb") as file:
                            content = file.read()
                    tree[os.path.relpath(full, to)] = (stat.st_mode, time, content)
            trees.append(tree)
        self.assertEqual(trees[0], trees[1])

    def test_anything_odd_is_left_to_tar(self):
        def link(tar):
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)

        for add in (link, lambda tar: tar.addfile(tarfile.TarInfo("../out")), lambda tar: tar.addfile(tarfile.TarInfo("/abs"))):
            to = tempfile.mkdtemp()
            self.assertFalse(unpack.unpack(self.archive(add), to))
            self.assertEqual(os.listdir(to), [])


class Embedded(unittest.TestCase):
    ENDPOINT = "http://127.0.0.1:1"

    def setUp(self):
        self.data = tempfile.mkdtemp()
        self.bucket = os.path.join(self.data, "s3", "b")
        os.makedirs(self.bucket)
        cls = embedded_s3.embed(self.ENDPOINT, {"b": self.bucket}, None)
        fsspec.register_implementation("s3", cls, clobber=True)
        self.fs = cls(key="k", secret="s", client_kwargs={"endpoint_url": self.ENDPOINT}, skip_instance_cache=True)

    def path(self, key):
        return os.path.join(self.bucket, key)

    def write(self, key, data=b"x"):
        os.makedirs(os.path.dirname(self.path(key)), exist_ok=True)
        with open(self.path(key), "wb") as out:
            out.write(data)

    def test_what_is_written_is_a_file_and_nothing_else_is_visible(self):
        self.fs.pipe_file("s3://b/d/a", b"12345")
        with self.fs.open("s3://b/d/e/f", "wb") as out:
            out.write(b"open")
        with open(self.path("d/a"), "rb") as file:
            self.assertEqual(file.read(), b"12345")
        self.assertEqual(sorted(self.fs.find("s3://b/d")), ["b/d/a", "b/d/e/f"])
        self.assertEqual(os.listdir(os.path.join(self.data, ".tmp")), [])
        self.assertEqual(self.fs.cat("s3://b/d/e/f"), b"open")

    def test_ranges_and_streams(self):
        self.write("r", bytes(range(100)))
        self.assertEqual(self.fs.cat_file("b/r", start=10, end=12), bytes([10, 11]))
        self.assertEqual(self.fs.cat_file("b/r", start=-3), bytes([97, 98, 99]))
        with self.fs.open("s3://b/r", "rb", block_size=7) as file:
            file.seek(90)
            self.assertEqual(file.read(), bytes(range(90, 100)))

    def test_directories_are_prefixes(self):
        self.write("p/q/r")
        os.makedirs(self.path("empty/deep"))
        self.assertTrue(self.fs.isdir("s3://b/p") and self.fs.isdir("s3://b/p/q") and self.fs.isfile("s3://b/p/q/r"))
        self.assertFalse(self.fs.exists("s3://b/empty") or self.fs.exists("s3://b/p/q/r/s") or self.fs.exists("s3://b/pq"))
        self.assertEqual(self.fs.ls("s3://b/p"), ["b/p/q"])
        self.assertEqual(self.fs.info("s3://b/p/q/r")["size"], 1)
        with self.assertRaises(FileNotFoundError):
            self.fs.info("s3://b/none")
        with self.assertRaises(FileNotFoundError):
            self.fs.open("s3://b/none").read()

    def test_keys_are_listed_in_their_order(self):
        for key in ("a/b", "a.c", "a0", "a/a", "ab"):
            self.write(f"o/{key}")
        listed = embedded_s3.list_objects_v2(embedded_s3.Buckets({"b": self.bucket}, None), "b", Prefix="o/a")
        self.assertEqual([item["Key"] for item in listed["Contents"]], ["o/a.c", "o/a/a", "o/a/b", "o/a0", "o/ab"])

    def test_trees_come_and_go(self):
        source = tempfile.mkdtemp()
        os.makedirs(os.path.join(source, "x/y"))
        for name in ("one", "x/two", "x/y/three"):
            with open(os.path.join(source, name), "w") as out:
                out.write(name)
        self.fs.put(source + "/", "s3://b/tree/", recursive=True)
        back = tempfile.mkdtemp()
        self.fs.get("s3://b/tree/", back + "/", recursive=True)
        with open(os.path.join(back, "x/y/three")) as file:
            self.assertEqual(file.read(), "x/y/three")
        self.fs.copy("s3://b/tree/one", "s3://b/copies/one")
        self.assertEqual(self.fs.cat("s3://b/copies/one"), b"one")
        self.fs.rm("s3://b/tree", recursive=True)
        self.assertFalse(os.path.exists(self.path("tree")))
        self.assertTrue(os.path.isdir(self.bucket))

    def test_large_files_go_in_parts(self):
        source = os.path.join(tempfile.mkdtemp(), "large")
        with open(source, "wb") as out:
            for part in range(13):
                out.write(bytes([part]) * (1 << 20))
        self.fs.put_file(source, "s3://b/large", chunksize=5 << 20)
        with open(source, "rb") as a, open(self.path("large"), "rb") as b:
            self.assertEqual(a.read(), b.read())
        with self.fs.open("s3://b/stream", "wb", block_size=5 << 20) as out:
            for part in range(13):
                out.write(bytes([part]) * (1 << 20))
        self.assertEqual(os.path.getsize(self.path("stream")), 13 << 20)
        self.assertEqual(os.listdir(os.path.join(self.data, ".tmp")), [])

    def test_exclusive_creation(self):
        self.fs.pipe_file("b/once", b"1", mode="create")
        with self.assertRaises(FileExistsError):
            self.fs.pipe_file("b/once", b"2", mode="create")
        self.assertEqual(self.fs.cat("b/once"), b"1")

    def test_others_go_over_http(self):
        for path in ("s3://other/x", "s3://b/a//b", "s3://b/../x"):
            with self.assertRaises(Exception) as caught:
                self.fs.retries = 1
                self.fs.pipe_file(path, b"")
            self.assertIn("127.0.0.1:1", str(caught.exception))
        elsewhere = type(self.fs)(key="k", secret="s", client_kwargs={"endpoint_url": "http://127.0.0.1:2"}, skip_instance_cache=True)
        elsewhere.retries = 1
        with self.assertRaises(Exception) as caught:
            elsewhere.pipe_file("s3://b/x", b"")
        self.assertIn("127.0.0.1:2", str(caught.exception))


class Spares(unittest.TestCase):
    """A parent that imports nothing, and children that only tell what they were handed."""

    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.told = os.path.join(self.directory, "told")
        packages = os.path.join(self.directory, "packages")
        os.mkdir(packages)
        self.ours, self.theirs = socket.socketpair()
        self.parent = parent.Parent.__new__(parent.Parent)
        self.parent.__dict__.update(
            channel=self.theirs, children={}, keeps_spare=True, spare=None, quiet=True, processors=2, retired=False,
            holders=[],
        )
        self.parent.directories, self.parent.changes = [packages], parent.changes([packages])
        self.parent.reader, self.parent.writer = os.pipe()
        told = self.told

        def main(child):
            with open(told, "a") as file:
                file.write(f"{os.getpid()} {child.launch['id']}\n")
            os._exit(0)

        self.main, child.Child.main = child.Child.main, main

    def tearDown(self):
        child.Child.main = self.main
        self.parent.dismiss_spare()
        self.ours.close()
        self.theirs.close()

    def answer(self, number):
        """What the parent says when it is asked to fork."""
        self.parent.fork({"id": number})
        header = self.ours.recv(4)
        return json.loads(self.ours.recv(int.from_bytes(header, "little")))

    def serve(self, number):
        """The process that took a task, as the parent says and as it says itself."""
        pid = self.answer(number)["started"]["pid"]
        os.waitpid(pid, 0)
        self.parent.children.clear()
        with open(self.told) as file:
            self.assertEqual(file.read().splitlines()[-1], f"{pid} {number}")
        return pid

    def spare(self):
        """The process that waits after one was served."""
        self.serve(1)
        self.parent.idle()
        return self.parent.spare.pid

    def test_a_spare_takes_the_next_task(self):
        self.assertIsNone(self.parent.patience(), "nobody has forked yet")
        spare = self.spare()
        self.assertEqual(self.serve(2), spare)
        self.assertIsNone(self.parent.spare)
        self.assertEqual(self.parent.patience(), parent.SPARE_AFTER)
        self.assertNotEqual(self.serve(3), spare)

    def test_a_dead_spare_is_not_missed(self):
        spare = self.spare()
        os.kill(spare, 9)
        while self.parent.spare is not None:
            self.parent.reap()
        self.assertNotEqual(self.serve(2), spare)

    def test_a_spare_that_nobody_wants_ends(self):
        spare = self.spare()
        self.parent.idle()
        self.assertEqual(os.waitpid(spare, 0)[1], 0)
        self.assertIsNone(self.parent.patience())

    def test_while_all_processors_work_none_is_made(self):
        self.serve(1)
        self.parent.children = {-1: 1, -2: 2}
        self.assertIsNone(self.parent.patience())

    def test_what_was_installed_since_is_not_missed(self):
        spare = self.spare()
        os.utime(self.parent.directories[0], (1, 1))
        self.assertEqual(self.answer(2), {"refused": {"id": 2, "reason": "stale"}})
        self.assertEqual(os.waitpid(spare, 0)[1], 0)


class Bundles(unittest.TestCase):
    def test_a_bundle_of_this_machine_is_copied_and_unpacked(self):
        bucket, work = tempfile.mkdtemp(), tempfile.mkdtemp()
        with tarfile.open(os.path.join(bucket, "a.tar.gz"), "w:gz") as tar:
            member = tarfile.TarInfo("code.py")
            member.size = 1
            tar.addfile(member, io.BytesIO(b"1"))
        self.assertTrue(unpack.fetch({"b": bucket}, "s3://b/a.tar.gz", work))
        self.assertEqual(sorted(os.listdir(work)), ["a.tar.gz", "code.py"])
        for uri in ("s3://other/a.tar.gz", "s3://b/../a.tar.gz", "s3://b/missing.tar.gz", "s3://b/code.zip", "/a.tar.gz"):
            self.assertFalse(unpack.fetch({"b": bucket}, uri, work), uri)


unittest.main()
