"""The gateway process of a measurement, and requests to it that cost the asker little.

`python -m ops.bench.edge FOLDER URL PORT` is a gateway with its journal and its courier, every
setting at its default; PORT is one to which callbacks may go. It says its URL, ends with its
standard input, and says the CPU seconds that it used.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from gateway.sealing import SealSettings
from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from ops.bench.worker import say
from ops.logs import configure
from ops.settings import LogSettings, RedisSettings, Settings
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


class Asker(asyncio.Protocol):
    """One connection: one request after the other, each when the one before it was answered."""

    def __init__(self, waiting: Iterator[bytes], counts: dict[int, int]) -> None:
        self._waiting = waiting
        self._counts = counts
        self._answer = b""
        self._transport: asyncio.Transport
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Count the answer once all of it is there, and send the next request."""
        self._answer += data
        head, found, body = self._answer.partition(HEAD_END)
        if found and len(body) >= length_of(head):
            status, self._answer = int(head[9:12]), b""
            self._counts[status] = self._counts.get(status, 0) + 1
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell that the gateway closed a connection on which answers are still to come."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionResetError("the gateway closed"))

    def _ask(self) -> None:
        sent = next(self._waiting, None)
        if sent is not None:
            self._transport.write(sent)
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


def length_of(head: bytes) -> int:
    """What a head says of the size of its body, 0 for nothing."""
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0] or 0)


async def ask_all(
    host: str, port: int, requests: Sequence[bytes], connections: int
) -> Mapping[int, int]:
    """Send requests over several connections; how many answers had which status."""
    waiting, counts = iter(requests), dict[int, int]()
    loop = asyncio.get_running_loop()
    askers = [
        (await loop.create_connection(lambda: Asker(waiting, counts), host, port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(asker.done for asker in askers))
    return counts


class Receiver(asyncio.Protocol):
    """Answers 204 to every callback, and counts them."""

    received = 0

    def __init__(self) -> None:
        self._waiting = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to answer on."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._waiting += data
        while HEAD_END in self._waiting:
            head, _, rest = self._waiting.partition(HEAD_END)
            length = length_of(head)
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
    folder, url, port = sys.argv[1:]
    configure(LogSettings(file=str(Path(folder) / "gateway.log")))
    uvloop.run(serve(settings_of(Path(folder), url, int(port))))


if __name__ == "__main__":
    main()
