"""`roughneck up`: Redis, gateway and worker of one machine as one tree of processes.

The children are processes of their own, so that a processor that brings its worker down takes
neither the gateway nor Redis with it; one that ends by itself is started again. Each holds the end
of a pipe: when this process is gone, however it went, they stop.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from mode import Service

from ops.embedded import EmbeddedRedis
from ops.running import Fallible
from streams.errors import ConfigError, Unavailable

STOP_LIMIT_S = 60.0  # over every grace period of a child
AGAIN_FIRST_S, AGAIN_MAX_S = 0.5, 30.0
STEADY_S = 30.0  # a child that ran this long starts with the first wait again
CONFIG_EXIT = 2

log = logging.getLogger(__name__)


class Child(Fallible):
    """One `roughneck` command as a child process, started again when it ends by itself."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        super().__init__()
        self.name = name
        self._command = [sys.executable, "-m", "ops.cli", *arguments, "--lifeline"]
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The running process, 0 between two."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and alive else 0

    async def on_start(self) -> None:
        """Start it, and keep it running."""
        await self._spawn()
        self.add_future(self._keep())

    async def on_stop(self) -> None:
        """Ask it to stop and wait; kill it when it does not."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await process.wait()
        except TimeoutError:
            log.warning("a process did not stop and is killed", extra={"child": self.name})
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,  # its lifeline; nothing is ever written
            env=self._environment,
            start_new_session=True,  # Ctrl-C in the terminal is for us: we stop them in order
        )

    async def _keep(self) -> None:
        again_s = AGAIN_FIRST_S
        loop = asyncio.get_running_loop()
        while not self.should_stop:
            assert self._process is not None
            began = loop.time()
            code = await self._process.wait()
            if self.should_stop:
                return
            if code == CONFIG_EXIT:
                self.failure = ConfigError(f"the {self.name} did not start; why stands above")
                return
            if loop.time() - began > STEADY_S:
                again_s = AGAIN_FIRST_S
            extra = {"child": self.name, "exit": code, "again_in_s": again_s}
            log.warning("a process ended and is started again", extra=extra)
            await self.sleep(again_s)
            again_s = min(again_s * 2, AGAIN_MAX_S)
            await self._spawn()


class RedisWatch(Fallible):
    """Crashes when the embedded server dies: without it nothing here makes sense."""

    def __init__(self, server: EmbeddedRedis) -> None:
        super().__init__()
        self._server = server

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            if not self._server.alive():
                self.failure = Unavailable(f"Redis ended:\n{self._server.log_tail()}")
                return
            await self.sleep(1.0)


def kill_all(services: Sequence[Service]) -> Callable[[], None]:
    """What to do when a second signal says to leave at once."""

    def kill() -> None:
        for service in services:
            if isinstance(service, Child):
                service.kill()

    return kill
