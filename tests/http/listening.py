"""A reader of server-sent events over a real socket, for tests."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from tests.http.served import Served


class Heard(NamedTuple):
    """One event as it came."""

    kind: str
    id: str
    data: Any


class Listening:
    """One open stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.heard: list[Heard] = []
        self.comments = 0
        self._lines = response.aiter_lines()

    async def next(self) -> Heard | None:
        """The next event, or None at the end of the stream."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                found = Heard(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
                self.heard.append(found)
                return found
        return None

    async def beat(self) -> None:
        """The next sign of life: from here on nothing is missed."""
        async for line in self._lines:
            if line.startswith(":"):
                return
        raise AssertionError("the stream ended")

    async def until(self, kind: str) -> Heard:
        """The next event of that kind."""
        while (found := await self.next()) is not None:
            if found.kind == kind:
                return found
        raise AssertionError(f"the stream ended without {kind}; it said {self.heard}")

    async def rest(self) -> list[Heard]:
        """All that comes until the stream ends."""
        start = len(self.heard)
        while await self.next() is not None:
            pass
        return self.heard[start:]


@asynccontextmanager
async def listening(
    served: Served, path: str, *, key: str = "app", **headers: str
) -> AsyncIterator[Listening]:
    """An open stream; `last_event_id` and other headers by name."""
    given = {"authorization": f"Bearer {served.keys[key]}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx.AsyncClient(base_url=served.server.url, timeout=10.0) as http,
        http.stream("GET", path, headers=given) as response,
    ):
        if not response.is_success:
            await response.aread()
        yield Listening(response)
