"""At most one request in flight per Ollama host, whichever process sends it."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

POLL_FIRST_S = 0.01
POLL_LAST_S = 0.25


class HostSlot:
    """A file lock that all processes of this machine share; the kernel frees a dead holder's."""

    def __init__(self, directory: Path, host: str) -> None:
        """The lock of `host` in `directory`, which is made when it is first needed."""
        self.path = directory / f"ollama-{host}.lock"

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the slot. Polls while another has it: renewals and everything else go on."""
        descriptor = self._open()
        try:
            await _lock(descriptor)
            yield
        finally:
            os.close(descriptor)  # lets go of the lock as well

    def _open(self) -> int:
        """A descriptor of its own for each holder, since flock belongs to the open file."""
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path, flags, 0o644)


async def _lock(descriptor: int) -> None:
    wait_s = POLL_FIRST_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(wait_s)
            wait_s = min(POLL_LAST_S, wait_s * 1.5)
        else:
            return
