"""`roughneck demo` as a user runs it: all is well at the end, and nothing is left of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.redis_binary import installed
from tests.support.waiting import until_sync

pytestmark = pytest.mark.skipif(not installed(), reason="no Redis server is installed")

LIMIT_S = 300.0  # half a minute on two idle cores
STOP_LIMIT_S = 30.0


def heed_interrupts() -> None:
    """A shell's background jobs ignore SIGINT, and so would the demo when the tests are one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Demo:
    """The demo with its folder inside ours, by which its processes are known."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output.txt"
        self.newsletter = folder / "newsletter.html"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops.cli", "demo", "--newsletter", str(self.newsletter)],
                stdout=output,
                stderr=output,
                env={**os.environ, "TMPDIR": str(folder)},
                preexec_fn=heed_interrupts,  # noqa: PLW1509 - one call, made before any thread
            )

    @property
    def text(self) -> str:
        return self.output.read_text("utf-8")

    def says(self, words: str) -> None:
        until_sync(
            lambda: words in self.text or self.process.poll() is not None,
            what=f"the demo to say {words!r}",
            limit_s=LIMIT_S,
        )
        assert words in self.text, self.text

    def left(self) -> list[str]:
        """Processes of the demo that live, and files that it has not removed."""
        listing = subprocess.run(
            ["ps", "-A", "-o", "stat=,args="], check=True, capture_output=True, text=True
        ).stdout
        lines = [line for line in listing.splitlines() if not line.startswith("Z")]
        files = [path.name for path in self.folder.glob("roughneck-demo-*")]
        return [line for line in lines if f"{self.folder}/" in line] + files


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()


def test_nothing_is_lost_and_nothing_is_done_twice(demo: Demo) -> None:
    assert demo.process.wait(LIMIT_S) == 0, demo.text
    assert "Nothing was lost and nothing was done twice." in demo.text
    assert "wrong:" not in demo.text
    assert "SIGKILL for worker first, which ran" in demo.text
    for title in ("Gormsgade & venner", "Svanesøen", "Julekoncert ved runestenene"):
        assert title in demo.text
    page = demo.newsletter.read_text("utf-8")
    for line in ("Friday 11 December, 20:00–23:30", "Byparken", "Saturday 16 January, 19:30"):
        assert line in page
    assert "Julekoncert" not in page  # it is cancelled
    assert "HACKED" not in page
    assert f"file://{demo.newsletter}" in demo.text
    assert "\x1b" not in demo.text  # not a terminal: no colour, nothing that moves
    assert demo.left() == []


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("Redis keeps its data", signal.SIGTERM),  # amid the start
        ("SIGSTOP for worker second", signal.SIGINT),  # one worker is dead, one stands still
    ],
)
def test_everything_stops_when_it_is_interrupted(
    demo: Demo, words: str, number: signal.Signals
) -> None:
    demo.says(words)
    assert demo.left() != []
    demo.process.send_signal(number)
    assert demo.process.wait(STOP_LIMIT_S) == 130, demo.text
    assert "Traceback" not in demo.text
    assert demo.left() == []


def test_no_process_is_left_when_it_is_killed(demo: Demo) -> None:
    demo.says("SIGSTOP for worker second")
    demo.process.kill()
    demo.process.wait()

    def processes() -> list[str]:
        return [line for line in demo.left() if not line.startswith("roughneck-demo-")]

    until_sync(lambda: not processes(), what="its processes to be gone", limit_s=STOP_LIMIT_S)
