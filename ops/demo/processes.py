"""The processes of the demo, started as a user would start them, and ended with it."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from ops.demo.family import Kin, children_of
from ops.settings import child_environment
from streams.errors import Unavailable

START_LIMIT_S = 30.0
STOP_LIMIT_S = 15.0
LOOK_EVERY_S = 0.05
TAIL_LINES = 12
THAW = 'cat >/dev/null; kill -CONT "$1"'  # at the end of a pipe of ours, however we end


class Process:
    """One `roughneck` process with its log."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._thawing: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    def children(self) -> list[Kin]:
        """The processes that it started."""
        return children_of(self.pid)

    def kill(self) -> None:
        """SIGKILL: no chance to do anything more."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: it stands still, as under a closed lid, and at most as long as we live."""
        self._thawing = subprocess.Popen(
            ["/bin/sh", "-c", THAW, "thaw", str(self.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, if it was frozen."""
        if self._thawing is not None:
            self._thawing.communicate()
            self._thawing = None

    async def stop(self) -> None:
        """SIGTERM, and wait; SIGKILL when it takes too long. A second time nothing happens."""
        self.thaw()
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await self._process.wait()
        finally:
            self.kill()
            await self._process.wait()

    async def wait(self) -> None:
        """Until it has ended."""
        await self._process.wait()

    async def line_with(self, words: str) -> str:
        """The first line of its log that holds `words`. Raises Unavailable when none comes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_LIMIT_S):
                while self.alive:
                    for line in self._lines():
                        if words in line:
                            return line
                    await asyncio.sleep(LOOK_EVERY_S)
        raise Unavailable(f"the {self.name} did not start:\n{self.tail()}")

    async def record_of(self, message: str) -> dict[str, Any]:
        """The fields of the first line of its log with that message."""
        return msgspec.json.decode(await self.line_with(f'"{message}"'), type=dict[str, Any])

    def records(self) -> list[dict[str, Any]]:
        """The lines of its log that are JSON."""
        found = []
        for line in self._lines():
            with contextlib.suppress(msgspec.DecodeError):
                found.append(msgspec.json.decode(line, type=dict[str, Any]))
        return found

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._lines()[-TAIL_LINES:])

    def _lines(self) -> list[str]:
        return self.log.read_text("utf-8", "replace").splitlines()

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


class Processes:
    """Starts processes; at the end of its block none is left."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.settings = dict(settings)  # by `section.field`
        self.started: list[Process] = []
        self._folder = folder
        self.file = folder / "roughneck.toml"  # empty: no file of the user's is read
        self.file.touch()

    async def start(self, name: str, *arguments: str, **settings: object) -> Process:
        """Start `roughneck <arguments>`; `name` is for people and names its log."""
        added = {field.replace("__", "."): value for field, value in settings.items()}
        log = self._folder / f"{name.replace(' ', '-')}.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ops.cli", "--settings", str(self.file), *arguments),
                stdin=asyncio.subprocess.PIPE,  # its lifeline; nothing is ever written
                stdout=output,
                stderr=output,
                env=child_environment({**self.settings, **added}),
                start_new_session=True,  # Ctrl-C in the terminal is for us
            )
        one = Process(name, process, log)
        self.started.append(one)
        return one

    async def start_worker(self, name: str) -> Process:
        """Start a worker of all three classes."""
        classes = ("--class", "ollama", "--class", "io", "--class", "cpu")
        arguments = ("worker", *classes, "--lifeline")
        return await self.start(f"worker {name}", *arguments, worker__name=name)

    async def worker(self, name: str) -> Process:
        """The same; returns when it takes jobs."""
        worker = await self.start_worker(name)
        await worker.record_of("worker is ready")
        return worker

    def fenced(self) -> int:
        """Late writes that Redis refused, and attempts stopped before they could write."""
        return sum(map(_is_fenced, self._records()))

    def logs(self) -> str:
        """The end of every log."""
        return "\n\n".join(f"{one.name}:\n{one.tail()}" for one in self.started)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the workers first, then what they need."""
        try:
            for alike in (_is_worker, lambda one: not _is_worker(one)):
                await self._stop(alike)
        finally:
            for one in self.started:
                one.kill()

    async def _stop(self, chosen: Callable[[Process], bool]) -> None:
        async with asyncio.TaskGroup() as group:
            for one in filter(chosen, self.started):
                group.create_task(_stopped(one))

    def _records(self) -> Sequence[dict[str, Any]]:
        return [record for one in self.started for record in one.records()]


def _is_worker(one: Process) -> bool:
    return one.name.startswith("worker")


def _is_fenced(record: Mapping[str, Any]) -> bool:
    if record.get("message") == "the lease was lost":
        return True
    return record.get("message") == "the verdict changed nothing" and record["answer"] == "lost"


async def _stopped(one: Process) -> None:
    with contextlib.suppress(TimeoutError):  # then it was killed
        await one.stop()
