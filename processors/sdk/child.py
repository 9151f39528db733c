"""A child process that runs cpu attempts, one after the other: `python -m processors.sdk.child`.

Only the worker starts it. It leads a process group of its own. What a processor prints goes to
standard output and error, which are not the frames' socket.
"""

import asyncio
import faulthandler
import fcntl
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext

import msgspec

from processors.dependencies.cache import CacheProvider
from processors.dependencies.log import LogProvider
from processors.sdk.context import Context
from processors.sdk.declaration import Processor, load_module, processors_of
from processors.sdk.frames import (
    HEADER_BYTES,
    MESSAGE_MAX,
    PIECE_MAX,
    ChildSettings,
    Line,
    Progress,
    Request,
    Said,
    Succeeded,
    failed,
    frame,
    line_frame,
    request_decoder,
)
from processors.sdk.injection import inject
from streams.errors import ConfigError, Crashed
from streams.usage import Usage

Send = Callable[[bytes], None]


def main() -> None:
    """Answer requests until the worker closes the socket."""
    settings = msgspec.json.decode(sys.argv[1], type=ChildSettings)
    _die_with_the_worker(settings.life)
    _limit(settings)
    connection = socket.socket(fileno=settings.socket)
    connection.set_inheritable(False)
    frames = connection.makefile("rb")
    sending = threading.Lock()  # a processor may log from several threads

    def send(framed: bytes) -> None:
        with sending:
            connection.sendall(framed)

    runner = Runner(send, settings.result_max_bytes)
    while header := frames.read(HEADER_BYTES):
        runner.answer(request_decoder.decode(frames.read(int.from_bytes(header))))


class RemoteAttempt:
    """The worker's attempt as it looks in the child: what is said to it goes over the wire."""

    def __init__(self, request: Request, send: Send) -> None:
        """Speaks through `send` about `request`."""
        self._send = send
        self.lease = request.lease
        self.payload = request.payload
        self.timeout_s = request.timeout_s
        self.deadline: float | None = time.monotonic() + request.remaining_s

    def untimed(self) -> nullcontext[None]:
        """Nothing a cpu process waits for is exempt from its time."""
        return nullcontext()

    def progress(self, fraction: float | None, note: str = "") -> None:
        """Pass the progress on."""
        self._send(frame(Progress(fraction, note)))

    def emit(self, piece: str) -> None:
        """Pass the piece on."""
        for start in range(0, len(piece), PIECE_MAX):
            self._send(frame(Said(piece[start : start + PIECE_MAX])))

    def spend(self, usage: Usage, first_s: float | None = None) -> None:
        """Nothing: no model is asked from a cpu process."""

    def log(self, level: str, message: str, **fields: object) -> None:
        """Pass the line on."""
        self._send(line_frame(Line(level, message, fields)))


class Runner:
    """Loads processors when they are first asked for, and runs attempts."""

    def __init__(self, send: Send, result_max_bytes: int) -> None:
        """Answers through `send`."""
        self._send = send
        self._result_max_bytes = result_max_bytes
        self._providers = {one.name: one for one in (LogProvider(), CacheProvider())}
        self._loaded: dict[str, Processor] = {}

    def answer(self, request: Request) -> None:
        """Run the attempt and send how it ended. Raises nothing."""
        try:
            answer = frame(Succeeded(self._run(request)))
        except SystemExit as error:
            answer = frame(failed(Crashed(f"the processor called sys.exit({error.code})"), ""))
        except BaseException as error:  # the edge to foreign code: any ending is an answer
            trace = traceback.format_exc()[-4 * MESSAGE_MAX :]
            answer = frame(failed(error, trace))
        sys.stdout.flush()
        sys.stderr.flush()
        self._send(answer)

    def _run(self, request: Request) -> bytes:
        processor = self._processor(request)
        attempt = RemoteAttempt(request, self._send)
        given = processor.decode(request.payload)
        context = Context(attempt, inject(processor.manifest, self._providers, attempt))
        value = processor.call(given, context)
        if asyncio.iscoroutine(value):
            value = asyncio.run(value)
        return processor.encode(value, self._result_max_bytes)

    def _processor(self, request: Request) -> Processor:
        name = request.lease.lane.processor
        if name not in self._loaded:
            module = load_module(request.origin)
            self._loaded.update((one.name, one) for one in processors_of(module))
        try:
            return self._loaded[name]
        except KeyError:
            raise ConfigError(f"processor {name!r} is no longer in {request.origin.file}") from None


def _die_with_the_worker(life: int) -> None:
    """Kill this process group when the pipe `life` ends, which happens however the worker dies.

    On Linux the kernel itself sends SIGKILL to the group, so code that holds the interpreter lock
    or ignores signals dies too, and what it started with it. Elsewhere a thread watches the pipe.
    """
    os.set_inheritable(life, False)
    if sys.platform == "linux":
        fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([life], [], [], 0)[0]:  # it ended before the kernel was told
            os.killpg(0, signal.SIGKILL)
    else:
        threading.Thread(target=_kill_at_end_of, args=(life,), daemon=True).start()


def _kill_at_end_of(life: int) -> None:
    os.read(life, 1)
    os.killpg(0, signal.SIGKILL)


def _limit(settings: ChildSettings) -> None:
    os.unsetenv("PYTHONPATH")  # it was for this interpreter, not for what a processor starts
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # both are text files
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, settings.files_max)
    if settings.memory_max_bytes:
        _lower(resource.RLIMIT_AS, settings.memory_max_bytes)


def _lower(limit: int, most: int) -> None:
    _, hard = resource.getrlimit(limit)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(limit, (most, most))


if __name__ == "__main__":
    main()
