"""Keeps with each job what its attempts logged: bounded, batched, fenced by their tokens."""

import json
from collections.abc import Callable

import msgspec

from streams.clock import Clock, SystemClock
from streams.control import Control, KeptLines
from streams.errors import Unavailable
from streams.history import LogLine, log_line
from streams.model import Lease
from streams.telemetry import AttemptLog, Happening

LINES_MAX = 100  # of one attempt
BYTES_MAX = 8 * 1024  # of one attempt, all its lines
LINE_MAX = 2_000  # characters of a message, and of its fields
ATTEMPTS_MAX = 1_000  # remembered: those that logged last
CALL_MAX = 100  # attempts in one call


class _Lines:
    """What one attempt has logged: how much is kept, and what is on its way."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.count = 0
        self.written = 0  # bytes that Redis has
        self.waiting = b""

    def add(self, line: bytes, last: bytes) -> None:
        """Take a line while there is room; `last` says that there was none for more."""
        size = self.written + len(self.waiting)
        if self.count >= LINES_MAX or size >= BYTES_MAX:
            return
        self.count += 1
        fits = self.count < LINES_MAX and size + len(line) + len(last) <= BYTES_MAX
        if not fits:
            self.count = LINES_MAX
        self.waiting += line if fits else last


class LogKeeper:
    """A listener, and a chore that writes down what it heard. `hide` takes secrets out of texts."""

    name = "log_keeper"
    every_s = 0.5

    def __init__(
        self,
        control: Control,
        hide: Callable[[str], str] = str,
        clock: Clock | None = None,
    ) -> None:
        self._control = control
        self._hide = hide
        self._clock = clock or SystemClock()
        self._logs: dict[str, _Lines] = {}  # by token, the one that logged last at the end

    def __call__(self, happening: Happening) -> None:
        """Hear one happening."""
        if not isinstance(happening, AttemptLog):
            return
        lease = happening.lease
        lines = self._logs.pop(lease.token, None) or _Lines(lease)
        self._logs[lease.token] = lines
        if len(self._logs) > ATTEMPTS_MAX:
            del self._logs[next(iter(self._logs))]
        lines.add(self._line(happening), self._last())

    async def tick(self) -> None:
        """Write what has come since the last tick. What Redis does not take waits for the next."""
        waiting = [lines for lines in self._logs.values() if lines.waiting]
        for start in range(0, len(waiting), CALL_MAX):
            chunk = waiting[start : start + CALL_MAX]
            texts = [lines.waiting for lines in chunk]
            await self._control.keep_lines(
                [
                    KeptLines(
                        each.lease.job_id, each.lease.token, each.lease.attempt, each.written, said
                    )
                    for each, said in zip(chunk, texts, strict=True)
                ]
            )
            for lines, said in zip(chunk, texts, strict=True):
                lines.written += len(said)
                lines.waiting = lines.waiting[len(said) :]

    async def close(self) -> None:
        """Write the last lines, if Redis takes them."""
        try:
            await self.tick()
        except Unavailable:
            self._logs.clear()

    def _line(self, said: AttemptLog) -> bytes:
        message = self._hide(" ".join(said.message.split()))[:LINE_MAX]
        fields = json.dumps(said.fields, default=repr, ensure_ascii=False)
        fields = self._hide(fields)
        raw = fields.encode("utf-8", "replace") if len(fields) <= LINE_MAX else b"{}"
        return log_line(LogLine(self._clock.now_ms(), said.level, message, msgspec.Raw(raw)))

    def _last(self) -> bytes:
        message = "more lines were not kept"
        return log_line(LogLine(self._clock.now_ms(), "info", message, msgspec.Raw(b"{}")))
