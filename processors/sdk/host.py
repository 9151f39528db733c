"""Runs attempts: on the event loop, in a thread or in a child process, by class and function."""

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from mode import Service

from processors.dependencies import Attempt, Provider
from processors.sdk.children import Children
from processors.sdk.context import Context
from processors.sdk.declaration import Processor
from processors.sdk.frames import Raised
from processors.sdk.injection import Injector
from processors.sdk.registry import Registry
from processors.sdk.settings import ProcessorSettings
from streams.errors import Crashed, Retry
from streams.model import Lease, ResourceClass

ELSEWHERE_S = 5.0  # how long a job waits whose processor this worker lacks

log = logging.getLogger(__name__)


class Host(Service):
    """Runs the attempts of one worker. Starting it opens and checks the dependencies."""

    def __init__(
        self,
        registry: Registry,
        providers: Iterable[Provider],
        settings: ProcessorSettings | None = None,
    ) -> None:
        """Runs the processors of `registry` with the dependencies of `providers`."""
        super().__init__()
        self._registry = registry
        self._settings = settings or ProcessorSettings()
        self._injector = Injector(providers)
        self._children = Children(self._settings)
        self._abandoned: set[threading.Thread] = set()

    async def on_start(self) -> None:
        """Raise ConfigError, naming processor and dependency, when one cannot be had."""
        await self._injector.open(list(self._registry), self._settings.dependency_check_s)

    async def on_stop(self) -> None:
        """End the child processes, then close the dependencies."""
        await self._children.close()
        await self._injector.close()

    @property
    def child_pids(self) -> list[int]:
        """The cpu child processes that live now."""
        return self._children.pids

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
            remaining_s = attempt.deadline - time.monotonic()
            return await self._children.run(processor, attempt, remaining_s)
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
            if not await call.ends_within(self._settings.stop_grace_s):
                self._abandoned.add(call.thread)
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


class ThreadCall:
    """A call in a daemon thread of its own, so that one that hangs holds up nothing."""

    def __init__(self, call: Callable[[], object], name: str) -> None:
        """Starts at once."""
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Future[object] = self._loop.create_future()
        run = contextvars.copy_context().run
        self.thread = threading.Thread(target=run, args=(self._run,), name=name, daemon=True)
        self.thread.start()

    async def ending(self) -> object:
        """The value, or the exception. The call goes on when the caller is cancelled."""
        return await asyncio.shield(self._ending)

    async def ends_within(self, seconds: float) -> bool:
        """Whether the call returns, in whatever way, within `seconds`."""
        done, _ = await asyncio.wait([self._ending], timeout=seconds)
        return bool(done)

    def _run(self) -> None:
        value: object = None
        raised: BaseException | None = None
        try:
            value = self._call()
        except (SystemExit, KeyboardInterrupt, StopIteration, asyncio.CancelledError) as error:
            # None of these may be set on a future, or would mean something else there.
            raised = Crashed(f"the processor raised {error!r}")
        except BaseException as error:  # the edge to foreign code
            raised = error
        try:
            self._loop.call_soon_threadsafe(self._end, value, raised)
        except RuntimeError:  # the loop was closed: the call had been abandoned
            return

    def _end(self, value: object, raised: BaseException | None) -> None:
        if raised is None:
            self._ending.set_result(value)
        else:
            self._ending.set_exception(raised)
            self._ending.exception()  # seen, even when the attempt has been given up


class ThreadAttempt:
    """An attempt for use in another thread: what is said to it is said on the loop."""

    def __init__(self, attempt: Attempt, loop: asyncio.AbstractEventLoop) -> None:
        """Speaks to `attempt` on `loop`."""
        self._attempt = attempt
        self._loop = loop
        self._is_open = True

    def close(self) -> None:
        """The attempt has ended: what an abandoned thread says from now on is dropped."""
        self._is_open = False

    @property
    def lease(self) -> Lease:
        """The attempt's lease."""
        return self._attempt.lease

    @property
    def payload(self) -> bytes:
        """The attempt's payload."""
        return self._attempt.payload

    @property
    def started_ms(self) -> int:
        """When it started."""
        return self._attempt.started_ms

    @property
    def timeout_s(self) -> float:
        """How long it may run."""
        return self._attempt.timeout_s

    @property
    def deadline(self) -> float:
        """When it will be stopped."""
        return self._attempt.deadline

    def untimed(self) -> AbstractContextManager[object]:
        """Time inside does not count, from about now to about when it is left."""
        return self._untimed()

    def progress(self, fraction: float | None, note: str = "") -> None:
        """Pass the progress on."""
        self._say(lambda: self._attempt.progress(fraction, note))

    def log(self, level: str, message: str, **fields: object) -> None:
        """Pass the line on."""
        self._say(lambda: self._attempt.log(level, message, **fields))

    @contextmanager
    def _untimed(self) -> Iterator[None]:
        pause = self._attempt.untimed()
        self._say(lambda: pause.__enter__())
        try:
            yield
        finally:
            self._say(lambda: pause.__exit__(None, None, None))

    def _say(self, call: Callable[[], Any]) -> None:
        if not self._is_open:
            return
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop was closed: the attempt had been abandoned
            self._is_open = False
