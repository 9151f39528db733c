"""Test processors of class io, each wrong in its own way; echo does the same in class cpu."""

import asyncio
import os
import time
from typing import Any

import msgspec

from processors.sdk import Context, Manifest, processor


class Nothing(msgspec.Struct):
    """No input."""


class Number(msgspec.Struct):
    """A result."""

    value: int


def manifest(name: str) -> Manifest:
    return Manifest(
        name=name,
        version="1",
        summary="Misbehave.",
        attempts_max=2,
        backoff_s=0.05,
        timeout_s=0.5,
    )


@processor(manifest("raises"))
async def raises(given: Nothing) -> Number:
    """Raise what nobody expects."""
    raise LookupError("a fault of the code")


@processor(manifest("hangs"))
async def hangs(given: Nothing) -> Number:
    """Wait for ever."""
    await asyncio.Event().wait()
    return Number(1)


@processor(manifest("blocks"))
def blocks(given: Nothing, context: Context) -> Number:
    """Compute without end, deaf to the request to stop; a plain function, so in a thread."""
    while True:
        time.sleep(0.01)


@processor(manifest("blocks-the-loop"))
async def blocks_the_loop(given: Nothing, context: Context) -> Number:
    """Hold up the whole worker, once, for longer than its leases last."""
    if context.attempt == 1:
        time.sleep(4)  # noqa: ASYNC251 - the fault that is tried here
    return Number(context.attempt)


@processor(manifest("exits"))
async def exits(given: Nothing) -> Number:
    """Take the worker along."""
    os._exit(7)


@processor(manifest("leaves"))
async def leaves(given: Nothing) -> Number:
    """Ask the interpreter to end."""
    raise SystemExit(7)


@processor(manifest("lies"))
async def lies(given: Nothing) -> Number:
    """Return what the result type forbids."""
    wrong: Any = Number("seven")  # type: ignore[arg-type]  # that is the fault
    return wrong  # type: ignore[no-any-return]
