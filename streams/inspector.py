"""The read path: jobs, their attempts, listings and lanes. It changes nothing."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from streams.audit import Audit
from streams.broker import parse_callback, parse_unique
from streams.history import AttemptRecord, parse_attempts
from streams.keyspace import GROUP, Keyspace
from streams.learned import Offness, offness_fields, offness_of
from streams.leasing import parse_lease
from streams.limits import parse_limits, parse_rate, rate_field
from streams.listing import EVERY_JOB, JobFilter, JobListing
from streams.memory import ServerState, read_server
from streams.model import Fault, Job, Lane, Page, Priority, Rate, ResourceClass, State
from streams.scripts import Client, text, translated
from streams.usage import parse_usage

T = TypeVar("T")

# What parse_job reads of a record; beside it stand attempts and what they logged.
JOB_FIELDS = (
    *(b"lane", b"state", b"limits", b"at", b"lease", b"failures", b"crashes", b"end"),
    *(b"due", b"expires", b"size", b"cancel", b"progress", b"note", b"code", b"error"),
    *(b"callback", b"tags", b"trace", b"unique", b"flow", b"stage"),
    b"usage",
)


class LaneView(msgspec.Struct, frozen=True):
    """One lane now. `oldest_age_ms` counts the class's open time, as dispatch does."""

    lane: Lane
    waiting: int
    active: int
    oldest_age_ms: int
    lag: int | None = None  # as Redis reports it, None where it does not know


class PoolView(msgspec.Struct, frozen=True):
    """What a total limit counts: leases now, those run out, and the limit if there is one."""

    leases: int
    expired: int
    limit: int | None


class ClassView(msgspec.Struct, frozen=True):
    """One resource class: a logical stream made of lanes."""

    name: ResourceClass
    paused: bool
    waiting: int
    active: int
    delayed: int
    pools: dict[str, PoolView]
    lanes: list[LaneView]
    oldest_age_ms: int = 0
    rate: Rate | None = None
    app_limits: dict[str, int] = {}
    app_rates: dict[str, Rate] = {}
    offness: Offness | None = None  # of estimates when jobs start


class Inspector:
    """Looks at the engine's state in Redis. Every method may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._keys = keyspace

    async def job(self, job_id: str) -> Job | None:
        """One job, or None when there is no record of it (any more)."""
        found = await self.jobs_by_id([job_id])
        return found[0] if found else None

    async def jobs_by_id(self, job_ids: Sequence[str]) -> list[Job]:
        """The jobs of these ids that have a record, in the order given."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hmget(self._keys.job(job_id), JOB_FIELDS)
                rows = await pipe.execute()
        found = map(job_of, job_ids, rows)
        return [job for job in found if job is not None]

    async def result(self, job_id: str) -> bytes | None:
        """A job's result as JSON bytes, or None."""
        return await result_of(self._redis, self._keys, job_id)

    async def payload(self, job_id: str) -> bytes | None:
        """A job's input as JSON bytes, or None."""
        with translated():
            found: bytes | None = await self._redis.get(self._keys.payload(job_id))
        return found

    async def counts(self) -> dict[str, int]:
        """`class|state` → jobs now, and `class|submitted` → jobs ever."""
        with translated():
            rows = await self._redis.hgetall(self._keys.key("counts"))
        return {text(field): int(count) for field, count in rows.items()}

    async def tallies(self) -> dict[tuple[str, Lane], int]:
        """How often what ever happened to a lane's jobs; the words: `tally` in the ledger."""
        with translated():
            rows = await self._redis.hgetall(self._keys.key("tallies"))
        split = ((text(field).partition("|"), int(times)) for field, times in rows.items())
        return {(what, Lane.parse(lane)): times for (what, _, lane), times in split}

    async def server(self) -> ServerState:
        """Redis itself: its memory, and whether it writes to disk."""
        return await read_server(self._redis)

    async def attempts(self, job_id: str) -> list[AttemptRecord]:
        """A job's newest attempts with what they logged, oldest first."""
        with translated():
            row = await self._redis.hgetall(self._keys.job(job_id))
        return parse_attempts(row)

    async def jobs(
        self, wanted: JobFilter = EVERY_JOB, cursor: str = "", limit: int = 50
    ) -> Page[Job]:
        """A page of jobs: see `streams.listing`."""
        listing = JobListing(self._redis, self._keys, self.jobs_by_id, wanted)
        return await listing.page(cursor, limit)

    async def _members(self, key: str) -> list[str]:
        with translated():
            return sorted(text(raw) for raw in await self._redis.smembers(key))

    async def lane_names(self) -> list[str]:
        """The names of all lanes that hold anything."""
        found: list[str] = []
        for name in ResourceClass:
            found += await self._members(self._keys.key("streams_", name))
        return found

    async def classes(self) -> list[ClassView]:
        """The three classes with their pools and lanes."""
        return [await self._class(name) for name in ResourceClass]

    async def _class(self, name: ResourceClass) -> ClassView:
        keys = self._keys
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(keys.key("clock_", name))
                pipe.time()
                pipe.zcard(keys.key("due_", name))
                pipe.hgetall(keys.key("limits"))
                pipe.hmget(keys.key("learned"), offness_fields(name))
                clock, time, delayed, limits, told = await pipe.execute()
        now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        pools = await self._members(keys.key("pools_", name)) or [str(name)]
        default = 1 if name is ResourceClass.OLLAMA else None
        given = {text(field): text(value) for field, value in limits.items()}
        named = {pool: int(given[pool]) if pool in given else default for pool in pools}
        views = {pool: await self._pool(pool, now_ms, named[pool]) for pool in pools}
        rates = {field: parse_rate(value) for field, value in given.items() if value.count(" ")}
        lanes = await self._lanes(name, int(clock.get(b"open", 0)))
        return ClassView(
            name=name,
            paused=clock.get(b"paused") == b"1",
            waiting=sum(lane.waiting for lane in lanes),
            active=sum(lane.active for lane in lanes),
            delayed=delayed,
            pools=views,
            lanes=lanes,
            oldest_age_ms=max((lane.oldest_age_ms for lane in lanes), default=0),
            rate=rates.get(rate_field(name)),
            app_limits={app: int(value) for app, value in _of_apps(given, f"{name}|")},
            app_rates=dict(_of_apps(rates, rate_field(name, ""))),
            offness=offness_of(told),
        )

    async def _pool(self, pool: str, now_ms: int, limit: int | None) -> PoolView:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zcard(self._keys.key("leases_", pool))
                pipe.zcount(self._keys.key("leases_", pool), "-inf", now_ms)
                leases, expired = await pipe.execute()
        return PoolView(leases, expired, limit)

    async def _lanes(self, name: ResourceClass, open_ms: int) -> list[LaneView]:
        lanes = await self._members(self._keys.key("streams_", name))
        heads: dict[str, float] = {}
        with translated():
            for priority in Priority:
                key = self._keys.key("lanes_", f"{name}:{priority}")
                rows = await self._redis.zrange(key, 0, -1, withscores=True)
                heads.update({text(lane): score for lane, score in rows})
            async with self._redis.pipeline(transaction=False) as pipe:
                for lane in lanes:
                    pipe.xlen(self._keys.stream(lane))
                    pipe.xinfo_groups(self._keys.stream(lane))
                answers = await pipe.execute(raise_on_error=False)
        views = []
        for lane, length, groups in zip(lanes, answers[::2], answers[1::2], strict=True):
            if isinstance(groups, list):  # the lane may have been dropped meanwhile
                group = next((g for g in groups if text(g["name"]) == GROUP), None)
                pending = group["pending"] if group else 0
                age = max(0, open_ms - int(heads[lane])) if lane in heads else 0
                lag = group.get("lag") if group else None
                views.append(LaneView(Lane.parse(lane), length - pending, pending, age, lag))
        return views

    @cached_property
    def auditing(self) -> Audit:
        """The audit of the same Redis."""
        return Audit(self._redis, self._keys)

    async def audit(self) -> list[str]:
        """What contradicts I1 right now, in words; empty when all counts equal the structures."""
        return [difference.sentence for difference in await self.auditing.differences()]


def _of_apps(given: Mapping[str, T], prefix: str) -> list[tuple[str, T]]:
    """What is given for apps under fields that begin so, by app."""
    fields = [field for field in given if field.startswith(prefix)]
    return [(field.removeprefix(prefix), given[field]) for field in fields]


async def result_of(redis: Client, keys: Keyspace, job_id: str) -> bytes | None:
    """A job's result, JSON bytes, or None; a small one is in its record. May raise Unavailable."""
    with translated():
        async with redis.pipeline(transaction=False) as pipe:
            pipe.hget(keys.job(job_id), "result")
            pipe.get(keys.result(job_id))
            small, large = await pipe.execute()
    found: bytes | None = large if small is None else small
    return found


def job_of(job_id: str, values: Sequence[Any]) -> Job | None:
    """A job from its JOB_FIELDS, None where there is no record."""
    row = dict(zip(JOB_FIELDS, values, strict=True))
    return None if row[b"state"] is None else parse_job(job_id, row)


def parse_job(job_id: str, row: Mapping[bytes, Any]) -> Job:
    """A job from its record in Redis."""

    def field(name: str) -> str:
        return text(row.get(name.encode()))

    def number(name: str) -> int:
        return int(field(name) or 0)

    attempts_max, timeout_ms, *_ = parse_limits(field("limits"))
    code, lease = field("code"), parse_lease(field("lease"))
    return Job(
        id=job_id,
        lane=Lane.parse(field("lane")),
        state=State(field("state")),
        submitted_ms=number("at"),
        attempt=lease.attempt,
        failures=number("failures"),
        crashes=number("crashes"),
        attempts_max=attempts_max,
        timeout_ms=timeout_ms,
        started_ms=lease.started_ms,
        ended_ms=number("end"),
        due_ms=number("due"),
        expires_at_ms=number("expires"),
        payload_bytes=number("size"),
        worker=lease.worker,
        cancel_requested=bool(field("cancel")),
        progress=float(field("progress")) if field("progress") else None,
        note=field("note"),
        fault=Fault(code, field("error")) if code else None,
        callback=parse_callback(field("callback")),
        tags=tuple(field("tags").split()),
        trace=field("trace"),
        unique=parse_unique(field("unique")),
        flow=field("flow"),
        stage=field("stage"),
        usage=parse_usage(field("usage")),
    )
