"""One connection: what uvicorn leaves open, closed. Limits of URL, headers, time and number.

Every refusal is a problem document, also of what is no HTTP at all.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import (
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gateway.heads import AT_ONCE, WHOLE
from gateway.problems import (
    HeadersTooLarge,
    MalformedRequest,
    TooSlow,
    UriTooLong,
    problem_response,
)
from gateway.settings import GatewaySettings
from streams.errors import Unavailable

LINGER_S = 2.0  # a client may finish what nobody reads, so that it sees the answer
AGAIN_S = 5.0  # Retry-After when there are too many connections
HEADER_EXTRA = 4  # the colon, the space and the line's end
HOST = b"host"

Observe = Callable[[int], None]  # told the status of what never reached the application


class Refusal(Exception):
    """Stops the parser; what to answer is in `fault` of the connection."""


class GuardedConnection(HttpToolsProtocol):
    """uvicorn's protocol within limits. Subclasses made by `guarded` have `settings`."""

    settings: GatewaySettings
    observe: Observe

    _timer: asyncio.TimerHandle | None = None
    _end: Callable[[], None] | None = None
    _due = _looks_at = 0.0
    _stalled: asyncio.TimerHandle | None = None
    _fault: Exception | None = None
    _deaf = False  # refused: what still arrives is thrown away
    _in_head = False
    _whole = True  # the newest request has arrived to its end
    _url_bytes = _head_bytes = _head_pending = _head_count = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Begin to wait for a request, or refuse the connection."""
        super().connection_made(transport)
        self._wait(self.settings.idle_s, self._close)
        if len(self.connections) > self.settings.connections_max:
            self._refuse(Unavailable("too many connections", after_s=AGAIN_S))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._wait(0, None)
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        super().connection_lost(exc)
        self.transport.abort()  # uvicorn leaves it open after an error

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what is beyond a limit."""
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # answered as it is; nothing can follow
        except httptools.HttpParserError:
            self._refuse(self._fault or MalformedRequest("this is not HTTP/1.1"))
            return
        if self._in_head:
            self._head_pending += len(data)  # a header reaches us only when it is complete
            self._check_pending()

    def on_message_begin(self) -> None:
        """A request begins: it has a while to tell what it wants."""
        super().on_message_begin()
        self._in_head, self._whole = True, False
        self._url_bytes = self._head_bytes = self._head_pending = self._head_count = 0
        self._wait(self.settings.head_read_s, self._too_slow)

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._url_bytes += len(url)
        if self._url_bytes > self.settings.url_max_bytes:
            self._stop(UriTooLong(f"the URL has more than {self.settings.url_max_bytes} bytes"))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those after the body are counted and dropped."""
        self._head_count += 1
        self._head_bytes += len(name) + len(value) + HEADER_EXTRA
        if self._head_count > self.settings.headers_max:
            self._stop(HeadersTooLarge(f"more than {self.settings.headers_max} headers"))
        if self._head_bytes > self.settings.headers_max_bytes:
            self._stop(self._too_large())
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request is known: the application answers it."""
        self._in_head = False
        self._wait(0, None)
        hosts = [name for name, _ in self.headers].count(HOST)
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            self._stop(MalformedRequest("exactly one Host header is needed"))
        super().on_headers_complete()
        self._tell(AT_ONCE, partial(self._answer_at_once, self.cycle))

    def on_message_complete(self) -> None:
        """The request has arrived to its end."""
        self._whole = True
        self._tell(WHOLE, True)
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait(self.settings.idle_s, self._close)

    def on_response_complete(self) -> None:
        """Wait for the next request, or a moment for the rest of this one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._in_head:
            self._wait(self.settings.idle_s if self._whole else self._linger_s, self._close)

    def shutdown(self) -> None:
        """The server stops: what was refused has no need to linger."""
        if self._deaf:
            self._close()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """The client reads slower than we answer: it has a while to catch up."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.settings.answer_stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    @property
    def _linger_s(self) -> float:
        return min(LINGER_S, self.settings.idle_s)

    def _check_pending(self) -> None:
        limits = self.settings
        if self._head_pending <= limits.url_max_bytes + limits.headers_max_bytes:
            return
        in_url = not self._head_count and self._url_bytes == 0
        self._refuse(UriTooLong("the URL does not end") if in_url else self._too_large())

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(f"more than {self.settings.headers_max_bytes} bytes of headers")

    def _too_slow(self) -> None:
        limit_s = self.settings.head_read_s
        self._refuse(TooSlow(f"the headers did not arrive within {limit_s:g} s"))

    def _stop(self, fault: Exception) -> None:
        self._fault = fault
        raise Refusal

    def _refuse(self, fault: Exception) -> None:
        """Answer with a problem, unless an answer is under way, and close."""
        self._deaf = True
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy:
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False  # nothing more can be written
            self.cycle.message_event.set()
        if busy and self.cycle.response_started:
            self._close()
            return
        response = problem_response(fault)
        lines = [STATUS_LINE[response.status_code]]
        lines += [name + b": " + value + b"\r\n" for name, value in response.raw_headers]
        self.transport.write(b"".join([*lines, b"connection: close\r\n\r\n", bytes(response.body)]))
        self.observe(response.status_code)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._wait(self._linger_s, self._close)
        self.flow.resume_reading()

    def _answer_at_once(self, cycle: RequestResponseCycle, answer: Response) -> bool:
        """Send head and body in one write, as `cycle.send` would in two.

        False where that has to wait or to leave something out: then it is to be sent the usual way.
        """
        refused = cycle.disconnected or cycle.response_started or cycle.flow.write_paused
        if refused or cycle.scope["method"] == "HEAD":
            return False
        lines = [STATUS_LINE[answer.status_code]]
        for name, value in (*cycle.default_headers, *answer.raw_headers):
            if HEADER_VALUE_RE.search(value):
                return False
            lines += (name, b": ", value, b"\r\n")
        lines += (b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", bytes(answer.body))
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self.transport.write(b"".join(lines))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def _tell(self, name: str, what: object) -> None:
        """Tell the application something about the newest request."""
        cast(dict[str, object], self.scope)[name] = what

    def _close(self) -> None:
        self._wait(0, None)
        if not self.transport.is_closing():
            self.transport.close()

    def _wait(self, limit_s: float, end: Callable[[], None] | None) -> None:
        """Have `end` called after a while, instead of what was to be called before."""
        self._end, self._due = end, self.loop.time() + limit_s
        if end is None or (self._timer is not None and self._looks_at <= self._due):
            return  # a timer that comes too early looks again: most are never set
        if self._timer is not None:
            self._timer.cancel()
        self._look_later()

    def _look(self) -> None:
        """End what has waited long enough."""
        self._timer = None
        if self._end is not None and self.loop.time() < self._due:
            self._look_later()
        elif self._end is not None:
            self._end()

    def _look_later(self) -> None:
        self._looks_at = self._due
        self._timer = self.loop.call_at(self._due, self._look)


def guarded(settings: GatewaySettings, observe: Observe) -> type[GuardedConnection]:
    """The protocol of a server with these settings."""
    return type(
        "Connection", (GuardedConnection,), {"settings": settings, "observe": staticmethod(observe)}
    )
