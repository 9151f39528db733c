"""The child processes that run cpu attempts: one for each running attempt, kept warm between."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from asyncio import StreamReader, StreamWriter
from contextlib import ExitStack

import msgspec

from processors.dependencies import Attempt
from processors.sdk.context import remaining_s
from processors.sdk.declaration import Processor
from processors.sdk.frames import (
    FRAME_MARGIN_BYTES,
    HEADER_BYTES,
    ChildSettings,
    Failed,
    Line,
    Progress,
    Request,
    Said,
    Succeeded,
    answer_decoder,
    exception,
    frame,
)
from processors.sdk.output import Output
from processors.sdk.settings import ProcessorSettings
from streams.errors import Crashed

ABORT_S = 0.5  # after its process went, a connection held open by a stray fork is cut
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}

SIGNAL_NAMES = {member.value: member.name for member in signal.Signals}


class Children:
    """Runs attempts in child processes. Whoever makes it closes it."""

    def __init__(self, settings: ProcessorSettings) -> None:
        """Starts nothing yet."""
        self._settings = settings
        self._idle: list[Child] = []
        self._busy: set[Child] = set()

    @property
    def pids(self) -> list[int]:
        """The processes that live now, the busy ones first."""
        return [child.pid for child in (*self._busy, *self._idle) if not child.gone]

    async def run(self, processor: Processor, attempt: Attempt) -> bytes:
        """The result of one attempt, JSON, or the exception it ended with.

        Raises Crashed when the process ended or left the protocol. When cancelled, the process
        and all it started are gone before CancelledError leaves here.
        """
        child = self._warm_child() or await Child.start(self._settings)
        self._busy.add(child)
        try:
            answer = await child.run(_request(processor, attempt), attempt)
        except BaseException:
            await child.end(self._settings.stop_grace_s)
            raise
        finally:
            self._busy.discard(child)
        await self._keep_or_close(child)
        if isinstance(answer, Failed):
            raise exception(answer)
        return answer.result

    async def close(self) -> None:
        """End every child process."""
        ending = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*(child.end(self._settings.stop_grace_s) for child in ending))

    def _warm_child(self) -> "Child | None":
        while self._idle:
            child = self._idle.pop()
            if child.ready:
                return child
            child.release()
        return None

    async def _keep_or_close(self, child: "Child") -> None:
        is_worn = child.jobs >= self._settings.cpu_jobs_max
        if is_worn or len(self._idle) >= self._settings.cpu_idle_max:
            await child.end(self._settings.stop_grace_s)
        else:
            self._idle.append(child)


class Child:
    """One child process, at the head of its own process group."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        connection: tuple[StreamReader, StreamWriter],
        life: int,
        output: Output,
        frame_max: int,
    ) -> None:
        """Owns all of these; `life` is the write end of the pipe that must outlive the child."""
        self.jobs = 0
        self._process = process
        self._reader, self._writer = connection
        self._life = life
        self._output = output
        self._frame_max = frame_max
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        threading.Thread(target=self._await_exit, name=f"child {process.pid}", daemon=True).start()

    @classmethod
    async def start(cls, settings: ProcessorSettings) -> "Child":
        """A fresh process that waits for its first request."""
        with ExitStack() as passed_on, ExitStack() as kept:
            ours, theirs = socket.socketpair()
            passed_on.callback(theirs.close)
            connection = await asyncio.open_connection(sock=ours)
            kept.callback(connection[1].close)
            life_read, life_write = os.pipe()
            passed_on.callback(os.close, life_read)
            kept.callback(os.close, life_write)
            output_read, output_write = os.pipe()
            passed_on.callback(os.close, output_write)
            output = Output(output_read, settings.cpu_output_max_bytes)
            kept.callback(output.close)
            process = _spawn(_child_settings(theirs, life_read, settings), output_write)
            kept.pop_all()  # from here on the child owns them
        frame_max = settings.result_max_bytes + FRAME_MARGIN_BYTES
        return cls(process, connection, life_write, output, frame_max)

    @property
    def pid(self) -> int:
        """The process id, which is the id of its group as well."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._exited.is_set()

    @property
    def ready(self) -> bool:
        """Whether it can be asked; its connection may be known to be gone before its process is."""
        return not (self.gone or self._writer.is_closing() or self._reader.at_eof())

    async def run(self, request: Request, attempt: Attempt) -> Succeeded | Failed:
        """Send the request; pass on what the processor says; return how it ended."""
        self.jobs += 1
        self._output.begin(lambda line: attempt.log("info", line, printed=True))
        try:
            self._writer.write(frame(request))
            await self._writer.drain()
            return await self._listen(attempt)
        except (asyncio.IncompleteReadError, ConnectionError):
            await self._exited.wait()
            raise Crashed(f"the processor's process {self._how_it_ended()}") from None
        finally:
            self._output.end()

    async def end(self, grace_s: float) -> None:
        """Ask the process group to stop, then kill it; returns when the process is gone.

        A caller who is cancelled meanwhile kills it at once, and still waits.
        """
        self._signal(signal.SIGTERM)
        killing = self._loop.call_later(grace_s, self._signal, signal.SIGKILL)
        cancelled = None
        while not self.gone:
            try:
                await self._exited.wait()
            except asyncio.CancelledError as error:
                cancelled = error
                self._signal(signal.SIGKILL)
        killing.cancel()
        self.release()
        if cancelled is not None:
            raise cancelled

    def release(self) -> None:
        """Let go of the pipes of a process that is gone. Calling it twice is safe."""
        self._output.close()
        self._writer.close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    async def _listen(self, attempt: Attempt) -> Succeeded | Failed:
        while True:
            size = int.from_bytes(await self._reader.readexactly(HEADER_BYTES))
            if size > self._frame_max:
                raise Crashed(f"the processor's process sent a frame of {size} bytes")
            try:
                answer = answer_decoder.decode(await self._reader.readexactly(size))
            except msgspec.DecodeError as error:
                raise Crashed(f"the processor's process left the protocol: {error}") from error
            match answer:
                case Line(level, message, fields):
                    attempt.log(level, message, **fields)
                case Progress(fraction, note):
                    attempt.progress(fraction, note)
                case Said(piece):
                    attempt.emit(piece)
                case _:
                    return answer

    def _await_exit(self) -> None:
        self._process.wait()
        try:
            self._loop.call_soon_threadsafe(self._on_exit)
        except RuntimeError:  # the loop was closed first: nobody is left to be told
            self._signal(signal.SIGKILL)

    def _on_exit(self) -> None:
        self._exited.set()
        self._signal(signal.SIGKILL)  # whatever it started goes with it
        self._loop.call_later(ABORT_S, self._writer.transport.abort)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of zombies
            return

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if code is None or code >= 0:
            return f"exited with code {code}"
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"was killed by {SIGNAL_NAMES.get(-code, f'signal {-code}')}{hint}"


def _request(processor: Processor, attempt: Attempt) -> Request:
    return Request(
        origin=processor.origin,
        lease=msgspec.structs.replace(attempt.lease, payload=None),
        payload=attempt.payload,
        timeout_s=attempt.timeout_s,
        remaining_s=remaining_s(attempt),
    )


def _child_settings(theirs: socket.socket, life: int, settings: ProcessorSettings) -> ChildSettings:
    return ChildSettings(
        socket=theirs.fileno(),
        life=life,
        files_max=settings.cpu_files_max,
        memory_max_bytes=settings.cpu_memory_max_bytes,
        result_max_bytes=settings.result_max_bytes,
    )


def _spawn(told: ChildSettings, output: int) -> "subprocess.Popen[bytes]":
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "processors.sdk.child", msgspec.json.encode(told).decode()],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(told.socket, told.life),
        start_new_session=True,
        env={**ENVIRONMENT, "PYTHONPATH": paths},
        cwd="/",
    )
