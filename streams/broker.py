"""The write path: everything that changes a job's state is one script, called here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streams.blobs import PIECE_BYTES, read_whole
from streams.errors import Unavailable, WatermarkMoved
from streams.keyspace import Keyspace
from streams.limits import limits_text, parse_limits
from streams.model import (
    Again,
    CallbackRequest,
    Cancelled,
    Conflict,
    Dead,
    Done,
    HandedBack,
    Lane,
    Lease,
    Mark,
    NewJob,
    Parked,
    Renewed,
    ResourceClass,
    Settled,
    Settlement,
    State,
    Stopped,
    Submitted,
    Take,
    Taken,
    UniqueKey,
    Verdict,
)
from streams.scripts import Client, Scripts, pairs, text, translated
from streams.settings import EngineSettings
from streams.usage import usage_text

Argument = str | bytes | int | float
STATES = {str(state): state for state in State}  # quicker than the enumeration's own look-up
ANSWERS = {answer.encode(): answer for answer in Settled}
FAULT_MAX = 2_000  # characters kept of a fault's message
TRIM_MAX = 1_000  # flows of one app that one round looks at
BARE = ("0", "", "", "", "")  # of a lease that does not say: failures, tags, trace, flow, stage


class Broker:
    """Submits jobs, leases them, settles them. Every method may raise errors.Unavailable."""

    def __init__(
        self,
        redis: Client,
        keyspace: Keyspace,
        settings: EngineSettings | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        """`sources` are scripts in place of the engine's own, for measurements and tests."""
        self.settings = settings or EngineSettings()
        self.keyspace = keyspace
        self._redis = redis
        self.scripts = Scripts(redis, keyspace, self.settings, sources)
        self._lanes: dict[str, Lane] = {}

    async def submit(
        self, jobs: Sequence[NewJob], *, gateway: str = "", sequence: int = 0, known: int = -1
    ) -> list[Submitted]:
        """Store jobs, at most 1,000, and make them runnable. All or none; repeating is harmless.

        An id that Redis knows answers its state. Raises OutOfMemory when Redis refused them all,
        and WatermarkMoved when `known` is given and is not what Redis has of this gateway.
        """
        arguments: list[Argument] = [gateway, sequence, known]
        for job in jobs:
            arguments += submit_row(job)
        replaces = any(job.unique and job.unique.on_conflict is Conflict.REPLACE for job in jobs)
        script = "submit_replacing" if replaces else "submit"
        answers = await self.scripts.run(script, *arguments)
        if answers and answers[0] == b"moved":
            raise WatermarkMoved(f"Redis has {gateway} up to {answers[1]}, not {known}")
        return [
            submitted(job.id, text(state), created)
            for job, (state, created) in zip(jobs, pairs(answers), strict=True)
        ]

    async def refuse(self, job: NewJob, code: str, message: str) -> bool:
        """Store a job that was accepted and cannot run, as cancelled. False if its id is known."""
        row = submit_row(job)
        return bool(await self.scripts.run("refuse", code, message, *row[:4], *row[7:11]))

    async def take(self, call: Take) -> Taken:
        """Lease at most `call.slots` jobs in dispatch order. The same call: the same leases."""
        return self.taken(call, await self.scripts.run("take", *take_row(call)))

    def taken(self, call: Take, reply: Sequence[Any]) -> Taken:
        """The answer of take.lua to `call`."""
        status, again, *told = reply
        ceiling = self.settings.poll_ceiling_ms
        return Taken(
            leases=[self._lease(row, payload, call) for row, payload in pairs(told)],
            look_again_ms=ceiling if again < 0 else min(again, ceiling),
            stale=status == b"stale",
            paused=status == b"paused",
        )

    def _lease(self, row: bytes, payload: bytes | None, call: Take) -> Lease:
        job, token, lane, entry, attempt, limits, at, size, *more = row.decode().split("\t")
        failures, tags, trace, flow, stage = more or BARE
        known = self._lanes.get(lane) or self._lanes.setdefault(lane, Lane.parse(lane))
        attempts_max, timeout_ms, backoff_ms, backoff_max_ms, fresh = parse_limits(limits)
        return Lease(
            job_id=job,
            token=token,
            lane=known,
            entry_id=entry,
            pool=call.pool,
            attempt=int(attempt),
            failures=int(failures),
            attempts_max=attempts_max,
            timeout_ms=timeout_ms,
            backoff_ms=backoff_ms,
            backoff_max_ms=backoff_max_ms,
            submitted_ms=int(at),
            payload_bytes=int(size),
            tags=tuple(tags.split()),
            trace=trace,
            payload=payload,
            fresh=fresh,
            flow=flow,
            stage=stage,
        )

    async def renew(self, worker: str, leases: Iterable[tuple[str, str]], lease_ms: int) -> Renewed:
        """Move the deadlines of (job, token) pairs; says which are lost and which to cancel."""
        arguments = [part for lease in leases for part in lease]
        return self.renewed(await self.scripts.run("renew", worker, lease_ms, *arguments))

    def renewed(self, reply: Sequence[Any]) -> Renewed:
        """The answer of renew.lua."""
        told = pairs(reply)
        return Renewed(
            lost=frozenset(text(job) for job, what in told if what == b"lost"),
            cancel=frozenset(text(job) for job, what in told if what == b"cancel"),
        )

    async def settle(
        self, worker: str, settlements: Sequence[Settlement], mark: Mark | None = None
    ) -> list[Settled]:
        """Write verdicts, each fenced by its token, and let go of the entries. Repeatable.

        A result above `result_inline_max_bytes` must have been staged before.
        """
        answers = await self.scripts.run("settle", *self.settle_row(worker, settlements, mark))
        return [ANSWERS[answer] for answer in answers]

    def settle_row(
        self, worker: str, settlements: Iterable[Settlement], mark: Mark | None = None
    ) -> list[Argument]:
        """The arguments of settle.lua for these verdicts."""
        inline_max = self.settings.result_inline_max_bytes
        arguments: list[Argument] = [worker, mark.journal, mark.number] if mark else [worker, "", 0]
        for settlement in settlements:
            arguments += (settlement.job_id, settlement.token)
            arguments += verdict_row(settlement.verdict, inline_max)
            arguments.append(usage_text(settlement.usage))
        return arguments

    async def shipped(self, gateway: str) -> int | None:
        """The sequence of a gateway's journal that Redis has; None when it remembers none."""
        return await self._watermark("shipped", gateway)

    async def settled(self, journal: str) -> int:
        """The number of the last settle of a worker's journal that Redis has; 0 for none."""
        return await self._watermark("verdicts", journal) or 0

    async def _watermark(self, key: str, journal: str) -> int | None:
        with translated():
            found = await self._redis.hget(self.keyspace.key(key), journal)
        return None if found is None else int(found)

    async def stage(self, job_id: str, token: str, result: bytes) -> None:
        """Put a large result beside the job, for an hour; the settle of that token links it.

        In pieces, so that a slow link has time for each. Repeatable: it goes on where it was.
        """
        at, turns = 0, 0
        while at < len(result):
            piece = result[at : at + PIECE_BYTES]
            at = int(await self.scripts.run("stage", job_id, token, at, piece))
            turns += 1
            if turns > 2 * (len(result) // PIECE_BYTES + 2):
                raise Unavailable("Redis does not keep what is staged")

    async def payload(self, job_id: str, size: int) -> bytes | None:
        """A job's input of that many bytes, in pieces. None when it is gone."""
        return await read_whole(self._redis, self.keyspace.payload(job_id), size)

    async def report(self, reports: Sequence[tuple[str, str, float | None, str]]) -> int:
        """Publish progress as (job, token, fraction, note); how many tokens were the newest."""
        arguments: list[Argument] = []
        for job_id, token, fraction, note in reports:
            arguments += [job_id, token, "" if fraction is None else fraction, one_line(note)]
        return int(await self.scripts.run("report", *arguments))

    async def cancel(self, job_id: str, reason: str = "") -> Cancelled:
        """End a job that has not started, or ask the worker that runs it to stop."""
        return Cancelled(text(await self.scripts.run("cancel", job_id, reason)))

    async def replay(self, job_ids: Sequence[str]) -> list[str]:
        """Make ended jobs runnable again: `replayed`, `gone`, or the state that forbids it."""
        return [text(answer) for answer in await self.scripts.run("replay", *job_ids)]

    async def expire(self, count: int = 100) -> int:
        """End at most `count` jobs that did not start in time; how many there were."""
        return int(await self.scripts.run("expire", count))

    async def promote(self, resource_class: ResourceClass, count: int = 100) -> int:
        """Make at most `count` due jobs of a class runnable; how many there were."""
        return int(await self.scripts.run("promote", resource_class, count))

    async def sweep(self, lane: str, start: str = "-", count: int = 100) -> tuple[int, str]:
        """Mend one page of a lane's pending entries; (how many, start of the next page or `-`)."""
        mended, following = await self.scripts.run("sweep", lane, start, count)
        return int(mended), text(following)

    async def drop_consumer(self, worker: str, resource_class: ResourceClass, pool: str) -> int:
        """Forget a stopped worker in Redis; how many lanes still hold pending entries of it."""
        return int(await self.scripts.run("drop_consumer", worker, resource_class, pool))

    async def trim(self) -> None:
        """Forget ended jobs and callbacks in the listings once their records have run out."""
        keys, settings = self.keyspace, self.settings
        with translated():
            time = await self._redis.time()
            now_ms = int(time[0]) * 1000
            ended, dead = (
                now_ms - seconds * 1000
                for seconds in (settings.retention_s, settings.dead_retention_s)
            )
            apps = [text(app) for app in await self._redis.smembers(keys.key("apps"))]
            async with self._redis.pipeline(transaction=False) as pipe:
                for app in apps:
                    pipe.zremrangebyscore(keys.key("ended_", app), "-inf", ended)
                    pipe.zremrangebyscore(keys.key("dead_", app), "-inf", dead)
                pipe.zremrangebyscore(keys.key("callback_done"), "-inf", ended)
                pipe.zremrangebyscore(keys.key("callback_dead"), "-inf", dead)
                await pipe.execute()
            for app in apps:
                await self._trim_flows(keys.key("flows_", app), ended)

    async def _trim_flows(self, key: str, before_ms: int) -> None:
        """A flow may run for longer than records are kept: only those without one are forgotten."""
        old = await self._redis.zrangebyscore(key, "-inf", before_ms, start=0, num=TRIM_MAX)
        async with self._redis.pipeline(transaction=False) as pipe:
            for flow_id in old:
                pipe.exists(self.keyspace.job(text(flow_id)))
            there = await pipe.execute() if old else []
        gone = [flow_id for flow_id, exists in zip(old, there, strict=True) if not exists]
        if gone:
            await self._redis.zrem(key, *gone)

    async def pause(self, resource_class: ResourceClass) -> bool:
        """Lease no more jobs of a class; what runs goes on. False if it was paused already."""
        return bool(await self.scripts.run("pause", resource_class, 1))

    async def resume(self, resource_class: ResourceClass) -> bool:
        """Lease jobs of a class again. False if it was not paused."""
        return bool(await self.scripts.run("pause", resource_class, 0))

    async def set_limit(self, pool: str, total: int | None) -> None:
        """How many leases a pool may have at once over all workers; None for no limit."""
        await self._limit(pool, total)

    async def set_app_limit(
        self, resource_class: ResourceClass, app: str, concurrency: int | None
    ) -> None:
        """How many jobs of one app may run at once in a class; None for no limit."""
        await self._limit(f"{resource_class}|{app}", concurrency)

    async def _limit(self, field: str, value: int | None) -> None:
        key = self.keyspace.key("limits")
        with translated():
            if value is None:
                await self._redis.hdel(key, field)
            else:
                await self._redis.hset(key, field, str(value))


def take_row(call: Take) -> list[Argument]:
    """The arguments of take.lua. Tokens come from them, since a script's random numbers repeat."""
    nonce = call.worker.rsplit("-", 1)[-1]
    models = call.models or ()
    return [
        call.worker,
        call.sequence,
        f"{nonce}.{call.pool[0]}{call.sequence}",
        call.resource_class,
        call.pool,
        call.slots,
        call.lease_ms,
        call.resident,
        -1 if call.models is None else len(models),
        *models,
        *call.processors,
    ]


def submit_row(job: NewJob) -> list[Argument]:
    """The arguments of one job, in the order of submit.lua."""
    return [
        job.id,
        job.lane.name,
        job.payload,
        limits_text(job),
        job.delay_ms,
        job.run_at_ms,
        job.expires_at_ms,
        callback_text(job.callback),
        " ".join(job.tags),
        job.trace,
        job.digest,
        unique_text(job.unique),
    ]


def submitted(job_id: str, state: str, created: int) -> Submitted:
    """What accept.lua said of one job."""
    holder, _, state = state.rpartition(" ")
    return Submitted(job_id, STATES[state], created == 1, same=created != 2, holder=holder)


def unique_text(unique: UniqueKey | None) -> str:
    """How a unique key stands in a job's record: mode, window in ms, name."""
    return f"{unique.on_conflict} {unique.window_ms} {unique.name}" if unique else ""


def parse_unique(stored: str) -> UniqueKey | None:
    """The key that `unique_text` wrote."""
    if not stored:
        return None
    mode, window_ms, name = stored.split(" ")
    return UniqueKey(name, Conflict(mode), int(window_ms))


def encodable(said: str) -> str:
    """Foreign text as UTF-8 can carry it: a lone surrogate becomes `?`."""
    return said.encode("utf-8", "replace").decode()


def one_line(said: str) -> str:
    """Foreign text for the event stream, where tabs and line ends have a meaning."""
    return encodable(" ".join(said.split()))


def callback_text(callback: CallbackRequest | None) -> str:
    """How a callback request stands in a job's record: url, endpoint, events."""
    if callback is None or not callback.events:
        return ""
    return f"{callback.url} {callback.endpoint} {','.join(callback.events)}"


def parse_callback(stored: str) -> CallbackRequest | None:
    """The request that `callback_text` wrote."""
    if not stored:
        return None
    url, endpoint, events = stored.split(" ")
    return CallbackRequest(url, endpoint, tuple(State(event) for event in events.split(",")))


def verdict_row(verdict: Verdict, inline_max: int) -> list[Argument]:
    """Kind, number, first and second text of a verdict, in the order of settle.lua."""
    match verdict:
        case Done(result, apart):
            staged = len(result) if len(result) > inline_max else 0
            return ["done", -1 if apart else staged, b"" if staged else result, ""]
        case Again(delay_ms, fault, counts):
            kind = "again" if counts else "put_back"
            return [kind, delay_ms, one_line(fault.code), encodable(fault.message)[:FAULT_MAX]]
        case Dead(fault):
            return ["dead", 0, one_line(fault.code), encodable(fault.message)[:FAULT_MAX]]
        case Stopped(reason):
            return ["stopped", 0, encodable(reason)[:FAULT_MAX], ""]
        case HandedBack():
            return ["handed_back", 0, "", ""]
        case Parked():
            return ["parked", 0, "", ""]
