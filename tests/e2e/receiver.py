"""An app's side of callbacks: receives them, verifies them as its library does, remembers all."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from standardwebhooks import Webhook

from tests.web.local_server import LocalServer, Received, local_server, response

AGAIN_EVERY = 10  # every tenth callback is refused once, so that it comes again
SAME = ("job_id", "state")
OK, BUSY = response(200), response(503)


class Receiver:
    """The callbacks of one app's endpoint. Each is verified; a repeated one must be the same."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.url = f"{server.origin}/hooks"
        self.secret = ""
        self.bodies: dict[str, bytes] = {}  # by webhook-id
        self.deliveries: Counter[str] = Counter()
        self.refused: set[str] = set()
        self.faults: list[str] = []
        # Of an end that Redis forgot and was told again only the times may differ.
        self.forgetful = False
        self.answering = asyncio.Event()  # cleared: deliveries are read, and not answered
        self.answering.set()
        server.answer = self._answer

    async def register(self, http: httpx.AsyncClient) -> None:
        """Make this the app's endpoint."""
        reply = await http.post("/v1/endpoints", json={"url": self.url})
        assert reply.status_code == 201, reply.text
        self.secret = reply.json()["secret"]

    @property
    def endings(self) -> dict[str, list[dict[str, Any]]]:
        """What was told of each job, by its id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for body in self.bodies.values():
            told = json.loads(body)["data"]
            found.setdefault(told["job_id"], []).append(told)
        return found

    @property
    def repeated(self) -> int:
        """Deliveries beyond the first that this receiver had not asked for."""
        return self.deliveries.total() - len(self.deliveries) - len(self.refused)

    def _differs(self, first: bytes, second: bytes) -> bool:
        if not self.forgetful:
            return first != second
        one, other = json.loads(first)["data"], json.loads(second)["data"]
        return [one[name] for name in SAME] != [other[name] for name in SAME]

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        callback_id = request.headers.get("webhook-id", "")
        try:
            Webhook(self.secret).verify(request.body, request.headers)
        except Exception as error:  # whatever it is, the test shall say so
            self.faults.append(f"{callback_id}: {error!r}")
        if self._differs(self.bodies.setdefault(callback_id, request.body), request.body):
            self.faults.append(f"{callback_id}: other bytes under the same id")
        self.deliveries[callback_id] += 1
        refuse = len(self.bodies) % AGAIN_EVERY == 0 and self.deliveries[callback_id] == 1
        if refuse:
            self.refused.add(callback_id)
        await self.answering.wait()
        writer.write(BUSY if refuse else OK)
        await writer.drain()


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on a free port of the loopback."""
    async with local_server() as server:
        yield Receiver(server)
