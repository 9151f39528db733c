"""What child processes print: read at once, logged line by line, bounded for each attempt."""

import asyncio
import os
from collections.abc import Callable

CHUNK_BYTES = 64 * 1024
LINE_MAX_BYTES = 2_000

Sink = Callable[[str], None]


class Output:
    """Drains the pipe of one child process, so that printing never blocks and never floods."""

    def __init__(self, pipe: int, max_bytes: int) -> None:
        """Owns the read end `pipe`; logs at most `max_bytes` for each attempt."""
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._max_bytes = max_bytes
        self._sink: Sink | None = None
        self._partial = b""
        self._logged_bytes = 0
        self._dropped_bytes = 0
        asyncio.get_running_loop().add_reader(pipe, self._read)

    def begin(self, sink: Sink) -> None:
        """What comes from now on belongs to the attempt that `sink` writes for."""
        self._read()
        self._sink = sink
        self._partial = b""
        self._logged_bytes = self._dropped_bytes = 0

    def end(self) -> None:
        """Log what the attempt has printed and is still in the pipe, and what was left out."""
        self._read()
        if self._partial:
            self._line(self._partial)
        if self._dropped_bytes and self._sink is not None:
            self._sink(f"… {self._dropped_bytes} more bytes of output were dropped")
        self._sink = None
        self._partial = b""

    def close(self) -> None:
        """Stop reading. Calling it twice is safe."""
        if self._pipe >= 0:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    def _read(self) -> None:
        # A few chunks a turn: a flood must not keep the loop from other attempts.
        for _ in range(4):
            if self._pipe < 0:
                return
            try:
                chunk = os.read(self._pipe, CHUNK_BYTES)
            except BlockingIOError:
                return
            if not chunk:
                self.close()
                return
            self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        if self._logged_bytes >= self._max_bytes:
            self._dropped_bytes += len(chunk)
            return
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        if len(self._partial) > LINE_MAX_BYTES:
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        if self._sink is None:
            return
        if self._logged_bytes >= self._max_bytes:
            self._dropped_bytes += len(line)
            return
        self._logged_bytes += len(line) + 1
        self._sink(line[:LINE_MAX_BYTES].decode(errors="replace"))
