"""Simulated time: real time that runs `speed` times as fast."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime


class ScaledClock:
    """Seconds of the simulated machine since the simulator started."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began = time.monotonic()

    def now(self) -> float:
        """Simulated seconds since the start."""
        return (time.monotonic() - self._began) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of simulated time."""
        await asyncio.sleep(max(0.0, seconds) / self._speed)

    async def sleep_until(self, when: float) -> None:
        """Wait for a simulated instant; one that is past still lets others run."""
        await self.sleep(when - self.now())

    def call_later(self, seconds: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        """Call `act` after `seconds` of simulated time, unless the handle is cancelled."""
        return asyncio.get_running_loop().call_later(seconds / self._speed, act)


def timestamp(after_s: float = 0.0) -> str:
    """The wall time `after_s` from now as Go prints it: RFC 3339, nanoseconds, UTC."""
    seconds, nanoseconds = divmod(time.time_ns() + int(after_s * 1e9), 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
