"""Restarts an Ollama that hangs, by a command of the operator's: not too often, whoever asks."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

COMMAND_S = 60.0  # how long the command may take
SAID_MAX = 500


class Restarter:
    """Runs the command at most once in `pause_s`, over all workers of the machine.

    To be called by who holds the host's slot, so that no two do it at once. The time of the last is
    that of a file, which all workers share.
    """

    def __init__(self, command: Sequence[str], pause_s: float, stamp: Path) -> None:
        """`command` without words: nothing is ever restarted."""
        self._command = tuple(command)
        self._pause_s = pause_s
        self._stamp = stamp

    async def restart(self, why: str) -> bool:
        """Run the command if its time has come; whether it ended well. Raises nothing."""
        if not self._command or self._age_s() < self._pause_s:
            return False
        try:
            self._stamp.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._stamp.touch()
            code, said = await self._run()
        except OSError as error:
            log.error("Ollama could not be restarted", extra={"reason": str(error)})
            return False
        except TimeoutError:
            log.error("Ollama's restart took too long", extra={"seconds": COMMAND_S})
            return False
        fields = {"reason": why, "code": code, "said": said}
        log.log(logging.WARNING if code == 0 else logging.ERROR, "Ollama restarted", extra=fields)
        return code == 0

    def _age_s(self) -> float:
        """Since the last restart; a clock that was put back does not count as one."""
        with contextlib.suppress(OSError):
            age_s = time.time_ns() / 1e9 - self._stamp.stat().st_mtime
            return age_s if age_s >= 0 else self._pause_s
        return float("inf")

    async def _run(self) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND_S):
                said, _ = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        assert process.returncode is not None
        return process.returncode, said.decode("utf-8", "replace").strip()[-SAID_MAX:]
