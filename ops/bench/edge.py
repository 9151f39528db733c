"""The gateway process of a measurement, and requests to it that cost the asker little.

`python -m ops.bench.edge FOLDER URL PORT` is a gateway with its journal and its courier, every
setting at its default; PORT is one to which callbacks may go. It says its URL, ends with its
standard input, and says the CPU seconds that it used.
"""

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvloop

from gateway.sealing import SealSettings
from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from ops.bench.worker import say
from ops.settings import RedisSettings, Settings
from ops.wiring import build_gateway
from processors.dependencies.guard import GuardSettings

HEAD_END = b"\r\n\r\n"


def settings_of(folder: Path, url: str, port: int) -> Settings:
    """The defaults, with all that is kept on disk in `folder`."""
    return Settings(
        redis=RedisSettings(url=url),
        gateway=GatewaySettings(
            port=0,
            journal_folder=str(folder / "journal"),
            blob_folder="",
            audit_file="",
            batch_body_max_bytes=8 * 1024 * 1024,
        ),
        secrets=SealSettings(key_file=str(folder / "secrets.key")),
        network=GuardSettings(allow_networks=("127.0.0.1/32",), allow_ports=(port,)),
    )


async def serve(settings: Settings) -> None:
    """Be a gateway until standard input ends."""
    services = build_gateway(settings)
    [server] = [service for service in services if isinstance(service, GatewayServer)]
    for service in services:
        await service.start()
    say({"url": server.url})
    cpu_s = time.process_time()
    await asyncio.to_thread(sys.stdin.read)
    say({"cpu_s": time.process_time() - cpu_s})
    for service in reversed(services):
        await service.stop()


def request(method: str, path: str, key: str, body: object) -> bytes:
    """One HTTP/1.1 request, ready to be sent."""
    content = msgspec.json.encode(body)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Asker:
    """One connection, one request after the other."""

    def __init__(self, host: str, port: int) -> None:
        self._where = (host, port)

    async def __aenter__(self) -> "Asker":
        self._reader, self._writer = await asyncio.open_connection(*self._where)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, sent: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._writer.write(sent)
        head = await self._reader.readuntil(HEAD_END)
        fields = dict(_fields(head))
        body = await self._reader.readexactly(int(fields.get(b"content-length", b"0")))
        return int(head[9:12]), body


def _fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        yield name.lower(), value.strip()


async def ask_all(
    host: str, port: int, requests: Sequence[bytes], connections: int
) -> Mapping[int, int]:
    """Send requests over several connections; how many answers had which status."""
    waiting, counts = iter(requests), dict[int, int]()

    async def one() -> None:
        async with Asker(host, port) as asker:
            for sent in waiting:
                status, _ = await asker.ask(sent)
                counts[status] = counts.get(status, 0) + 1

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    return counts


class Receiver(asyncio.Protocol):
    """Answers 204 to every callback, and counts them."""

    received = 0

    def __init__(self) -> None:
        self._waiting = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._waiting += data
        while HEAD_END in self._waiting:
            head, _, rest = self._waiting.partition(HEAD_END)
            length = int(dict(_fields(head)).get(b"content-length", b"0"))
            if len(rest) < length:
                return
            self._waiting = rest[length:]
            Receiver.received += 1
            self._transport.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def free_port() -> Iterator[socket.socket]:
    """A socket that listens on a free port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def main() -> None:
    """Serve as the arguments say."""
    logging.basicConfig(level=logging.WARNING)
    folder, url, port = sys.argv[1:]
    uvloop.run(serve(settings_of(Path(folder), url, int(port))))


if __name__ == "__main__":
    main()
