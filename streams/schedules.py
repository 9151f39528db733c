"""Schedules in Redis: written by apps, fired by whoever comes first.

Each stands at its next instant. Whoever changes or fires one says where it saw it stand, and
nothing happens when it stands elsewhere by then; so any number of processes may fire.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from streams.broker import Argument, submit_row
from streams.errors import NameTaken, TooLarge, Unavailable
from streams.ids import job_id_for_tick
from streams.keyspace import Keyspace
from streams.model import Page
from streams.schedule import Plan, Schedule, check, instants, run_ms
from streams.scripts import Client, Scripts, text, translated

KEY = re.compile(r"[^|\s]+\|[^|\s]+")
SCHEDULES_MAX = 1_000  # of one app
AGAIN_MAX = 8  # a change that others come before every time is given up
COUNTS = ("revision", "next", "until", "at", "fired", "missed", "skipped", "size")
FIELDS = ("definition", "paused", "job", *COUNTS)


class Standing(msgspec.Struct, frozen=True):
    """A schedule and how far it has come. Times are wall milliseconds, 0 for none."""

    schedule: Schedule  # without its job's payload, unless it was asked for
    revision: int
    next_ms: int  # the next instant; 0 once there is none
    paused: bool = False
    until_ms: int = 0  # ticks up to this instant are dealt with
    last_ms: int = 0  # the last instant whose tick made a job
    last_job: str = ""
    fired: int = 0  # jobs made
    missed: int = 0  # ticks that came too late and were dropped
    skipped: int = 0  # ticks that were dropped since the job before had not ended
    payload_bytes: int = 0


class Fired(msgspec.Struct, frozen=True):
    """What firing did."""

    made: int
    skipped: int


class ScheduleStore:
    """Keeps schedules and fires them. Every method may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace, scripts: Scripts) -> None:
        self._redis = redis
        self._keys = keyspace
        self._scripts = scripts

    async def now_ms(self) -> int:
        """The server's time, which is the same for all who fire."""
        with translated():
            seconds, microseconds = await self._redis.time()
        return int(seconds) * 1_000 + int(microseconds) // 1_000

    async def get(self, key: str) -> Standing | None:
        """The schedule of `app|name` with its job's payload, or None."""
        name = self._keys.key("schedule_", key)
        with translated():
            *row, payload = await self._redis.hmget(name, [*FIELDS, "payload"])
        return None if payload is None else parse_standing(row, payload)

    async def find(self, key: str) -> Standing | None:
        """The schedule of `app|name` without the payload, or None."""
        with translated():
            row = await self._redis.hmget(self._keys.key("schedule_", key), FIELDS)
        return None if row[0] is None else parse_standing(row)

    async def page(
        self, app: str | None = None, cursor: str = "", limit: int = 50
    ) -> Page[Standing]:
        """Schedules by app and name, without payloads. Raises ValueError for another's cursor."""
        if cursor and not (KEY.fullmatch(cursor) and cursor.startswith(f"{app}|" if app else "")):
            raise ValueError(cursor)
        first = f"({cursor}" if cursor else f"[{app}|" if app else "-"
        keys = await self._names(first, f"({app}}}" if app else "+", 0, limit + 1)
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys[:limit]:
                    pipe.hmget(self._keys.key("schedule_", key), FIELDS)
                rows = await pipe.execute()
        found = [parse_standing(row) for row in rows if row[0] is not None]
        return Page(found, keys[limit - 1] if len(keys) > limit else "")

    async def create(self, schedule: Schedule) -> Standing:
        """Store a new one. Raises NameTaken, TooLarge, or InvalidInput for its timing."""
        standing = await self._write(schedule, None)
        if standing is None:
            raise NameTaken(f"there is a schedule {schedule.name} already")
        return standing

    async def put(self, schedule: Schedule) -> Standing:
        """Store it in place of the one of that name, or as a new one. Raises as `create` does.

        It stays paused if it was. Another timing begins now, and makes no tick twice; what is the
        same already is not written.
        """
        for _ in range(AGAIN_MAX):
            known = await self.get(schedule.key)
            if known is not None:
                made = msgspec.structs.replace(schedule, created_ms=known.schedule.created_ms)
                if made == known.schedule:
                    return known
                schedule = made
            standing = await self._write(schedule, known)
            if standing is not None:
                return standing
        raise Unavailable("the schedule changes all the time")

    async def pause(self, key: str) -> Standing | None:
        """Fire no more ticks of it; None when there is no such schedule."""
        return await self._change(key, paused=True)

    async def resume(self, key: str) -> Standing | None:
        """Fire its ticks from now on; those of the pause are not made up for."""
        return await self._change(key, paused=False)

    async def remove(self, key: str) -> bool:
        """Forget it; jobs that it made stay. False if there was none."""
        return bool(await self._scripts.run("schedule_drop", key))

    async def due(self, now_ms: int, start: int, count: int) -> list[str]:
        """At most `count` schedules whose next tick should run by now, after the first `start`."""
        with translated():
            keys = await self._redis.zrangebyscore(
                self._keys.key("schedule_due"), "-inf", now_ms, start=start, num=count
            )
        return [text(key) for key in keys]

    async def fire(self, standing: Standing, planned: Plan) -> Fired | None:
        """Make the jobs of planned ticks. None, and nothing done, if it stands elsewhere by now."""
        schedule = standing.schedule
        arguments: list[Argument] = [schedule.key, standing.revision, standing.next_ms]
        arguments += [planned.until_ms, planned.next_ms, run_ms(schedule, planned.next_ms)]
        arguments.append(planned.missed)
        for instant_ms in planned.ticks:
            arguments += [instant_ms, job_id_for_tick(schedule.key, instant_ms)]
        made, skipped = await self._scripts.run("fire", *arguments)
        return None if made < 0 else Fired(made, skipped)

    async def _write(self, schedule: Schedule, known: Standing | None) -> Standing | None:
        """Write a definition over what is known; None if somebody else came first."""
        now_ms = await self.now_ms()
        check(schedule.timing, now_ms)
        if known is None:
            await self._check_room(schedule.app)
            known = Standing(schedule, revision=0, next_ms=0)
        next_ms = known.next_ms
        if not next_ms or known.schedule.timing != schedule.timing:
            next_ms = next(instants(schedule.timing, max(now_ms, known.until_ms)), 0)
        fields = definition_fields(schedule) | {"next": next_ms}
        return await self._put(msgspec.structs.replace(known, schedule=schedule), next_ms, fields)

    async def _change(self, key: str, *, paused: bool) -> Standing | None:
        for _ in range(AGAIN_MAX):
            known = await self.get(key)
            if known is None or known.paused == paused:
                return known
            next_ms = known.next_ms
            if not paused:
                after_ms = max(await self.now_ms(), known.until_ms)
                next_ms = next(instants(known.schedule.timing, after_ms), 0)
            changed = msgspec.structs.replace(known, paused=paused)
            fields: dict[str, Argument] = {"next": next_ms, "paused": int(paused)}
            standing = await self._put(changed, next_ms, fields)
            if standing is not None:
                return standing
        raise Unavailable("the schedule changes all the time")

    async def _put(
        self, standing: Standing, next_ms: int, fields: Mapping[str, Argument]
    ) -> Standing | None:
        schedule = standing.schedule
        due_ms = 0 if standing.paused or not next_ms else run_ms(schedule, next_ms)
        row = [part for field in fields.items() for part in field]
        written = await self._scripts.run(
            "schedule_put", schedule.key, standing.revision, standing.next_ms, due_ms, *row
        )
        if not written:
            return None
        return msgspec.structs.replace(standing, revision=standing.revision + 1, next_ms=next_ms)

    async def _check_room(self, app: str) -> None:
        if await self._names(f"[{app}|", f"({app}}}", SCHEDULES_MAX - 1, 1):
            raise TooLarge(f"an app has at most {SCHEDULES_MAX} schedules")

    async def _names(self, first: str, last: str, offset: int, count: int) -> list[str]:
        with translated():
            found = await self._redis.zrange(
                self._keys.key("schedules"), first, last, bylex=True, offset=offset, num=count
            )
        return [text(key) for key in found]


def definition_fields(schedule: Schedule) -> dict[str, Argument]:
    """What is stored of a definition: whole, and once more what fire.lua needs."""
    job = schedule.job
    _, lane, payload, limits, _, _, _, callback, tags, *_ = submit_row(job)
    bare = msgspec.structs.replace(schedule, job=msgspec.structs.replace(job, payload=b""))
    return {
        "definition": msgspec.json.encode(bare),
        "payload": payload,
        "size": len(job.payload),
        "lane": lane,
        "limits": limits,
        "callback": callback,
        "tags": tags,
        "overlap": schedule.overlap,
        "expires": schedule.expires_ms,
    }


def parse_standing(row: Sequence[bytes | None], payload: bytes = b"") -> Standing:
    """A schedule from its FIELDS in Redis."""
    definition, paused, job, *counts = row
    assert definition is not None
    schedule = msgspec.json.decode(definition, type=Schedule)
    if payload:
        job_of = msgspec.structs.replace(schedule.job, payload=payload)
        schedule = msgspec.structs.replace(schedule, job=job_of)
    revision, next_ms, until_ms, at_ms, fired, missed, skipped, size = (int(n or 0) for n in counts)
    return Standing(
        schedule=schedule,
        revision=revision,
        next_ms=next_ms,
        paused=paused == b"1",
        until_ms=until_ms,
        last_ms=at_ms,
        last_job=text(job),
        fired=fired,
        missed=missed,
        skipped=skipped,
        payload_bytes=size,
    )
