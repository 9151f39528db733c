"""Does nothing, so that a measurement sees only what the platform costs."""

import time

import msgspec

from processors.sdk import Manifest, ResourceClass, processor

waits_ms: list[float] = []  # of the jobs that said when they were submitted


class Input(msgspec.Struct):
    """Bytes to carry, and when the job was submitted on this machine's monotonic clock."""

    filler: str = ""
    submitted_s: float = 0.0


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
    if given.submitted_s:
        waits_ms.append(1_000 * (time.monotonic() - given.submitted_s))
