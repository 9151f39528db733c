"""Why a job stands where it stands: the facts from Redis. What they mean is said elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streams.directory import Directory, WorkerCard
from streams.dispatch import score
from streams.events import parse_entry
from streams.flow import PlannedStage
from streams.keyspace import FLOW, Keyspace, lease_member
from streams.leasing import parse_lease
from streams.limits import parse_rate, rate_field
from streams.model import Job, Lane, Priority, Rate, ResourceClass, State
from streams.outlook import OutlookReader
from streams.scripts import Client, text, translated

COUNTED_MAX = 1_000  # entries counted before a job; beyond it is "at least"
LANES_MAX = 256  # of each priority
EVENTS_MAX = 500  # entries of the event stream looked at for what a lane does
RECENT_MS = 600_000


class RateUse(msgspec.Struct, frozen=True):
    """A rate, how many attempts it lets start now, and the ms until it lets one."""

    rate: Rate
    left: int
    wait_ms: int


class Pace(msgspec.Struct, frozen=True):
    """How many attempts of a lane started in the last `over_ms`, as far as events are kept."""

    starts: int
    over_ms: int


class InLine(msgspec.Struct, frozen=True):
    """A waiting job among others. `ahead` stops at COUNTED_MAX."""

    ahead: int  # entries before it in its lane
    lanes_ahead: int  # other lanes of the class whose oldest job is more urgent than this one
    others_ahead: int  # and how many jobs lie in them, at most
    pace: Pace
    start_in_ms: int | None = None  # by learned times; None where nothing is known


class Room(msgspec.Struct, frozen=True):
    """What the job's class may run, and what it runs. None: no limit."""

    paused: bool
    leases: Mapping[str, int]  # by pool
    limits: Mapping[str, int | None]  # by pool
    app_running: int
    app_limit: int | None
    class_rate: RateUse | None
    app_rate: RateUse | None


class Hands(msgspec.Struct, frozen=True):
    """Healthy workers: all, those with the processor, and of these those with the model."""

    workers: int
    able: int
    with_model: int
    slots: int  # of those that could run it
    running: int  # of these slots
    troubles: tuple[str, ...] = ()  # of hosts that could and are not asked now


class Blocked(msgspec.Struct, frozen=True):
    """What a stage waits for; or, of a flow's own job, how many of its stages have not ended."""

    waits_for: tuple[str, ...] = ()
    stages_left: int = 0
    jobs_open: int = 0


class Circumstances(msgspec.Struct, frozen=True):
    """Everything that bears on one job now; what does not concern its state is None."""

    now_ms: int
    room: Room | None = None
    hands: Hands | None = None
    line: InLine | None = None
    blocked: Blocked | None = None
    lease_ms: int | None = None  # of an active job: until its lease runs out, below 0 once it has


class CircumstanceReader:
    """Reads them. May raise errors.Unavailable."""

    def __init__(
        self, redis: Client, keyspace: Keyspace, outlooks: OutlookReader | None = None
    ) -> None:
        self._redis = redis
        self._keys = keyspace
        self._directory = Directory(redis, keyspace)
        self._outlooks = outlooks or OutlookReader(redis, keyspace)

    async def read(self, job: Job) -> Circumstances:
        """What bears on the job, as its state asks for. Bounded, whatever waits."""
        now_ms = await self._now_ms()
        if job.state is State.BLOCKED:
            return Circumstances(now_ms, blocked=await self._blocked(job))
        left = await self._lease(job, now_ms) if job.state is State.ACTIVE else None
        if job.state.ended or (job.state is State.ACTIVE and (left is None or left > 0)):
            return Circumstances(now_ms, lease_ms=left)
        line = await self._line(job, now_ms) if job.state is State.WAITING else None
        room = await self._room(job.lane, now_ms)
        return Circumstances(now_ms, room, await self._hands(job.lane), line, lease_ms=left)

    async def of_lane(self, lane: Lane) -> Circumstances:
        """What bears on every job that waits in a lane."""
        now_ms = await self._now_ms()
        room = await self._room(lane, now_ms)
        return Circumstances(now_ms, room, await self._hands(lane))

    async def _now_ms(self) -> int:
        with translated():
            time = await self._redis.time()
        return int(time[0]) * 1000 + int(time[1]) // 1000

    # ------------------------------------------------------------------ what may run

    async def _room(self, lane: Lane, now_ms: int) -> Room:
        name, app, key = lane.resource_class, lane.app, self._keys.key
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hget(key("clock_", name), "paused")
                pipe.hgetall(key("limits"))
                pipe.hget(key("running_", name), app)
                pipe.hmget(key("pace_", name), ["", app])
                pipe.smembers(key("pools_", name))
                paused, limits, running, paces, members = await pipe.execute()
            pools = sorted(text(raw) for raw in members) or [str(name)]
            async with self._redis.pipeline(transaction=False) as pipe:
                for pool in pools:
                    pipe.zcount(key("leases_", pool), f"({now_ms}", "+inf")
                leases = await pipe.execute()
        given = {text(field): text(value) for field, value in limits.items()}
        default = 1 if name is ResourceClass.OLLAMA else None
        app_limit = given.get(f"{name}|{app}")
        return Room(
            paused=paused == b"1",
            leases=dict(zip(pools, map(int, leases), strict=True)),
            limits={pool: int(given[pool]) if pool in given else default for pool in pools},
            app_running=int(running or 0),
            app_limit=None if app_limit is None else int(app_limit),
            class_rate=_use(given.get(rate_field(name)), paces[0], now_ms),
            app_rate=_use(given.get(rate_field(name, app)), paces[1], now_ms),
        )

    async def _hands(self, lane: Lane) -> Hands:
        workers = [card for card in await self._directory.workers() if card.healthy]
        able = [card for card in workers if _is_able(card, lane)]
        model = [card for card in able if not lane.model or lane.model in card.models]
        name = str(lane.resource_class)
        return Hands(
            workers=len(workers),
            able=len(able),
            with_model=len(model),
            slots=sum(card.slots.get(name, 0) for card in model),
            running=sum(card.running.get(name, 0) for card in model),
            troubles=tuple(sorted({said for card in able if (said := _trouble(card, lane))})),
        )

    async def _lease(self, job: Job, now_ms: int) -> int | None:
        """Until the job's lease runs out; None where it has just ended."""
        with translated():
            row = await self._redis.hmget(self._keys.job(job.id), ["lease", "lane", "entry"])
            pool, (lane, entry) = parse_lease(row[0]).pool, map(text, row[1:])
            member = lease_member(lane, entry)
            deadline = await self._redis.zscore(self._keys.key("leases_", pool), member)
        return None if deadline is None else int(deadline) - now_ms

    # ------------------------------------------------------------------ who is before it

    async def _line(self, job: Job, now_ms: int) -> InLine:
        lane, stream = job.lane.name, self._keys.stream(job.lane.name)
        with translated():
            entry = text(await self._redis.hget(self._keys.job(job.id), "entry"))
            groups = await self._redis.xinfo_groups(stream) if entry else []
            after = next((text(g["last-delivered-id"]) for g in groups), "0-0")
            before = await self._redis.xrange(stream, f"({after}", f"({entry}", COUNTED_MAX)
            own = await self._redis.xrange(stream, entry, entry, 1)
        base = int(own[0][1].get(b"t", 0)) if own else 0
        lanes, jobs = await self._more_urgent(job.lane, base)
        start_in = await self._outlooks.start_in_ms(job.lane, len(before))
        return InLine(len(before), lanes, jobs, await self._pace(lane, now_ms), start_in)

    async def _more_urgent(self, lane: Lane, base: int) -> tuple[int, int]:
        """Other lanes whose head comes before a job of that age base, and their entries."""
        name, key = lane.resource_class, self._keys.key
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hget(key("clock_", name), "open")
                for each in Priority:
                    pipe.zrange(key("lanes_", f"{name}:{each}"), 0, LANES_MAX - 1, withscores=True)
                opened, *rows = await pipe.execute()
            now = int(opened or 0)
            own = score(base, now, lane.priority)
            ahead = [
                text(raw)
                for each, heads in zip(Priority, rows, strict=True)
                for raw, head in heads
                if text(raw) != lane.name and score(int(head), now, each) > own
            ]
            async with self._redis.pipeline(transaction=False) as pipe:
                for other in ahead:
                    pipe.xlen(self._keys.stream(other))
                lengths = await pipe.execute() if ahead else []
        return len(ahead), sum(lengths)

    async def _pace(self, lane: str, now_ms: int) -> Pace:
        with translated():
            rows = await self._redis.xrevrange(self._keys.key("events"), count=EVENTS_MAX)
        starts, oldest = 0, now_ms
        for raw, fields in rows:
            at_ms = int(text(raw).partition("-")[0])
            if at_ms < now_ms - RECENT_MS:
                break
            oldest = at_ms
            starts += sum(
                event.kind == "active" and event.lane.name == lane
                for event in parse_entry(text(raw), fields[b"e"])
            )
        return Pace(starts, now_ms - oldest)

    # ------------------------------------------------------------------ what a stage waits for

    async def _blocked(self, job: Job) -> Blocked:
        if job.lane.processor == FLOW and not job.flow:
            with translated():
                row = await self._redis.hmget(self._keys.key("flow_", job.id), ["left", "open"])
            return Blocked((), *(int(value or 0) for value in row))
        key, stage = self._keys.key("flow_", job.flow), job.stage.partition(":")[0]
        with translated():
            raw = await self._redis.hget(key, f"p:{stage}")
            after = msgspec.json.decode(raw, type=PlannedStage).after if raw else ()
            ends = await self._redis.hmget(key, [f"e:{name}" for name in after]) if after else []
        return Blocked(_unended(after, ends))


def _use(stored: str | None, full_at: bytes | None, now_ms: int) -> RateUse | None:
    """What is left of a rate: the same reckoning as in lua/lib/dispatch.lua."""
    if stored is None:
        return None
    rate = parse_rate(stored)
    if not rate.jobs:
        return RateUse(rate, 0, -1)
    every = rate.per_ms / rate.jobs
    full = min(max(now_ms, float(full_at or 0)), now_ms + rate.burst * every)
    left = int(rate.burst - (full - now_ms) / every + 1e-6)
    wait = 0 if left else max(0, round(full - (rate.burst - 1) * every - now_ms))
    return RateUse(rate, left, wait)


def _trouble(card: WorkerCard, lane: Lane) -> str:
    """Why a host that has the lane's model is not asked for it now; empty where it is."""
    host = card.ollama
    if not lane.model or host is None or lane.model in card.models:
        return ""
    if host.trouble:
        return f"{host.name}: {host.trouble}"
    if lane.model in host.resting:
        return f"{host.name}: {lane.model} failed to load several times and is left alone"
    return ""


def _is_able(card: WorkerCard, lane: Lane) -> bool:
    """Whether a live worker serves the class with this processor and takes jobs."""
    own = lane.processor in card.processors or lane.processor == FLOW
    return str(lane.resource_class) in card.pools and own and not card.draining


def _unended(names: Sequence[str], ends: Sequence[Any]) -> tuple[str, ...]:
    return tuple(name for name, end in zip(names, ends, strict=True) if end is None)
