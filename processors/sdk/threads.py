"""Calls plain functions in threads, and lets them speak to an attempt that lives on the loop."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from processors.dependencies import Attempt
from processors.sdk.frames import Raised
from streams.errors import Crashed
from streams.model import Lease
from streams.usage import Usage


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
        except (SystemExit, KeyboardInterrupt) as error:
            raised = Crashed(f"the processor raised {error!r}")
        except (StopIteration, asyncio.CancelledError) as error:
            raised = Raised(repr(error))  # on a future these two would mean something else
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
    def timeout_s(self) -> float:
        """How long it may run."""
        return self._attempt.timeout_s

    @property
    def deadline(self) -> float | None:
        """When it will be stopped."""
        return self._attempt.deadline

    def untimed(self) -> AbstractContextManager[object]:
        """Time inside does not count, from about now to about when it is left."""
        return self._untimed()

    def progress(self, fraction: float | None, note: str = "") -> None:
        """Pass the progress on."""
        self._say(lambda: self._attempt.progress(fraction, note))

    def emit(self, piece: str) -> None:
        """Pass the piece on."""
        self._say(lambda: self._attempt.emit(piece))

    def spend(self, usage: Usage, first_s: float | None = None) -> None:
        """Pass the usage on."""
        self._say(lambda: self._attempt.spend(usage, first_s))

    def log(self, level: str, message: str, **fields: object) -> None:
        """Pass the line on."""
        self._say(lambda: self._attempt.log(level, message, **fields))

    @contextmanager
    def _untimed(self) -> Iterator[None]:
        pause = self._attempt.untimed()
        self._say(pause.__enter__)
        try:
            yield
        finally:
            self._say(lambda: pause.__exit__(None, None, None))

    def _say(self, call: Callable[[], object]) -> None:
        if not self._is_open:
            return
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop was closed: the attempt had been abandoned
            self._is_open = False
