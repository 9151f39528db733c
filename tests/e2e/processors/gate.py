"""Test processors whose attempts say when they begin and end, and end when a test lets them."""

import asyncio
import os
import time
from pathlib import Path

import msgspec

from processors.sdk import Context, Manifest, ResourceClass, Retry, processor

LOOK_EVERY_S = 0.01


class GateIn(msgspec.Struct, forbid_unknown_fields=True):
    """How long to stay, and what to wait for."""

    ledger: str = ""  # file to which each attempt writes a line at its begin and at its end
    until: str = ""  # stay until this file exists
    ms: int = 0  # stay at least this long
    fail_attempts: int = 0  # fail in the first so many attempts


class GateOut(msgspec.Struct):
    """Which attempt this was, in which process."""

    attempt: int
    pid: int


def manifest(name: str, resource_class: ResourceClass) -> Manifest:
    return Manifest(
        name=name,
        version="1",
        summary="Stay until let go.",
        resource_class=resource_class,
        backoff_s=0.1,
        timeout_s=600,
    )


@processor(manifest("gate", ResourceClass.IO))
async def gate(given: GateIn, context: Context) -> GateOut:
    """Stay on the event loop."""
    _note(given, context, "begin")
    await asyncio.sleep(given.ms / 1000)
    while given.until and not _is_there(given.until):  # noqa: ASYNC110 - a file rings no bell
        await asyncio.sleep(LOOK_EVERY_S)
    return _leave(given, context)


@processor(manifest("gate-cpu", ResourceClass.CPU))
def gate_cpu(given: GateIn, context: Context) -> GateOut:
    """Stay in a child process."""
    _note(given, context, "begin")
    time.sleep(given.ms / 1000)
    while given.until and not _is_there(given.until):
        time.sleep(LOOK_EVERY_S)
    return _leave(given, context)


def _is_there(path: str) -> bool:
    return Path(path).exists()


def _leave(given: GateIn, context: Context) -> GateOut:
    if context.attempt <= given.fail_attempts:
        _note(given, context, "failed")
        raise Retry("asked to fail once more", after_s=0.05)
    _note(given, context, "end")
    return GateOut(context.attempt, os.getpid())


def _note(given: GateIn, context: Context, what: str) -> None:
    if given.ledger:
        who = f"{os.getpid()} {os.getppid()} {time.monotonic():.4f}"
        line = f"{context.job_id} {context.attempt} {what} {who}\n"
        descriptor = os.open(given.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line.encode())  # one write: lines of several processes do not mix
        os.close(descriptor)
