"""Runs services in this process until a signal, a crash, or the end of the parent's lifeline.

First SIGTERM or SIGINT: stop in order, with everything that is under way brought to its end.
Second: leave at once. What is left over is picked up by others: leases expire, callbacks repeat.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

import uvloop
from mode import Service

from streams.errors import Trouble

WATCH_EVERY_S = 0.25
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
KILLED_EXIT = 130

log = logging.getLogger(__name__)


class Fallible(Service):
    """A service that may end with expected trouble: it sets `failure` and returns.

    A crash is for what nobody foresaw; mode logs it with a traceback.
    """

    failure: Trouble | None = None


def run_services(build: Callable[[], Sequence[Service]], *, lifeline: bool = False) -> None:
    """Build and run services until told to stop, in an event loop of our own.

    With `lifeline` the end of standard input is a stop: the parent that held it is gone. Raises
    what a service raised when it could not start or crashed.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(build, lifeline=lifeline))


async def serve(
    build: Callable[[], Sequence[Service]],
    *,
    lifeline: bool = False,
    on_abort: Callable[[], None] = lambda: None,
) -> None:
    """`run_services` inside a running loop. `on_abort` is called before leaving at once."""
    stopping = asyncio.Event()
    with signals(stopping, on_abort):
        started: list[Service] = []
        if lifeline:
            hold_lifeline(stopping.set)
        try:
            for service in build():
                started.append(service)
                if not await _start(service, stopping):
                    break
            await _watch(started, stopping)
        finally:
            for service in reversed(started):
                await service.stop()
        for failure in filter(None, map(failure_of, started)):
            raise failure


@contextlib.contextmanager
def signals(stopping: asyncio.Event, on_abort: Callable[[], None]):  # type: ignore[no-untyped-def]
    """The first signal sets `stopping`, the second ends the process."""
    loop = asyncio.get_running_loop()

    def stop(received: signal.Signals) -> None:
        if stopping.is_set():
            log.warning("second %s: leaving at once", received.name)
            on_abort()
            os._exit(KILLED_EXIT)
        log.info("%s: stopping; once more leaves at once", received.name)
        stopping.set()

    for name in STOP_SIGNALS:
        loop.add_signal_handler(name, stop, name)
    try:
        yield
    finally:
        for name in STOP_SIGNALS:
            loop.remove_signal_handler(name)


def failure_of(service: Service) -> BaseException | None:
    """Why a service ended by itself, or None."""
    if isinstance(service, Fallible) and service.failure is not None:
        return service.failure
    return service.crash_reason


def hold_lifeline(stop: Callable[[], None]) -> None:
    """Call `stop` when standard input ends: the process that started this one is gone."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    os.set_blocking(descriptor, False)

    def heard() -> None:
        if not os.read(descriptor, 4_096):
            loop.remove_reader(descriptor)
            log.warning("the process that started this one is gone: stopping")
            stop()

    loop.add_reader(descriptor, heard)


async def _start(service: Service, stopping: asyncio.Event) -> bool:
    """Start one service; False when a stop was asked for meanwhile."""
    starting = asyncio.ensure_future(service.start())
    asked = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait((starting, asked), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return False
        await starting
    finally:
        for waiting in (starting, asked):
            waiting.cancel()
        await asyncio.gather(starting, asked, return_exceptions=True)
    return not stopping.is_set()


async def _watch(services: Sequence[Service], stopping: asyncio.Event) -> None:
    """Until a stop is asked for or a service has crashed."""
    while not stopping.is_set() and not any(map(failure_of, services)):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WATCH_EVERY_S):
                await stopping.wait()
