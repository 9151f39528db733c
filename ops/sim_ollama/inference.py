"""Sends an answer over ASGI, streamed or whole, and stops the moment the client is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from ops.sim_ollama.answering import Answerer, Cut, Line
from ops.sim_ollama.clock import ScaledClock
from ops.sim_ollama.faults import Faults, Kind
from ops.sim_ollama.log import SimLog, Visit
from ops.sim_ollama.wire import Asked, Problem

NDJSON = b"application/x-ndjson"
JSON = b"application/json; charset=utf-8"
CLIENT_GONE = 499


class Inference:
    """The ASGI response of one request to generate or chat."""

    def __init__(
        self, asked: Asked, faults: Faults, answerer: Answerer, log: SimLog, clock: ScaledClock
    ) -> None:
        self._asked = asked
        self._faults = faults
        self._answerer = answerer
        self._log = log
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. A cut connection is made by returning without the end of the body."""
        await self._log.settle()
        visit = self._log.arrive(self._asked.route, self._asked.model, self._clock.now())
        sending = Sending(send, lambda status, ending: self._leave(visit, status, ending))
        if not await while_connected(receive, self._answer(visit, sending)):
            self._leave(visit, CLIENT_GONE, "disconnected")

    def _leave(self, visit: Visit, status: int, ending: str) -> None:
        self._log.leave(visit, status, ending, self._clock.now())

    async def _answer(self, visit: Visit, sending: "Sending") -> None:
        try:
            ordered_status(self._faults)
            async with aclosing(self._lines(visit)) as lines:
                if self._asked.stream:
                    await sending.stream(lines)
                else:
                    await sending.whole(lines, is_chat=self._asked.is_chat)
        except Problem as problem:
            await sending.problem(problem)
        except ListBody as odd:
            await sending.json(odd.status, [odd.text])
        except Cut:
            sending.leave(200, "cut")

    def _lines(self, visit: Visit) -> Any:
        return self._answerer.lines(self._asked, self._faults, visit)


class ListBody(Exception):
    """An error whose body is a JSON list, which the Python client cannot read."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def ordered_status(faults: Faults) -> None:
    """Raise the error that a fault orders in place of an answer."""
    if fault := faults.get(Kind.HTTP):
        raise Problem(int(fault.arg) or 500, fault.text or "internal server error")
    if fault := faults.get(Kind.LIST_BODY):
        raise ListBody(int(fault.arg) or 502, fault.text or "bad gateway")


class Sending:
    """One HTTP answer. The visit is left before the last byte goes out, so that a client that
    asks again at once is not counted beside itself."""

    def __init__(self, send: Send, leave: Callable[[int, str], None]) -> None:
        self._send = send
        self.leave = leave
        self._started = False

    async def stream(self, lines: AsyncIterator[Line]) -> None:
        """One JSON object and a newline per line; the status waits for the first of them."""
        async for line in lines:
            reason = line.get("done_reason") if isinstance(line, dict) else None
            if reason in ("load", "unload"):
                await self.json(200, line, ending=reason)
                return
            if reason is not None:
                self.leave(200, reason)
            await self._start(200, NDJSON)
            await self._body(line if isinstance(line, bytes) else _encoded(line))
        self.leave(200, "cut")
        await self._start(200, NDJSON)
        await self._end()

    async def whole(self, lines: AsyncIterator[Line], *, is_chat: bool) -> None:
        """One object: the last line with all text; `done` is false if the model just stopped."""
        said: dict[str, str] = {"content": "", "thinking": ""}
        last: dict[str, Any] = {}
        async for line in lines:
            if isinstance(line, dict):
                spoken = line["message"] if is_chat else line
                said["content"] += spoken["content" if is_chat else "response"]
                said["thinking"] += spoken.get("thinking", "")
                last = line
        await self.json(200, _joined(last, said, is_chat=is_chat), last.get("done_reason", "cut"))

    async def problem(self, problem: Problem) -> None:
        """An error: with its status, or as a line when the status has been sent already."""
        body = {"error": problem.text}
        if not self._started:
            await self.json(problem.status, body, ending="error")
            return
        self.leave(200, "error")
        await self._body(_encoded(body))
        await self._end()

    async def json(self, status: int, body: object, ending: str = "error") -> None:
        """A whole answer of one JSON value."""
        self.leave(status, ending)
        await self._start(status, JSON)
        await self._body(msgspec.json.encode(body))
        await self._end()

    async def _start(self, status: int, content_type: bytes) -> None:
        if self._started:
            return
        self._started = True
        headers = [(b"content-type", content_type)]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work`, cancelled when the client disconnects. Returns whether it came to its end."""
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work)
        watching = group.create_task(_watch(receive, working))
        await asyncio.wait([working])
        watching.cancel()
    return not working.cancelled()


async def _watch(receive: Receive, working: asyncio.Task[None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    working.cancel()


def _encoded(line: dict[str, Any]) -> bytes:
    return msgspec.json.encode(line) + b"\n"


def _joined(last: dict[str, Any], said: dict[str, str], *, is_chat: bool) -> dict[str, Any]:
    thinking = {"thinking": said["thinking"]} if said["thinking"] else {}
    if is_chat:
        message = {"role": "assistant", "content": said["content"], **thinking}
        return {**last, "message": message}
    return {**last, "response": said["content"], **thinking}
