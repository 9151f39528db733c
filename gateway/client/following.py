"""Reading the gateway's event streams: what came, where to go on after a cut, when to give up."""

import math
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec

from gateway.client.requests import AGAIN, TRIES, backoff_s, refusal
from gateway.wire import JobView
from streams.errors import Unavailable

SILENCE_S = 45.0  # the gateway gives a sign of life every 15
TURN_S = 60.0  # the longest that the gateway lets one request take, where it is asked to end


class Text(msgspec.Struct, frozen=True):
    """A piece of what the job says."""

    text: str
    attempt: int
    at: int  # bytes of UTF-8 before it


class Begun(msgspec.Struct, frozen=True):
    """An attempt begins: forget what an earlier one said."""

    attempt: int


class Cut(msgspec.Struct, frozen=True):
    """The attempt says more than is kept; the result has it all."""

    attempt: int


class Ended(msgspec.Struct, frozen=True):
    """The job has ended."""

    job: JobView


Said = Text | Begun | Cut | Ended


class Frame(msgspec.Struct, frozen=True):
    """One event as it came."""

    kind: str
    id: str
    data: bytes


class Parser:
    """Server-sent events, line by line."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> Frame | None:
        """The event that ends with this line, if one does."""
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        return Frame(fields.get("event", ""), fields.get("id", ""), fields["data"].encode())


class Following:
    """One stream over as many connections as it takes. Its clock is monotonic."""

    def __init__(self, path: str, within_s: float = math.inf, tries: int = TRIES) -> None:
        """Gives up after `tries` that brought nothing."""
        self.path = path
        self._tries = tries
        self._ends_at = time.monotonic() + within_s
        self._last_id = ""
        self._tried = 0
        self._parser = Parser()

    @property
    def left_s(self) -> float:
        """How long it may still take."""
        return self._ends_at - time.monotonic()

    def request(self) -> dict[str, Any]:
        """The next request, as httpx takes it."""
        self._parser = Parser()
        headers = {"accept": "text/event-stream"}
        if self._last_id:
            headers["last-event-id"] = self._last_id
        if self.left_s < math.inf:
            turn_s = max(0, math.ceil(min(self.left_s, TURN_S)))
            headers["prefer"] = f"wait={turn_s}"
        timeout = httpx.Timeout(SILENCE_S, connect=5.0)
        return {"method": "GET", "url": self.path, "headers": headers, "timeout": timeout}

    def take(self, line: str) -> Iterator[Frame]:
        """The event that a line completes."""
        frame = self._parser.feed(line)
        if frame is None:
            return
        self._tried = 0
        self._last_id = frame.id or self._last_id
        yield frame

    def pause_s(self, reply: httpx.Response | None, failure: Exception | None) -> float | None:
        """Seconds until the next request; None when there is to be none.

        Raises Refused or Unavailable when the stream cannot be had.
        """
        if self.left_s <= 0 or (reply is not None and reply.status_code == 204):
            return None
        if reply is not None and reply.is_success and failure is None:
            return 0.0  # the gateway ended its turn
        self._tried += 1
        answered = reply is not None and not reply.is_success
        if answered and reply is not None and reply.status_code not in AGAIN:
            raise refusal(reply, self.path)
        asked = reply.headers.get("retry-after", "") if answered and reply is not None else ""
        pause = backoff_s(self._tried, asked)
        if self._tried < self._tries and pause is not None:
            return min(pause, max(0.0, self.left_s))
        if answered and reply is not None:
            raise refusal(reply, self.path)
        raise Unavailable(f"the gateway does not answer: {failure!r}") from failure


def said_of(frame: Frame) -> Said | None:
    """What an event of a job's stream says; None for one that is for the client alone."""
    match frame.kind:
        case "text":
            return msgspec.json.decode(frame.data, type=Text)
        case "begin":
            return msgspec.json.decode(frame.data, type=Begun)
        case "cut":
            return msgspec.json.decode(frame.data, type=Cut)
        case "end":
            return Ended(msgspec.json.decode(frame.data, type=JobView))
    return None


def has_ended(frame: Frame) -> bool:
    """Whether an event of a job's changes shows it ended."""
    return frame.kind == "job" and msgspec.json.decode(frame.data, type=JobView).state.ended
