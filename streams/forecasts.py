"""Estimates of starts that were made, kept until they can be compared with what happened."""

from collections.abc import Sequence

import msgspec

from streams.keyspace import Keyspace
from streams.leasing import Leased, parse_lease
from streams.model import ResourceClass, State
from streams.scripts import Client, text, translated

KEPT_MAX = 200  # of all classes
WAITED_MS = 6 * 3_600_000  # a job that did not start in this time counts as if it started then
KEPT_S = 86_400


class Forecast(msgspec.Struct, frozen=True):
    """An estimate: at `made_ms` a job was to start at `start_ms`. Wall time of the server."""

    job_id: str
    resource_class: ResourceClass
    made_ms: int
    start_ms: int


class Outcome(msgspec.Struct, frozen=True):
    """What became of it: when the job really started."""

    forecast: Forecast
    started_ms: int

    def offs(self) -> list[tuple[str, float]]:
        """What is learned from it, by field: see `streams.learned.Learned.offness`."""
        late = self.started_ms - self.forecast.start_ms
        name = self.forecast.resource_class
        wait = self.started_ms - self.forecast.made_ms
        return [(f"off|{name}", abs(late)), (f"late|{name}", late), (f"wait|{name}", wait)]


class Forecasts:
    """The estimates that wait. Every method may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._keys = keyspace
        self._key = keyspace.key("forecasts")

    async def pending(self) -> list[Forecast]:
        """All of them."""
        with translated():
            rows = await self._redis.hgetall(self._key)
        return [_parsed(text(job_id), text(stored)) for job_id, stored in rows.items()]

    async def add(self, forecasts: Sequence[Forecast]) -> None:
        """Keep estimates; one that a job has already stands."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for one in forecasts:
                    stored = f"{one.resource_class} {one.made_ms} {one.start_ms}"
                    pipe.hsetnx(self._key, one.job_id, stored)
                pipe.expire(self._key, KEPT_S)
                await pipe.execute()

    async def compare(self, pending: Sequence[Forecast], now_ms: int) -> list[Outcome]:
        """Those of `pending` that can be compared by now, each told to one caller only."""
        rows = await self._records([one.job_id for one in pending])
        over = [
            (one, row) for one, row in zip(pending, rows, strict=True) if _over(one, row, now_ms)
        ]
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for one, _ in over:
                    pipe.hdel(self._key, one.job_id)
                mine = await pipe.execute() if over else []
        return [
            Outcome(one, row[1].started_ms or now_ms)
            for (one, row), removed in zip(over, mine, strict=True)
            if removed and _tells(row)
        ]

    async def last_jobs(self, lanes: Sequence[str]) -> dict[str, str]:
        """The newest job of each lane that has entries."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for lane in lanes:
                    pipe.xrevrange(self._keys.stream(lane), count=1)
                answers = await pipe.execute() if lanes else []
        found = zip(lanes, answers, strict=True)
        return {lane: text(rows[0][1][b"j"]) for lane, rows in found if rows}

    async def now_ms(self) -> int:
        """The server's wall time."""
        with translated():
            seconds, micros = await self._redis.time()
        return int(seconds) * 1_000 + int(micros) // 1_000

    async def _records(self, job_ids: Sequence[str]) -> list[tuple[str, Leased]]:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hmget(self._keys.job(job_id), "state", "lease")
                rows = await pipe.execute() if job_ids else []
        return [(text(state), parse_lease(lease)) for state, lease in rows]


def _over(one: Forecast, row: tuple[str, Leased], now_ms: int) -> bool:
    return not _waits(row) or now_ms - one.made_ms > WAITED_MS


def _waits(row: tuple[str, Leased]) -> bool:
    state, lease = row
    return state in (State.WAITING, State.DELAYED) and not lease.attempt


def _tells(row: tuple[str, Leased]) -> bool:
    """Whether it started by itself, or should have: one that was cancelled says nothing."""
    return _waits(row) or row[1].attempt == 1


def _parsed(job_id: str, stored: str) -> Forecast:
    name, made_ms, start_ms = stored.split(" ")
    return Forecast(job_id, ResourceClass(name), int(made_ms), int(start_ms))
