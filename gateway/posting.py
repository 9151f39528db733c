"""Posting one callback over the guarded client, whatever the other side does."""

import asyncio
import logging
import socket
from collections.abc import Iterator, Mapping
from ssl import SSLContext, SSLError

import httpx

from gateway.delivery import Answered, CourierSettings, Ending, Unanswered, Undeliverable
from processors.dependencies.guard import Guard, Refused
from processors.dependencies.guarded_client import guarded_client

USER_AGENT = "Roughneck-Courier/1"
EXCERPT_BYTES = 256
REASON_CHARACTERS = 256
HEAD_MAX_BYTES = 128 * 1_024  # of an answer before its body, interim answers included
KEEPALIVE_S = 5.0

log = logging.getLogger(__name__)


class Poster:
    """Posts bodies to URLs that `guard` permits. Open until `close`."""

    def __init__(
        self, guard: Guard, settings: CourierSettings, *, tls: SSLContext | None = None
    ) -> None:
        self._guard = guard
        self._settings = settings
        self._client = guarded_client(
            guard,
            user_agent=USER_AGENT,
            timeout=httpx.Timeout(settings.total_timeout_s, connect=settings.connect_timeout_s),
            limits=httpx.Limits(
                max_connections=settings.concurrency,
                max_keepalive_connections=settings.concurrency,
                keepalive_expiry=KEEPALIVE_S,
            ),
            tls=tls,
            answer_max_bytes=HEAD_MAX_BYTES + settings.response_max_bytes,
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Ending:
        """Make one attempt within the total timeout. Never raises for what the receiver does."""
        try:
            async with asyncio.timeout(self._settings.total_timeout_s):
                # httpx is lenient: it is given the one spelling of what was read strictly.
                target = self._guard.check_url(url)
                return await self._exchange(target.url, headers, body)
        except Refused as error:
            return Undeliverable(str(error))
        except TimeoutError:
            return Unanswered(f"no answer within {self._settings.total_timeout_s:g} s", "timeout")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Unanswered(f"{type(error).__name__}: {error}"[:REASON_CHARACTERS], kind(error))
        except Exception as error:  # what a stranger's bytes may trigger below httpx
            log.exception("posting a callback failed in an unforeseen way")
            told = f"{type(error).__name__}: {error}"[:REASON_CHARACTERS]
            return Unanswered(told, "internal")

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        sent = {"content-type": "application/json", **headers}
        async with self._client.stream("POST", url, headers=sent, content=body) as response:
            start = await self._start_of(response)
            return Answered(
                response.status_code, response.headers.get("retry-after", ""), excerpt(start)
            )

    async def _start_of(self, response: httpx.Response) -> bytes:
        """What comes of the body soon and within the limit; the status is known already."""
        start = bytearray()
        try:
            async with asyncio.timeout(self._settings.response_timeout_s):
                async for chunk in response.aiter_raw():
                    start += chunk
                    if len(start) >= self._settings.response_max_bytes:
                        break
        except (TimeoutError, httpx.HTTPError):
            log.debug("an answer's body broke off", extra={"status": response.status_code})
        return bytes(start[:EXCERPT_BYTES])


def kind(error: Exception) -> str:
    """The class of a failure, for the delivery log and for metrics."""
    causes = list(chain_of(error))
    if any(isinstance(cause, SSLError) for cause in causes):
        return "tls"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "resolve"
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return "connect"
        case httpx.TimeoutException():
            return "timeout"
        case httpx.ProtocolError():
            return "protocol"
    return "reset"


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def excerpt(body: bytes) -> str:
    """The start of an answer's body as one printable line."""
    text = body[:EXCERPT_BYTES].decode(errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
