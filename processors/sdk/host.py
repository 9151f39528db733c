"""Runs attempts: on the event loop, in a thread or in a child process, by class and function."""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Iterable

from mode import Service

from processors.dependencies import Attempt, Provider
from processors.sdk.children import Children
from processors.sdk.context import Context
from processors.sdk.declaration import Processor
from processors.sdk.frames import Raised
from processors.sdk.injection import Injector
from processors.sdk.registry import Registry
from processors.sdk.remembered import Remembered
from processors.sdk.settings import ProcessorSettings
from processors.sdk.threads import ThreadAttempt, ThreadCall
from streams.errors import Crashed, Retry
from streams.model import ResourceClass

ELSEWHERE_S = 5.0  # how long a job waits whose processor this worker lacks

log = logging.getLogger(__name__)


class Host(Service):
    """Runs the attempts of one worker. Starting it opens and checks the dependencies."""

    def __init__(
        self,
        registry: Registry,
        providers: Iterable[Provider],
        settings: ProcessorSettings | None = None,
        remembered: Remembered | None = None,
    ) -> None:
        """Runs the processors of `registry` with the dependencies of `providers`."""
        super().__init__()
        self._registry = registry
        self._settings = settings or ProcessorSettings()
        self._remembered = remembered
        self._injector = Injector(providers)
        self._processes = Children(self._settings)
        self._abandoned: set[threading.Thread] = set()

    async def on_start(self) -> None:
        """Raise ConfigError, naming processor and dependency, when one cannot be had."""
        await self._injector.open(list(self._registry), self._settings.dependency_check_s)

    async def on_stop(self) -> None:
        """End the child processes, then close the dependencies."""
        await self._processes.close()
        await self._injector.close()

    @property
    def child_pids(self) -> list[int]:
        """The cpu child processes that live now."""
        return self._processes.pids

    @property
    def abandoned_threads(self) -> int:
        """Threads of ended attempts that are still running: plain functions that never return."""
        self._abandoned = {thread for thread in self._abandoned if thread.is_alive()}
        return len(self._abandoned)

    async def run(self, attempt: Attempt) -> bytes:
        """The result of one attempt, JSON, proved to be of the declared type.

        Raises InvalidInput, InvalidResult, TooLarge, Rejected, Retry, Crashed, or whatever else
        the processor raised. When cancelled, the work has stopped before CancelledError leaves
        here: a child process is gone; a thread had `stop_grace_s` to return and is then abandoned.
        """
        name = attempt.lease.lane.processor
        processor = self._registry.get(name)
        if processor is None:
            raise Retry(
                f"this worker has no processor {name!r}", after_s=ELSEWHERE_S, uses_attempt=False
            )
        if processor.resource_class is ResourceClass.CPU:
            return await self._processes.run(processor, attempt)
        if processor.manifest.cache_s and self._remembered is not None:
            return await self._remembered.run(
                processor, attempt, lambda: self._perform(processor, attempt)
            )
        return await self._perform(processor, attempt)

    async def _perform(self, processor: Processor, attempt: Attempt) -> bytes:
        given = processor.decode(attempt.payload)
        if processor.is_async:
            value = await self._on_the_loop(processor, given, attempt)
        else:
            value = await self._in_a_thread(processor, given, attempt)
        return processor.encode(value, self._settings.result_max_bytes)

    async def _on_the_loop(self, processor: Processor, given: object, attempt: Attempt) -> object:
        context = Context(attempt, self._injector.values(processor.manifest, attempt))
        return await call_on_the_loop(processor, given, context)

    async def _in_a_thread(self, processor: Processor, given: object, attempt: Attempt) -> object:
        stop_requested = threading.Event()
        outside = ThreadAttempt(attempt, asyncio.get_running_loop())
        values = self._injector.values(processor.manifest, outside)
        context = Context(outside, values, stop_requested)
        call = ThreadCall(lambda: processor.call(given, context), processor.name)
        try:
            return await call.ending()
        except asyncio.CancelledError:
            stop_requested.set()
            self._abandoned.add(call.thread)  # counted only while it is alive
            if await call.ends_within(self._settings.stop_grace_s):
                self._abandoned.discard(call.thread)
            else:
                log.warning(
                    "a plain function did not stop; its thread is abandoned",
                    extra={"processor": processor.name, "job_id": attempt.lease.job_id},
                )
            raise
        finally:
            outside.close()


async def call_on_the_loop(processor: Processor, given: object, context: Context) -> object:
    """The value an async processor returns; what would end the worker becomes Crashed."""
    value = processor.call(given, context)
    assert isinstance(value, Coroutine)
    try:
        return await value
    except (SystemExit, KeyboardInterrupt) as error:
        raise Crashed(f"the processor raised {error!r}") from error
    except asyncio.CancelledError as error:
        running = asyncio.current_task()
        if running is not None and running.cancelling():
            raise
        raise Raised("CancelledError: the processor was cancelled, but not by us") from error
