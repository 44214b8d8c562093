"""The real flytectl as a function: a configuration of its own, what it prints, and what it refuses."""

import os
import re
import subprocess
import tempfile

from common import check

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Flytectl:
    """Calls the binary with a home and configuration of its own."""

    def __init__(self, binary, endpoint):
        self.binary, self.scratch = binary, tempfile.TemporaryDirectory()
        self.dir = self.scratch.name
        self.config = self.file(
            "config.yaml", f"admin:\n  endpoint: dns:///{endpoint}\n  authType: Pkce\n  insecure: true\n")

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def run(self, words):
        done = subprocess.run(
            [self.binary, "-c", self.config, "--admin.insecure", *words],
            env={**os.environ, "HOME": self.dir}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        return done.returncode, COLOURS.sub("", done.stdout), COLOURS.sub("", done.stderr)

    def __call__(self, *words):
        """What a command prints that must succeed."""
        code, out, error = self.run(words)
        check(code == 0, f"flytectl {' '.join(words)} ended with {code}: {out}{error}")
        return out

    def refused(self, *words):
        """What a command says that must not succeed."""
        code, out, error = self.run(words)
        check(code != 0, f"flytectl {' '.join(words)} was not refused: {out}")
        return out + error

    def exec_file(self, place, workflow):
        """A file for `create execution`, with the default inputs of a launch plan."""
        path = os.path.join(self.dir, f"{workflow}.yaml")
        if os.path.exists(path):
            os.remove(path)
        self("get", "launchplan", *place, workflow, "--latest", "--execFile", path)
        return path
