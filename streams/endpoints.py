"""Endpoints in Redis: registered records, changed only by who has read them, and how they fare.

What is registered (URL, secrets, events) and what deliveries found out (breaker, disabled) are kept
apart, so that neither overwrites the other. Each change counts the endpoint's edition up.
"""

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import msgspec

from streams.directory import Endpoint
from streams.errors import Unavailable
from streams.keyspace import Keyspace
from streams.scripts import Client, Scripts, text, translated

CHANGES_MAX = 20  # writers that may overtake one change before it gives up


class EndpointHealth(msgspec.Struct, frozen=True):
    """What deliveries found out about an endpoint. Times are wall milliseconds, 0 for never."""

    disabled: str = ""  # why nothing is sent to it, empty while enabled
    disabled_ms: int = 0
    failures: int = 0  # since the last success
    failing_since_ms: int = 0
    open_until_ms: int = 0  # the breaker lets nothing through before, save one probe


class EndpointsNow(msgspec.Struct, frozen=True):
    """All endpoints at one moment."""

    ages_ms: dict[str, int]  # by endpoint that has callbacks: since the oldest became deliverable
    open_breakers: int
    disabled: int


class EndpointStore:
    """Reads and writes endpoints. Methods may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace, scripts: Scripts) -> None:
        self._redis = redis
        self._keys = keyspace
        self._scripts = scripts

    async def all(self) -> dict[str, Endpoint]:
        """Every endpoint by id."""
        with translated():
            rows = await self._redis.hgetall(self._keys.key("endpoints"))
        return {text(name): decoded(raw) for name, raw in rows.items()}

    async def ids(self) -> list[str]:
        """The id of every endpoint."""
        with translated():
            return [text(name) for name in await self._redis.hkeys(self._keys.key("endpoints"))]

    async def get(self, endpoint_id: str) -> Endpoint | None:
        """One endpoint, or None."""
        raw = await self._raw(endpoint_id)
        return decoded(raw) if raw else None

    async def put(self, endpoint: Endpoint) -> None:
        """Register an endpoint, or replace it whatever it was."""
        for _ in range(CHANGES_MAX):
            if await self._write(await self._raw(endpoint.id), endpoint):
                return
        raise Unavailable(f"endpoint {endpoint.id} is being changed by others all the time")

    async def change(
        self, endpoint_id: str, change: Callable[[Endpoint], Endpoint]
    ) -> Endpoint | None:
        """Apply `change` to the record as it stands, none lost on the way; None if there is none.

        `change` is called again for every writer that came between.
        """
        for _ in range(CHANGES_MAX):
            raw = await self._raw(endpoint_id)
            if not raw:
                return None
            changed = change(decoded(raw))
            if await self._write(raw, changed):
                return changed
        raise Unavailable(f"endpoint {endpoint_id} is being changed by others all the time")

    async def delete(self, endpoint_id: str) -> bool:
        """Remove an endpoint; what waits for it becomes dead letters. False if there was none."""
        keys = self._keys
        with translated():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hdel(keys.key("endpoints"), endpoint_id)
                pipe.delete(keys.key("endpoint_", endpoint_id))
                pipe.zadd(keys.key("callback_lanes"), {endpoint_id: 0}, xx=True)
                removed, *_ = await pipe.execute()
        return bool(removed)

    async def enable(self, endpoint_id: str) -> int:
        """Send to an endpoint again; when it had been disabled, in wall milliseconds, or 0."""
        return int(await self._scripts.run("endpoint_enable", endpoint_id))

    async def health(self, endpoint_ids: Iterable[str]) -> dict[str, EndpointHealth]:
        """How endpoints fare, by id; one that nobody ever sent to is in good health."""
        ids = list(endpoint_ids)
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for endpoint_id in ids:
                    pipe.hgetall(self._keys.key("endpoint_", endpoint_id))
                rows = await pipe.execute()
        return {
            endpoint_id: parse_health({text(name): text(value) for name, value in row.items()})
            for endpoint_id, row in zip(ids, rows, strict=True)
        }

    async def now(self) -> EndpointsNow:
        """How all endpoints fare, and how long callbacks have been waiting in their lanes."""
        names = await self._lanes()
        with translated():
            time = await self._redis.time()
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.xrange(self._keys.key("callbacks_", name), count=1)
                heads = await pipe.execute()
        now_ms = int(time[0]) * 1_000 + int(time[1]) // 1_000
        ages = {
            name: max(0, now_ms - int(text(head[0][0]).partition("-")[0]))
            for name, head in zip(names, heads, strict=True)
            if head
        }
        health = (await self.health(await self.ids())).values()
        return EndpointsNow(
            ages_ms=ages,
            open_breakers=sum(one.open_until_ms > now_ms for one in health),
            disabled=sum(bool(one.disabled) for one in health),
        )

    async def _lanes(self) -> list[str]:
        """Endpoints with callbacks to deliver."""
        with translated():
            lanes = await self._redis.zrange(self._keys.key("callback_lanes"), 0, -1)
        return [text(name) for name in lanes]

    async def _raw(self, endpoint_id: str) -> bytes:
        with translated():
            return await self._redis.hget(self._keys.key("endpoints"), endpoint_id) or b""

    async def _write(self, expected: bytes, endpoint: Endpoint) -> bool:
        host = urlsplit(endpoint.url).hostname or ""
        record = msgspec.json.encode(endpoint)
        written = await self._scripts.run(
            "endpoint_put", endpoint.id, expected, record, host, int(endpoint.ordered)
        )
        return bool(written)


def decoded(raw: bytes) -> Endpoint:
    """An endpoint's record."""
    return msgspec.json.decode(raw, type=Endpoint)


def parse_health(row: dict[str, str]) -> EndpointHealth:
    """How an endpoint fares, from its hash."""
    return EndpointHealth(
        disabled=row.get("disabled", ""),
        disabled_ms=int(row.get("disabled_at", 0)),
        failures=int(row.get("fails", 0)),
        failing_since_ms=int(row.get("failing", 0)),
        open_until_ms=int(row.get("until", 0)),
    )
