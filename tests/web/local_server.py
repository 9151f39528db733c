"""A raw HTTP server on loopback whose answers a test writes byte by byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

NO_CONTENT = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


@dataclass
class Received:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path


Answer = bytes | Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class LocalServer:
    """Answers every request with `answer`, or by path from `routes`, and closes."""

    port: int
    answer: Answer = NO_CONTENT
    routes: dict[str, Answer] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    open: int = 0
    open_max: int = 0

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request, one answer."""
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                request = await read_request(reader)
                self.received.append(request)
                answer = self.routes.get(request.path, self.answer)
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(request, writer)
        finally:
            self.open -= 1
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> Received:
    """Read one request with a content-length, or without a body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)


def response(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole response; underscores in header names stand for dashes."""
    lines = [f"HTTP/1.1 {status} Answer", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def local_server(
    answer: Answer = NO_CONTENT, host: str = "127.0.0.1"
) -> AsyncIterator[LocalServer]:
    """A server on a free port, gone with the block."""
    local = LocalServer(0, answer)
    server = await asyncio.start_server(local.serve, host, 0)
    local.port = server.sockets[0].getsockname()[1]
    try:
        yield local
    finally:
        server.close()
