"""The read side of flows: how one stands, stage by stage; listings; results. Changes nothing."""

import heapq
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from streams.errors import TooLarge
from streams.flow import PlannedFlow, PlannedStage, stage_job
from streams.flow_record import (
    COUNTED_MAX,
    FlowRecord,
    FlowState,
    FlowSummary,
    Head,
    Items,
    StageRecord,
    counted,
    fan_state,
    flow_state,
    plans_of,
    single_state,
    summary_of,
    unplanted,
)
from streams.inspector import JOB_FIELDS, job_of, result_of
from streams.keyspace import Keyspace
from streams.leasing import parse_lease
from streams.model import Fault, Job, Page, State
from streams.scripts import Client, text, translated
from streams.shelves import SCAN_MAX

CHUNK = 500  # jobs in one round trip
SCAN_FIELDS = 1_000
RESULT_MAX_BYTES = 64 * 1024 * 1024  # of a list that is put together


class FlowReader:
    """Looks at flows in Redis. Every method may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._keys = keyspace

    # ------------------------------------------------------------------ one flow

    async def flow(self, job: Job) -> FlowRecord:
        """The flow whose own job this is. Before a worker stored it, as it was submitted."""
        hashed = await self._fields(job.id)
        with translated():
            deadline = await self._redis.zscore(self._keys.key("expiring"), job.id)
            raw = await self._redis.get(self._keys.payload(job.id))
        submitted = msgspec.json.decode(raw, type=PlannedFlow) if raw else None
        if not hashed:
            return unplanted(job, submitted)
        order = {stage.name: at for at, stage in enumerate(submitted.stages)} if submitted else {}
        plans = sorted(
            plans_of(hashed).values(),
            key=lambda plan: (order.get(plan.name, len(order)), plan.name),
        )
        summary = summary_of(job, hashed)
        stages = await self._stages(job.id, plans, hashed)
        live = job.state is State.BLOCKED and deadline
        return FlowRecord(summary, stages, int(deadline) if live else 0)

    async def _fields(self, flow_id: str) -> dict[str, bytes]:
        """A flow's hash, some fields at a time, so that a large one holds nobody up."""
        found: dict[str, bytes] = {}
        key, cursor = self._keys.key("flow_", flow_id), 0
        while True:
            with translated():
                cursor, rows = await self._redis.hscan(key, cursor, count=SCAN_FIELDS)
            found |= {text(field): value for field, value in rows.items()}
            if not cursor:
                return found

    async def _stages(
        self, flow_id: str, plans: Sequence[PlannedStage], hashed: Mapping[str, bytes]
    ) -> tuple[StageRecord, ...]:
        single = [stage_job(flow_id, plan.name) for plan in plans if plan.each is None]
        jobs = {job.id: job async for job in self._jobs(single)}
        found: list[StageRecord] = []
        left = COUNTED_MAX
        for plan in plans:
            if plan.each is None:
                job = jobs.get(stage_job(flow_id, plan.name))
                found.append(StageRecord(plan, single_state(job), job))
                continue
            total = int(hashed.get(f"n:{plan.name}", 0))
            items = (
                await self._items(flow_id, plan.name, total)
                if total <= left
                else counted(plan.name, total, hashed)
            )
            left -= min(left, total)
            found.append(StageRecord(plan, fan_state(plan.name, items, hashed), items=items))
        return tuple(found)

    async def _jobs(self, ids: Sequence[str]) -> AsyncIterator[Job]:
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            with translated():
                async with self._redis.pipeline(transaction=False) as pipe:
                    for job_id in chunk:
                        pipe.hmget(self._keys.job(job_id), JOB_FIELDS)
                    rows = await pipe.execute()
            for job_id, row in zip(chunk, rows, strict=True):
                if job := job_of(job_id, row):
                    yield job

    async def _items(self, flow_id: str, name: str, total: int) -> Items:
        states: Counter[str] = Counter()
        started: list[int] = []
        ended: list[int] = []
        fault: Fault | None = None
        for start in range(0, total, CHUNK):
            indexes = range(start, min(start + CHUNK, total))
            with translated():
                async with self._redis.pipeline(transaction=False) as pipe:
                    for index in indexes:
                        key = self._keys.job(stage_job(flow_id, name, index))
                        pipe.hmget(key, "state", "lease", "end", "code", "error")
                    rows = await pipe.execute()
            for index, (state, lease, over, code, error) in zip(indexes, rows, strict=True):
                states[text(state) or "none"] += 1
                began_ms = parse_lease(lease).started_ms
                started += [began_ms] if began_ms else []
                ended += [int(over)] if over and State(text(state)).ended else []
                if fault is None and code and text(state) in ("dead", "expired"):
                    fault = Fault(text(code), f"{name}:{index}: {text(error)}")
        missing = states.pop("none", 0)  # not made yet, or there is no item to make it of
        if missing:
            states["missing"] = missing
        over_ms = max(ended) if ended and len(ended) == total - missing else 0
        return Items(total, dict(states), min(started, default=0), over_ms, fault)

    # ------------------------------------------------------------------ listings

    async def flows(
        self,
        apps: Iterable[str],
        state: FlowState | None = None,
        cursor: str = "",
        limit: int = 50,
    ) -> Page[FlowSummary]:
        """Flows of these apps, the newest first. Raises ValueError for a cursor that is none."""
        before = _position(cursor)
        found: list[FlowSummary] = []
        rows, all_of_them = await self._newest(apps, before)
        if not rows:
            return Page([])
        last = rows[-1] if all_of_them else None
        step = limit if state is None else CHUNK
        for at in range(0, len(rows), step):
            chunk = rows[at : at + step]
            for row, summary in zip(chunk, await self._summaries(chunk), strict=True):
                before = row
                if summary is not None and state in (None, summary.state):
                    found.append(summary)
                if len(found) == limit:
                    return Page(found, "" if row == last else _cursor(row))
        return Page(found, "" if last else _cursor(before))

    async def _newest(
        self, apps: Iterable[str], before: tuple[int, str] | None
    ) -> tuple[list[tuple[int, str]], bool]:
        """The next rows of the listings, as (submitted_ms, id), and whether there are no more."""
        top = before[0] if before else "+inf"
        lists, floor = [], (0, "")
        for app in apps:
            with translated():
                raw = await self._redis.zrange(
                    self._keys.key("flows_", app),
                    top,
                    "-inf",
                    desc=True,
                    byscore=True,
                    offset=0,
                    num=2 * SCAN_MAX,  # those of the cursor's own millisecond are among them
                    withscores=True,
                )
            rows = [(int(score), text(member)) for member, score in raw]
            if len(rows) == 2 * SCAN_MAX:
                floor = max(floor, rows[-1])  # below it this app may have rows that were not read
            lists.append([row for row in rows if before is None or row < before])
        merged = [row for row in heapq.merge(*lists, reverse=True) if row >= floor]
        return merged[:SCAN_MAX], floor == (0, "") and len(merged) <= SCAN_MAX

    async def _summaries(self, rows: Sequence[tuple[int, str]]) -> list[FlowSummary | None]:
        names = ("state", "name", "total", "left")
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for _, flow_id in rows:
                    pipe.hmget(self._keys.job(flow_id), JOB_FIELDS)
                    pipe.hmget(self._keys.key("flow_", flow_id), *names)
                answers = await pipe.execute()
        found: list[FlowSummary | None] = []
        for (_, flow_id), record, fields in zip(rows, answers[::2], answers[1::2], strict=True):
            hashed = {name: value for name, value in zip(names, fields, strict=True) if value}
            job = job_of(flow_id, record)
            found.append(await self._summary(job, hashed) if job else None)
        return found

    async def _summary(self, job: Job, hashed: Mapping[str, bytes]) -> FlowSummary:
        """A flow in a listing; of one that no worker has stored yet, what its input says."""
        if hashed:
            return summary_of(job, hashed)
        with translated():
            raw = await self._redis.get(self._keys.payload(job.id))
        head = msgspec.json.decode(raw, type=Head) if raw else Head(())
        count = len(head.stages)
        return FlowSummary(job, flow_state(job, ""), head.name, count, count)

    async def plans(self, flow_id: str) -> dict[str, PlannedStage]:
        """The stages that a flow has, by name."""
        return plans_of(await self._fields(flow_id))

    # ------------------------------------------------------------------ results

    async def result(self, job: Job) -> bytes | None:
        """The result of a flow that succeeded; a list where its stage fans out. None when gone.

        Raises TooLarge for a list of more than RESULT_MAX_BYTES.
        """
        key = self._keys.key("flow_", job.id)
        stored = await result_of(self._redis, self._keys, job.id)
        with translated():
            named = text(await self._redis.hget(key, "result"))
        if stored is None or not named.startswith("each "):
            return stored
        name = named.removeprefix("each ")
        with translated():
            total = int(await self._redis.hget(key, f"n:{name}") or 0)
        ids = [stage_job(job.id, name, index) for index in range(total)]
        return b"[" + b",".join([raw async for raw in self._raw_results(ids)]) + b"]"

    async def _raw_results(self, ids: Sequence[str]) -> AsyncIterator[bytes]:
        size = 0
        for start in range(0, len(ids), CHUNK):
            keys = [self._keys.result(job_id) for job_id in ids[start : start + CHUNK]]
            with translated():
                async with self._redis.pipeline(transaction=False) as pipe:
                    for key in keys:
                        pipe.strlen(key)
                    size += sum(await pipe.execute())
                if size > RESULT_MAX_BYTES:
                    raise TooLarge(
                        f"the results together have more than {RESULT_MAX_BYTES} bytes: "
                        "read those of the stage's jobs"
                    )
                found = await self._redis.mget(keys)
            for raw in found:
                yield raw or b"null"


def _cursor(row: tuple[int, str] | None) -> str:
    return f"{row[0]} {row[1]}" if row else ""


def _position(cursor: str) -> tuple[int, str] | None:
    if not cursor:
        return None
    at, _, flow_id = cursor.partition(" ")
    if not flow_id:
        raise ValueError(cursor)
    return int(at), flow_id
