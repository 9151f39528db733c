"""A Redis server whose wall clock a test can step: a small library is preloaded into it."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ops.redis_binary import RedisBinary
from tests.support.redis_server import RedisServer

SOURCE = Path(__file__).with_suffix(".c")


class SteppedServer(RedisServer):
    """A server whose clock is `ahead_ms` ahead of the machine's. Skips where that cannot be."""

    def __init__(self, binary: RedisBinary, *options: str) -> None:
        compiler = shutil.which("cc")
        if compiler is None or sys.platform != "linux":
            pytest.skip("needs Linux and a C compiler")
        self.shifts = Path(tempfile.mkdtemp(prefix="rn-clock-"))
        library = self.shifts / "clock.so"
        build = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(build, check=True, capture_output=True)
        self.step_to(0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(os.environ, "LD_PRELOAD", str(library))
            patch.setitem(os.environ, "SHIFT_FILE", str(self.shifts / "shift"))
            super().__init__(binary, *options)

    def step_to(self, ahead_ms: int) -> None:
        """Set the clock, at once."""
        fresh = self.shifts / "fresh"
        fresh.write_text(str(ahead_ms))
        fresh.replace(self.shifts / "shift")

    def stop(self) -> None:
        """End the server; a second time nothing happens."""
        super().stop()
        shutil.rmtree(self.shifts, ignore_errors=True)
