"""Wait for a named condition with a limit; never sleep and hope."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")

LOOK_EVERY_S = 0.01
LIMIT_S = 15.0  # long, for busy machines: only what fails takes so long


async def until(
    condition: Callable[[], T | Awaitable[T]], *, what: str, limit_s: float = LIMIT_S
) -> T:
    """The first true answer of `condition`, which may be plain or async.

    Fails with `what` and the last answer when `limit_s` has passed.
    """
    deadline = time.monotonic() + limit_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return cast(T, answer)
        _check(deadline, what, limit_s, answer)
        await asyncio.sleep(LOOK_EVERY_S)


def until_sync(condition: Callable[[], T], *, what: str, limit_s: float = LIMIT_S) -> T:
    """As `until`, for tests without an event loop."""
    deadline = time.monotonic() + limit_s
    while True:
        answer = condition()
        if answer:
            return answer
        _check(deadline, what, limit_s, answer)
        time.sleep(LOOK_EVERY_S)


def _check(deadline: float, what: str, limit_s: float, answer: object) -> None:
    if time.monotonic() >= deadline:
        raise AssertionError(f"waited {limit_s} s for {what}; last answer: {answer!r}")
