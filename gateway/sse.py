"""Server-sent events: how they are written, where they go on, and how many streams there may be."""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.problems import RateLimited
from streams.errors import InvalidInput

MEDIA = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx would hold them back
BEAT = b": still here\n\n"
RECONNECT_MS = 1_000
EVENT_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,18}(?:-[0-9]{1,9}|-end)?")
AGAIN_S = 5.0

_encoder = msgspec.json.Encoder()


def framed(kind: str, data: object, event_id: str = "") -> bytes:
    """One event; JSON holds no line end, so it is one line of data."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {kind}\ndata: ".encode() + _encoder.encode(data) + b"\n\n"


def reconnect(reason: str) -> bytes:
    """Tell the client to come again soon: with the id of its last event it misses nothing."""
    return f"retry: {RECONNECT_MS}\n".encode() + framed("reconnect", {"reason": reason})


def last_id(given: str) -> str:
    """The value of `Last-Event-ID`, empty for none. Raises InvalidInput for what was never sent."""
    if given and not EVENT_ID.fullmatch(given):
        raise InvalidInput("not an id of this stream", "$.headers.last-event-id")
    return given


class Viewers:
    """How many streams are open here, by app."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def enter(self, app: str) -> Callable[[], None]:
        """Count one more, until what is returned is called. Raises RateLimited."""
        if self._open[app] >= self._most:
            why = f"{self._most} event streams of this app are open at this gateway"
            raise RateLimited("event-streams", self._most, AGAIN_S, why)
        self._open[app] += 1

        def leave() -> None:
            self._open[app] -= 1
            if not self._open[app]:
                del self._open[app]

        return leave

    @property
    def open(self) -> int:
        """How many are open."""
        return self._open.total()


class EventStream(StreamingResponse):
    """The answer of a stream. It calls `leave` at its end, however that comes."""

    def __init__(self, source: AsyncGenerator[bytes, None], leave: Callable[[], None]) -> None:
        super().__init__(source, headers=HEADERS, media_type=MEDIA)
        self._source = source
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end or until the client is gone; a HEAD gets the head alone."""
        try:
            if scope["method"] == "HEAD":
                await Response(headers=HEADERS, media_type=MEDIA)(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)
        finally:
            await self._source.aclose()
            self._leave()
