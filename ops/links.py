"""Connections to Redis, and the engine's parts over them.

Calls are never repeated by the client: redis-py would by default send one up to eleven times, and
not every call may be repeated.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mode import Service
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import TimeoutError as RedisTimeout

from ops.embedded import living_url
from ops.settings import RedisSettings, Settings, hide_password
from streams.audit import Audit
from streams.broker import Broker
from streams.callbacks import CallbackStore
from streams.circumstances import CircumstanceReader
from streams.control import Control
from streams.directory import Directory
from streams.errors import ConfigError, Unavailable
from streams.events import EventReader
from streams.flow_view import FlowReader
from streams.forecasts import Forecasts
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.learned import LearnedTimes
from streams.outlook import OutlookReader
from streams.overview import OverviewReader
from streams.results import KeptResults
from streams.schedules import ScheduleStore
from streams.scripts import translated
from streams.usage_sums import UsageSums
from streams.windows import WindowStore
from streams.wire import pack

KEEPALIVE_S = 15
NO_REDIS = "no Redis: start one with `roughneck up`, or name one with --redis redis://HOST:6379/0"


@dataclass(frozen=True)
class Engine:
    """The engine over one pool of connections."""

    redis: "Redis"
    keyspace: Keyspace
    broker: Broker
    inspector: Inspector
    directory: Directory
    callbacks: CallbackStore
    events: EventReader
    audit: Audit
    schedules: ScheduleStore
    flows: FlowReader
    control: Control
    circumstances: CircumstanceReader
    overview: OverviewReader
    usage: UsageSums
    learned: LearnedTimes
    outlooks: OutlookReader
    forecasts: Forecasts
    results: KeptResults
    windows: WindowStore

    async def ping(self) -> None:
        """Return when Redis answers. Raises Unavailable."""
        with translated():
            await self.redis.ping()


def redis_url(settings: RedisSettings) -> str:
    """The configured URL, else that of the embedded server if it runs. Raises Unavailable."""
    url = settings.url or living_url(Path(settings.folder))
    if not url:
        raise Unavailable(NO_REDIS)
    return url


def place_of(settings: Settings) -> str:
    """A folder's name for what this machine keeps about one Redis: `127.0.0.1-6379-0-rn`.

    What was written for one Redis must never be told to another.
    """
    url = urlsplit(redis_url(settings.redis))
    where = url.path if url.scheme == "unix" else f"{url.hostname}-{url.port or 6379}{url.path}"
    return re.sub(r"[^A-Za-z0-9_.]+", "-", f"{where}-{settings.engine.tag}").strip("-")


def open_redis(
    settings: RedisSettings, name: str, *, connections_max: int = 0, reads_again: bool = False
) -> "Redis":
    """A client that connects when it is first used, and names itself in CLIENT LIST.

    `reads_again`: a call over a connection that turns out to be dead is repeated once over a fresh
    one, which is right for a client that only reads.
    Raises ConfigError for a URL that is none, without showing its password.
    """
    url = redis_url(settings)
    options: dict[str, Any] = {
        "max_connections": connections_max or settings.connections_max,
        "timeout": settings.command_timeout_s,  # to wait for a free connection
        "socket_timeout": settings.command_timeout_s,
        "retry": Retry(NoBackoff(), int(reads_again), (RedisAway,)),
        "client_name": f"roughneck-{name}",
    }
    if not url.startswith("unix:"):
        options["socket_connect_timeout"] = settings.connect_timeout_s
        options["socket_keepalive"] = True
        options["socket_keepalive_options"] = keepalive()
    try:
        pool = BlockingConnectionPool.from_url(url, **options)
    except ValueError as error:
        raise ConfigError(f"redis.url: {error}: {hide_password(url)}") from error
    pool.connection_class = type("Direct", (Direct, pool.connection_class), {})
    return Redis.from_pool(pool)


class Direct:
    """A connection that takes fewer steps for a command. To be put before redis-py's class.

    hiredis packs it (redis-py does that in Python, argument by argument), and it is written in this
    turn of the loop: `asyncio.wait_for` makes a task of the write before Python 3.12.
    """

    socket_timeout: float | None

    def pack_command(self, *args: Any) -> list[bytes]:
        """One command as it is sent."""
        name = args[0]
        if " " in name:  # such as CLIENT SETNAME: two words
            args = (*name.split(" "), *args[1:])
        return [pack(args)]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Write what is packed, within the connection's time."""
        limit_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except TimeoutError as error:  # it has disconnected
            raise RedisTimeout("Timeout writing to socket") from error
        except RuntimeError as error:  # uvloop's, where a turn ago the other end hung up
            raise RedisAway(f"Connection closed before a write: {error}") from error
        finally:
            self.socket_timeout = limit_s


def keepalive() -> dict[int, int]:
    """TCP options that end a dead link within half a minute, as far as this system has them.

    WireGuard tells nobody that its peer is gone, and a read without a limit waits for ever.
    """
    wanted = {
        "TCP_KEEPIDLE": KEEPALIVE_S,
        "TCP_KEEPALIVE": KEEPALIVE_S,  # macOS' name for it
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 20_000,  # ms that written bytes may stay unanswered; Linux
    }
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


def engine_over(redis: "Redis", settings: Settings) -> Engine:
    """The engine's parts over one client."""
    keyspace = Keyspace(settings.engine.tag)
    broker = Broker(redis, keyspace, settings.engine)
    return Engine(
        redis=redis,
        keyspace=keyspace,
        broker=broker,
        inspector=Inspector(redis, keyspace),
        directory=Directory(redis, keyspace),
        callbacks=CallbackStore(redis, keyspace, settings.engine),
        events=EventReader(redis, keyspace),
        audit=Audit(redis, keyspace, settings.engine),
        schedules=ScheduleStore(redis, keyspace, broker.scripts),
        flows=FlowReader(redis, keyspace),
        control=Control(redis, keyspace, broker.scripts),
        circumstances=CircumstanceReader(redis, keyspace),
        overview=OverviewReader(redis, keyspace),
        usage=UsageSums(redis, keyspace),
        learned=LearnedTimes(broker.scripts),
        outlooks=OutlookReader(redis, keyspace),
        forecasts=Forecasts(redis, keyspace),
        results=KeptResults(redis, keyspace, broker.scripts),
        windows=WindowStore(redis, keyspace),
    )


@asynccontextmanager
async def opened_engine(settings: Settings, name: str) -> AsyncIterator[Engine]:
    """The engine for as long as the block runs. Raises Unavailable when Redis does not answer."""
    async with open_redis(settings.redis, name) as redis:
        engine = engine_over(redis, settings)
        await engine.ping()
        yield engine


class Connected(Service):
    """Closes clients when it stops; start it first and stop it last."""

    def __init__(self, clients: Sequence["Redis"]) -> None:
        super().__init__()
        self._clients = clients

    async def on_stop(self) -> None:
        """Close every connection."""
        for client in self._clients:
            await client.aclose()
