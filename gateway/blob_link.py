"""How workers reach the blobs of gateways: over HTTP, by URLs that they sign for a few minutes.

Each store has a secret of its own, in Redis beside where it is reached. Whoever may read jobs there
may fetch their blobs; no API key has to be given to workers, and what a log shows of a URL is soon
worth nothing.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from urllib.parse import urlencode

import httpx
import msgspec
from mode import Service

from gateway.problems import Problem
from streams.blobs import Blob
from streams.clock import Clock
from streams.directory import BlobPlace
from streams.errors import NotAuthenticated, TooLarge, Unavailable, UnknownBlob

GOOD_S = 900  # of a signature; clocks of machines differ by less
SILENT_MS = 300_000  # a store that did not announce itself for longer takes no results
CONNECT_S, PIECE_S = 5.0, 30.0
SEND_BYTES = 64 * 1024

Places = Callable[[], Awaitable[Mapping[str, BlobPlace]]]


def signed(
    secret: str, method: str, path: str, fields: Mapping[str, str], expires_s: int
) -> dict[str, str]:
    """The query of a signed request."""
    query = {**fields, "expires": str(expires_s)}
    return {**query, "signature": _signature(secret, method, path, query)}


def check_signed(
    secret: str, method: str, path: str, query: Mapping[str, str], now_s: float
) -> None:
    """Raise NotAuthenticated unless `query` was signed with `secret` and is still good."""
    given = dict(query)
    signature = given.pop("signature", "")
    expires = given.get("expires", "")
    good = hmac.compare_digest(signature.encode(), _signature(secret, method, path, given).encode())
    late = not expires.isdecimal() or not now_s <= int(expires) <= now_s + 2 * GOOD_S
    if not good or late:
        raise NotAuthenticated("the URL is not signed, or was signed too long ago")


def _signature(secret: str, method: str, path: str, query: Mapping[str, str]) -> str:
    said = f"{method}\n{path}\n{urlencode(sorted(query.items()))}"
    return hmac.new(secret.encode(), said.encode(), hashlib.sha256).hexdigest()


class GatewayBlobs(Service):
    """A worker's way to blobs; `streams.blobs.Blobs` says what it offers."""

    def __init__(self, places: Places, clock: Clock) -> None:
        super().__init__()
        self._places = places
        self._clock = clock
        timeout = httpx.Timeout(PIECE_S, connect=CONNECT_S)
        self._http = httpx.AsyncClient(timeout=timeout, trust_env=False)

    async def on_stop(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def fetch(self, blob_id: str) -> Blob:
        """A blob, whole. Raises UnknownBlob or Unavailable."""
        store = blob_id.rpartition("-")[0]
        place = (await self._places()).get(store)
        if place is None:
            raise UnknownBlob(f"no gateway has the store of blob {blob_id}")
        path = f"/internal/blobs/{blob_id}"
        try:
            async with self._http.stream("GET", self._url(place, "GET", path, {})) as reply:
                if not reply.is_success:
                    await reply.aread()
                    raise _refusal(reply, place)
                content = await reply.aread()
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(f"blobs at {place.url}: {error!r}") from error
        return Blob(content, reply.headers.get("content-type", ""))

    async def store(self, app: str, job_id: str, content: bytes) -> str:
        """Keep a result at the gateway that was heard of last; its id."""
        since_ms = self._clock.now_ms() - SILENT_MS
        places = [each for each in (await self._places()).values() if each.seen_ms >= since_ms]
        if not places:
            raise TooLarge(f"a result of {len(content)} bytes, and no gateway that keeps blobs")
        place = max(places, key=lambda each: each.seen_ms)
        path = "/internal/blobs"
        url = self._url(place, "PUT", path, {"app": app, "job": job_id})
        headers = {"content-type": "application/json", "content-length": str(len(content))}
        try:
            reply = await self._http.put(url, content=_pieces(content), headers=headers)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(f"blobs at {place.url}: {error!r}") from error
        if not reply.is_success:
            raise _refusal(reply, place)
        return str(msgspec.json.decode(reply.content)["id"])

    def _url(self, place: BlobPlace, method: str, path: str, fields: Mapping[str, str]) -> str:
        expires_s = self._clock.now_ms() // 1_000 + GOOD_S
        query = signed(place.secret, method, path, fields, expires_s)
        return f"{place.url}{path}?{urlencode(query)}"


def _refusal(reply: httpx.Response, place: BlobPlace) -> Exception:
    try:
        problem = msgspec.json.decode(reply.content, type=Problem)
        why = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
    except msgspec.DecodeError:
        why = f"it answered {reply.status_code}"
    if reply.status_code == 404:
        return UnknownBlob(why)
    if reply.status_code == 413:
        return TooLarge(why)
    return Unavailable(f"blobs at {place.url}: {why}")


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), SEND_BYTES):
        yield content[start : start + SEND_BYTES]
        await asyncio.sleep(0)
