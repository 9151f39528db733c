"""`http`: fetching public pages politely: guarded, bounded, paced per host, robots.txt obeyed."""

import asyncio
import codecs
import re
import time
import zlib
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar
from urllib.parse import quote, urljoin
from urllib.robotparser import RobotFileParser

import httpx
import msgspec

from processors.dependencies import Attempt
from processors.dependencies.guard import (
    Guard,
    GuardSettings,
    Refused,
    Resolve,
    Target,
)
from processors.dependencies.guarded_client import guarded_client
from processors.dependencies.retry_after import retry_after_s
from streams.clock import Clock, SystemClock
from streams.errors import Rejected, Retry, TooLarge
from streams.model import ResourceClass

USER_AGENT = "Roughneck/0.1 (self-hosted; event pages)"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TRY_LATER = frozenset({408, 425, 429})
META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset=[\"' ]?([A-Za-z0-9_-]{1,40})", re.IGNORECASE)
ROBOTS_BYTES = 512 * 1_024  # what RFC 9309 asks a crawler to read
HOSTS_MAX = 4_096

T = TypeVar("T")


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How pages are fetched. What may be reached is the guard's setting."""

    user_agent: str = USER_AGENT  # its first word is the name that robots.txt is asked about
    max_bytes: int = 2 * 1_024 * 1_024  # of a page, after decompression
    connect_timeout_s: float = 5.0
    total_timeout_s: float = 20.0  # of one request, its redirects apart
    redirects_max: int = 5
    host_interval_s: float = 2.0  # between two requests to one host
    allowed_host_interval_s: float = 0.0  # the same for addresses inside allowed networks
    host_wait_max_s: float = 10.0  # a longer wait for a host's turn puts the job back instead
    robots_ttl_s: float = 3_600.0
    cache_entries: int = 128  # pages kept for their ETag
    cache_max_bytes: int = 16 * 1_024 * 1_024
    connections: int = 32


class Fetched(msgspec.Struct, frozen=True):
    """A page as it was fetched."""

    url: str  # after redirects
    body: bytes
    content_type: str
    fetched_ms: int
    validators: tuple[tuple[str, str], ...] = ()  # request headers that ask whether it changed

    @property
    def text(self) -> str:
        """The body in the charset that header or page declares, else UTF-8, else Windows-1252."""
        declared = httpx.Headers({"content-type": self.content_type})
        header = httpx.Response(200, headers=declared).charset_encoding
        meta = META_CHARSET.search(self.body[:4_096])
        for name in (header, meta and meta[1].decode(), "utf-8"):
            try:
                return self.body.decode(codecs.lookup(name).name) if name else self.body.decode()
            except (LookupError, UnicodeDecodeError):
                continue
        return self.body.decode("cp1252", errors="replace")


class Bounded(Generic[T]):
    """A mapping that forgets the longest unused beyond so many entries or so much weight."""

    def __init__(self, entries_max: int, weight_max: int = 0) -> None:
        self._entries: OrderedDict[str, tuple[int, T]] = OrderedDict()
        self._entries_max = entries_max
        self._weight_max = weight_max
        self._weight = 0

    def get(self, key: str) -> T | None:
        """The value, now the most recently used, or None."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][1]

    def put(self, key: str, value: T, weight: int = 0) -> None:
        """Keep `value` as long as there is room."""
        self._weight += weight - self._entries.get(key, (0, None))[0]
        self._entries[key] = (weight, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._entries_max or self._weight > self._weight_max:
            _, (gone, _) = self._entries.popitem(last=False)
            self._weight -= gone


class Robots(msgspec.Struct, frozen=True):
    """What an origin's robots.txt says, until it is asked again."""

    rules: RobotFileParser
    until: float


class Fetcher:
    """Fetches for all attempts of one worker. Open until `close`."""

    def __init__(self, settings: HttpSettings, guard: Guard, clock: Clock) -> None:
        self._settings = settings
        self._guard = guard
        self._clock = clock
        self._pages: Bounded[Fetched] = Bounded(settings.cache_entries, settings.cache_max_bytes)
        self._robots: Bounded[Robots] = Bounded(HOSTS_MAX)
        self._turns: Bounded[float] = Bounded(HOSTS_MAX)
        self._client = guarded_client(
            guard,
            user_agent=settings.user_agent,
            timeout=httpx.Timeout(settings.total_timeout_s, connect=settings.connect_timeout_s),
            limits=httpx.Limits(max_connections=settings.connections, keepalive_expiry=5.0),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def get(self, url: str, attempt: Attempt | None = None) -> Fetched:
        """Fetch `url`, following redirects; each hop is checked, paced and asked of robots.txt."""
        for _ in range(self._settings.redirects_max + 1):
            target = self._guard.check_url(url)
            await self._ask_robots(target)
            await self._await_turn(target.host, attempt)
            answer = await self._request(target, attempt)
            if isinstance(answer, Fetched):
                return answer
            url = answer
        raise Rejected(f"more than {self._settings.redirects_max} redirects")

    async def _request(self, target: Target, attempt: Attempt | None) -> Fetched | str:
        """The page, or the URL it redirects to."""
        kept = self._pages.get(target.url)
        headers = dict(kept.validators) if kept else {}
        if attempt is not None and attempt.lease.trace:
            headers["traceparent"] = attempt.lease.trace
        response, body = await self._exchange(target.url, headers, self._settings.max_bytes)
        if response.status_code == 304 and kept:
            return msgspec.structs.replace(kept, fetched_ms=self._clock.now_ms())
        if response.status_code in REDIRECTS:
            return redirected(target, response)
        self._raise_for(target, response)
        if len(body) > self._settings.max_bytes:
            raise TooLarge(f"{target.url} has more than {self._settings.max_bytes} bytes")
        fetched = Fetched(
            url=target.url,
            body=body,
            content_type=response.headers.get("content-type", ""),
            fetched_ms=self._clock.now_ms(),
            validators=validators(response),
        )
        if fetched.validators:
            self._pages.put(target.url, fetched, len(body))
        return fetched

    def _raise_for(self, target: Target, response: httpx.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        if status in TRY_LATER or status >= 500:
            wait_s = retry_after_s(
                response.headers.get("retry-after", ""), self._clock.now_ms() / 1_000
            )
            raise Retry(f"{target.url} answered {status}", after_s=wait_s)
        raise Rejected(f"{target.url} answered {status}")

    async def _exchange(
        self, url: str, headers: dict[str, str], max_bytes: int
    ) -> tuple[httpx.Response, bytes]:
        """One request; at most `max_bytes` of the body and a little more to tell."""
        try:
            async with asyncio.timeout(self._settings.total_timeout_s):
                async with self._client.stream("GET", url, headers=headers) as response:
                    body = bytearray()
                    async for chunk in response.aiter_raw():
                        body += chunk
                        if len(body) > max_bytes:
                            break
                    encoding = response.headers.get("content-encoding", "identity")
                    return response, unpacked(bytes(body), encoding, max_bytes)
        except TimeoutError as error:
            raise Retry(f"{url} took over {self._settings.total_timeout_s:g} s") from error
        except httpx.InvalidURL as error:
            raise Refused(f"not a plain http or https URL: {error}") from error
        except httpx.HTTPError as error:
            raise Retry(f"{url}: {type(error).__name__}: {error}") from error

    async def _ask_robots(self, target: Target) -> None:
        """Raises Rejected where the origin's robots.txt shuts us out, Retry where it is away."""
        robots = self._robots.get(target.origin)
        if robots is None or robots.until < time.monotonic():
            rules = await self._read_robots(target)
            robots = Robots(rules, time.monotonic() + self._settings.robots_ttl_s)
            self._robots.put(target.origin, robots)
        name = re.split(r"[/ ]", self._settings.user_agent, maxsplit=1)[0]
        if not robots.rules.can_fetch(name, target.url):
            raise Rejected(f"robots.txt of {target.origin} does not want {target.path} fetched")

    async def _read_robots(self, target: Target) -> RobotFileParser:
        rules = RobotFileParser()
        url = target.origin + "/robots.txt"
        for _ in range(self._settings.redirects_max + 1):
            hop = self._guard.check_url(url)
            response, body = await self._exchange(hop.url, {}, ROBOTS_BYTES)
            if response.status_code not in REDIRECTS:
                break
            url = redirected(hop, response)
        status = response.status_code
        if status == 429 or status >= 500:
            raise Retry(f"{url} answered {status}")
        lines = body.decode(errors="replace").splitlines() if status == 200 else []
        rules.parse(lines)  # any other answer means that everything may be fetched
        return rules

    async def _await_turn(self, host: str, attempt: Attempt | None) -> None:
        allowed = self._guard.in_allowed_network(host)
        interval_s = (
            self._settings.allowed_host_interval_s if allowed else self._settings.host_interval_s
        )
        now = time.monotonic()
        turn = max(self._turns.get(host) or 0.0, now)
        wait_s = turn - now
        if wait_s > self._settings.host_wait_max_s:
            raise Retry(f"{host} has enough to do", after_s=wait_s, uses_attempt=False)
        self._turns.put(host, turn + interval_s)
        if wait_s > 0:
            with untimed(attempt):
                await asyncio.sleep(wait_s)


class Http:
    """Fetching on behalf of one attempt."""

    def __init__(self, fetcher: Fetcher, attempt: Attempt | None = None) -> None:
        self._fetcher = fetcher
        self._attempt = attempt

    async def get(self, url: str) -> Fetched:
        """The page at `url`. Waiting for the host's turn does not count against the job's time.

        Raises Rejected for what will not change (refused URL, 404, robots.txt, too large) and
        Retry for what may (timeouts, 429, 5xx), with the wait that the site asks for.
        """
        return await self._fetcher.get(url, self._attempt)


class HttpProvider:
    """Gives io processors a fetcher; one per worker, so that hosts are paced over all attempts."""

    name = "http"
    classes = frozenset({ResourceClass.IO})

    def __init__(
        self,
        settings: HttpSettings | None = None,
        allowed: GuardSettings | None = None,
        *,
        resolve: Resolve | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Raises ConfigError when a setting of the guard is wrong."""
        self._settings = settings or HttpSettings()
        self._guard = Guard(allowed or GuardSettings(), plain_http=True, resolve=resolve)
        self._clock = clock or SystemClock()
        self._fetcher: Fetcher | None = None

    async def open(self) -> None:
        """Make the client. Sends nothing."""
        self._fetcher = Fetcher(self._settings, self._guard, self._clock)

    async def check(self) -> None:
        """The internet as a whole is not checked: a page that is away fails its own job."""

    def inject(self, attempt: Attempt) -> Http:
        """The fetcher, on behalf of one attempt."""
        assert self._fetcher is not None, "opened before the first attempt"
        return Http(self._fetcher, attempt)

    async def close(self) -> None:
        """Close every connection."""
        if self._fetcher is not None:
            await self._fetcher.close()


def redirected(target: Target, response: httpx.Response) -> str:
    """Where a redirect leads, with spaces and the like escaped. Raises Rejected without a place."""
    location = response.headers.get("location", "").strip()
    if not location:
        raise Rejected(f"{target.url} answered {response.status_code} without a location")
    absolute = urljoin(target.url, location).partition("#")[0]
    return quote(absolute, safe=":/?&=%[]@!$'()*+,;~-._")


def validators(response: httpx.Response) -> tuple[tuple[str, str], ...]:
    """The request headers by which the page can be asked for again, if changed."""
    pairs = (("if-none-match", "etag"), ("if-modified-since", "last-modified"))
    return tuple(
        (asked, response.headers[told]) for asked, told in pairs if told in response.headers
    )


def unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """A body that came compressed though nobody asked, at most `max_bytes` and one more."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Rejected(f"the page is encoded as {encoding[:40]}, which was not asked for")
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise Retry(f"the page's {encoding} is broken") from error


def untimed(attempt: Attempt | None) -> AbstractContextManager[object]:
    """Time inside does not count against the attempt, where there is one."""
    return nullcontext() if attempt is None else attempt.untimed()
