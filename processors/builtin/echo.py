"""Says its input back, or fails in the way it is asked to: for smoke tests, demos and trust."""

import os
import signal
import socket
import time
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from processors.sdk import Context, Manifest, Rejected, ResourceClass, Retry, processor

FLOOD_LINES = 200_000

Failure = Literal[
    "none",
    "transient",  # raises Retry
    "permanent",  # raises Rejected
    "raise",  # raises what nobody expects
    "crash",  # dies by a signal
    "exit",  # ends its process without a word
    "hang",  # sleeps for ever and ignores the request to stop
    "block",  # computes for ever
    "bad_result",  # returns what its result type forbids
    "flood",  # prints megabytes, then succeeds
]


class EchoIn(msgspec.Struct, forbid_unknown_fields=True):
    """What to say back, and how to fail on the way."""

    message: Annotated[str, msgspec.Meta(max_length=100_000)]
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=600_000)] = 0
    fail: Failure = "none"
    fail_attempts: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0  # the first so many; 0: all
    progress_steps: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0


class EchoOut(msgspec.Struct):
    """The message, and who said it back when."""

    message: str
    attempt: int
    worker: str  # host and process
    received_at: datetime


@processor(
    Manifest(
        name="echo",
        version="1.0.0",
        summary="Say the message back, after a delay or a failure if asked.",
        resource_class=ResourceClass.CPU,
        attempts_max=1,
        timeout_s=30,
    )
)
def echo(given: EchoIn, context: Context) -> EchoOut:
    """Wait, report progress, fail as asked, or answer."""
    received_at = datetime.now(UTC)
    for step in range(given.progress_steps):
        _wait(given.delay_ms / given.progress_steps)
        context.progress((step + 1) / given.progress_steps, f"step {step + 1}")
    if not given.progress_steps:
        _wait(given.delay_ms)
    if given.fail_attempts == 0 or context.attempt <= given.fail_attempts:
        _fail(given.fail)
    message = None if given.fail == "bad_result" else given.message
    worker = f"{socket.gethostname()}:{os.getpid()}"
    return EchoOut(message, context.attempt, worker, received_at)  # type: ignore[arg-type]  # wrong on purpose if asked


def _wait(delay_ms: float) -> None:
    if delay_ms:
        time.sleep(delay_ms / 1000)


def _fail(how: Failure) -> None:
    match how:
        case "transient":
            raise Retry("asked to fail, but another attempt may succeed")
        case "permanent":
            raise Rejected("asked to fail for good")
        case "raise":
            raise ValueError("asked to raise")
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(60)
        case "block":
            while True:
                pass
        case "flood":
            for number in range(FLOOD_LINES):
                print(f"line {number} of a flood")  # noqa: T201 - printing is what was asked for
