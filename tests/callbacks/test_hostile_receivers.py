"""Receivers that lie about who they are, or pour more than anybody asked for."""

import asyncio
import contextlib
import gzip
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.delivery import Answered, CourierSettings, Unanswered
from gateway.posting import HEAD_MAX_BYTES, Poster
from processors.dependencies.guard import Guard, GuardSettings
from processors.dependencies.guarded_client import PIECES_MAX
from tests.web.local_server import Received, local_server, response

SETTINGS = CourierSettings(connect_timeout_s=2.0, total_timeout_s=10.0, response_timeout_s=0.2)
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class Authority:
    """Issues certificates; `trusting` believes it and nobody else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        self.certificate = self._sign(self.name, self.key, NOW - DAY, NOW + DAY, ca=True)
        self.trusting = ssl.create_default_context(
            cadata=self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        )

    def serving(self, host: str, *, days: int = 1) -> ssl.SSLContext:
        """What a server of `host` presents; a negative number of days is one that has run out."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        end = NOW + days * DAY
        certificate = self._sign(name, key, end - 2 * DAY, end, host=host)
        path = self.folder / f"{host}{days}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        begin: datetime,
        end: datetime,
        *,
        host: str = "",
        ca: bool = False,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if host:
            names = x509.SubjectAlternativeName([x509.DNSName(host)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())


@contextlib.asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of a server that thanks for everything, over TLS."""

    async def thank(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response(200, b"thanks"))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(thank, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.mark.parametrize(
    ("host", "days", "trusted", "good"),
    [
        ("receiver.example", 1, True, True),
        ("other.example", 1, True, False),
        ("receiver.example", -1, True, False),
        ("receiver.example", 3, True, False),
        ("receiver.example", 1, False, False),
    ],
    ids=["good", "of another host", "expired", "not yet valid", "of an unknown authority"],
)
async def test_a_certificate_must_be_right(
    tmp_path: Path, host: str, days: int, trusted: bool, good: bool
) -> None:
    authority = Authority(tmp_path)
    async with tls_server(authority.serving(host, days=days)) as port:
        settings = GuardSettings(allow_networks=("127.0.0.0/8",), allow_ports=(port,))
        guard = Guard(settings, resolve=loopback)
        poster = Poster(guard, SETTINGS, tls=authority.trusting if trusted else None)
        ending = await poster.post(f"https://receiver.example:{port}/", {}, b"{}")
        await poster.close()
    if good:
        assert ending == Answered(200, "", "thanks")
    else:
        assert isinstance(ending, Unanswered)
        assert ending.kind == "tls"


async def test_a_flood_of_interim_answers_is_cut_off_by_its_bytes() -> None:
    sent = 0

    async def flood(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 40)
            sent += 40 * 27
            await writer.drain()

    began = time.monotonic()
    async with local_server(flood) as server:
        settings = GuardSettings(allow_networks=("127.0.0.0/8",), allow_ports=(server.port,))
        poster = Poster(Guard(settings), SETTINGS)
        ending = await poster.post(server.origin, {}, b"{}")
        await poster.close()
    assert ending == Unanswered(
        f"ReadError: the answer has more than {HEAD_MAX_BYTES + 16 * 1_024} bytes", "reset"
    )
    assert time.monotonic() - began < SETTINGS.total_timeout_s / 2


async def test_many_answers_on_one_connection_are_counted_one_by_one() -> None:
    """The limit is of one answer: a connection that is used again starts anew."""
    connections, ended = 0, asyncio.Event()

    async def keep_answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12000\r\n\r\n" + b"x" * 12_000)
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(keep_answering, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = GuardSettings(allow_networks=("127.0.0.0/8",), allow_ports=(port,))
    poster = Poster(Guard(settings), SETTINGS)
    endings = [await poster.post(f"http://127.0.0.1:{port}/", {}, b"{}") for _ in range(30)]
    await poster.close()
    server.close()
    await asyncio.wait_for(ended.wait(), 5)
    assert {ending.status for ending in endings if isinstance(ending, Answered)} == {200}
    assert (len(endings), connections) == (30, 1)


async def test_a_compressed_bomb_stays_packed() -> None:
    bomb = gzip.compress(bytes(64 * 1_024 * 1_024))
    async with local_server(response(200, bomb, Content_Encoding="gzip")) as server:
        settings = GuardSettings(allow_networks=("127.0.0.0/8",), allow_ports=(server.port,))
        poster = Poster(Guard(settings), SETTINGS)
        ending = await poster.post(server.origin, {}, b"{}")
        await poster.close()
    assert isinstance(ending, Answered)
    assert len(ending.excerpt) <= 256


async def test_an_answer_byte_by_byte_is_cut_off_by_its_pieces() -> None:
    sent = 0

    async def crumble(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            writer.write(b"x")
            sent += 1
            await writer.drain()
            await asyncio.sleep(0.001)

    async with local_server(crumble) as server:
        settings = GuardSettings(allow_networks=("127.0.0.0/8",), allow_ports=(server.port,))
        poster = Poster(Guard(settings), SETTINGS)
        ending = await poster.post(server.origin, {}, b"{}")
        await poster.close()
    assert ending == Unanswered(
        f"ReadError: the answer came in more than {PIECES_MAX} pieces", "reset"
    )
    assert sent < 4 * PIECES_MAX
