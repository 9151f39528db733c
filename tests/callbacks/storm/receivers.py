"""The receivers as a process of their own: each endpoint an address of loopback, with a temper.

Reads lines of JSON from standard input and answers each with one: `{"secrets": {address: secret}}`
says what signs, `{"report": true}` asks for everything that came. Ends with its input.
"""

import asyncio
import contextlib
import hashlib
import json
import random
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import uvloop
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HANG_S = 60.0
FAILS = 0.4  # of the attempts, where an endpoint fails now and then


def answer(status: int, *headers: str) -> bytes:
    """A short answer that keeps the connection."""
    lines = [f"HTTP/1.1 {status} Answer", "Content-Length: 4", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\nsad!"


@dataclass
class Seen:
    """All deliveries of one webhook-id."""

    bodies: set[str] = field(default_factory=set)
    attempts: int = 0
    accepted: int = 0


@dataclass
class Receivers:
    """What the endpoints do and have received."""

    tempers: Mapping[str, str]  # by address
    seed: int
    secrets: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    forged: int = 0  # deliveries that the oracle did not verify

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        address = writer.get_extra_info("sockname")[0]
        with contextlib.suppress(ConnectionError, RuntimeError, asyncio.IncompleteReadError):
            while True:
                headers, body = await read_request(reader)
                seen = self._note(address, headers, body)
                if not await self._respond(address, headers["webhook-id"], seen, writer):
                    break
        writer.close()

    def _note(self, address: str, headers: dict[str, str], body: bytes) -> Seen:
        try:
            Webhook(self.secrets[address]).verify(body, headers)
        except WebhookVerificationError:
            self.forged += 1
        seen = self.seen.setdefault(headers["webhook-id"], Seen())
        seen.bodies.add(hashlib.sha256(body).hexdigest())
        seen.attempts += 1
        return seen

    async def _respond(
        self, address: str, callback_id: str, seen: Seen, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer as the endpoint's temper has it; whether the connection goes on."""
        luck = random.Random(f"{self.seed} {callback_id} {seen.attempts}")
        fails = luck.random() < FAILS
        match self.tempers[address]:
            case "erring" if fails:
                writer.write(answer(luck.choice((500, 502, 503, 404))))
            case "throttled" if fails:
                writer.write(answer(429, "Retry-After: 1"))
            case "resetting" if fails:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
                reset(writer)
                return False
            case "silent" if fails:
                await asyncio.sleep(HANG_S)
                return False
            case "tar pit":
                await drip(writer)
                return False
            case "broken":
                writer.write(answer(500))
            case "redirecting":
                writer.write(answer(307, "Location: http://127.0.0.1:1/"))
            case "gone":
                writer.write(answer(410))
            case temper:
                if temper == "slow":
                    await asyncio.sleep(luck.uniform(0.1, 0.5))
                seen.accepted += 1
                writer.write(OK)
        await writer.drain()
        return True

    def report(self) -> dict[str, object]:
        """Everything that came, by webhook-id: attempts, accepted, different bodies."""
        rows = {k: (one.attempts, one.accepted, len(one.bodies)) for k, one in self.seen.items()}
        return {"seen": rows, "forged": self.forged}


async def read_request(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """Headers by lower-case name, and the body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    rows = (line.partition(":") for line in head.split("\r\n")[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in rows}
    return headers, await reader.readexactly(int(headers["content-length"]))


def reset(writer: asyncio.StreamWriter) -> None:
    """Hang up with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def drip(writer: asyncio.StreamWriter) -> None:
    """A header byte by byte, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


def black_hole(address: str, port: int) -> list[socket.socket]:
    """Listens without ever accepting, its backlog full: connecting there hangs."""
    listener = socket.socket()
    listener.bind((address, port))
    listener.listen(0)
    fillers = [listener]
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex((address, port))
        fillers.append(filler)
    return fillers


async def main(given: dict[str, object]) -> None:
    """Serve until standard input ends."""
    tempers = given["tempers"]
    assert isinstance(tempers, dict)
    receivers, port = Receivers(tempers, int(str(given["seed"]))), int(str(given["port"]))
    held = []
    for address, temper in tempers.items():
        if temper == "dead":
            held += black_hole(address, port)
        else:
            await asyncio.start_server(receivers.serve, address, port, backlog=512)
    reader = asyncio.StreamReader(limit=2**26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("{}", flush=True)
    while line := await reader.readline():
        asked = json.loads(line)
        receivers.secrets |= asked.get("secrets", {})
        print(json.dumps(receivers.report() if "report" in asked else {}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
