"""Does nothing, or sleeps, so that a measurement sees only what the platform costs."""

import asyncio
import time

import msgspec

from processors.sdk import Manifest, ResourceClass, processor


class Seen:
    """What the jobs of this process saw. Times are seconds on the machine's monotonic clock."""

    def __init__(self) -> None:
        self.count = 0
        self.first_s = self.first_cpu_s = self.last_s = 0.0
        self.waits_ms: list[float] = []  # of the jobs that said when they were submitted
        self.starts_s: list[float] = []  # of the jobs that sleep

    def start(self) -> None:
        """A job starts."""
        if not self.count:
            self.first_s, self.first_cpu_s = time.monotonic(), time.process_time()
        self.count += 1


seen = Seen()


class Input(msgspec.Struct):
    """Bytes to carry, when it was submitted on the machine's monotonic clock, how long to sleep."""

    filler: str = ""
    submitted_s: float = 0.0
    sleep_s: float = 0.0


@processor(
    Manifest(
        name="noop",
        version="1",
        summary="Does nothing.",
        resource_class=ResourceClass.IO,
    )
)
async def noop(given: Input) -> None:
    """Note how long the job waited."""
    seen.start()
    if given.submitted_s:
        seen.waits_ms.append(1_000 * (time.monotonic() - given.submitted_s))
    if given.sleep_s:
        seen.starts_s.append(time.monotonic())
        await asyncio.sleep(given.sleep_s)
    seen.last_s = time.monotonic()
