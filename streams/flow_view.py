"""The read side of flows: how one stands, stage by stage; listings; results. Changes nothing."""

import heapq
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from streams.errors import TooLarge
from streams.flow import PlannedFlow, PlannedStage, stage_job
from streams.inspector import SCAN_MAX, parse_job
from streams.keyspace import FLOW, Keyspace
from streams.model import Fault, Job, Page, State
from streams.scripts import Client, text, translated

CHUNK = 500  # jobs in one round trip
COUNTED_MAX = 10_000  # jobs of fan-outs that one view looks at; of the rest it knows less
SCAN_FIELDS = 1_000
RESULT_MAX_BYTES = 64 * 1024 * 1024  # of a list that is put together


class FlowState(StrEnum):
    """Where a flow stands: as its own job does, but while its stages live."""

    SPOOLED = "spooled"
    DELAYED = "delayed"
    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"  # nothing of it starts any more
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class StageState(StrEnum):
    """Where a stage stands. With `each` it is dead when any of its jobs did not succeed."""

    BLOCKED = "blocked"
    DELAYED = "delayed"
    WAITING = "waiting"
    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SKIPPED = "skipped"  # a stage before it did not succeed


class Items(msgspec.Struct, frozen=True, omit_defaults=True):
    """The jobs of a fan-out: how many there will be, how many stand where, when, and a failure."""

    total: int = 0
    states: dict[str, int] = {}  # beyond COUNTED_MAX: open, succeeded, failed
    started_ms: int = 0
    ended_ms: int = 0
    fault: Fault | None = None  # of the first that failed


class StageRecord(msgspec.Struct, frozen=True):
    """One stage: its plan, and its job or those of its items."""

    plan: PlannedStage
    state: StageState
    job: Job | None = None
    items: Items | None = None


class FlowSummary(msgspec.Struct, frozen=True):
    """A flow as listings show it. `stages_left` have not ended."""

    job: Job
    state: FlowState
    name: str = ""
    stages: int = 0
    stages_left: int = 0


class FlowRecord(msgspec.Struct, frozen=True):
    """A whole flow. `deadline_ms` is 0 for one that has none or has ended."""

    summary: FlowSummary
    stages: tuple[StageRecord, ...] = ()
    deadline_ms: int = 0


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
            return _unplanted(job, submitted)
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
                        pipe.hgetall(self._keys.job(job_id))
                    rows = await pipe.execute()
            for job_id, row in zip(chunk, rows, strict=True):
                if row:
                    yield parse_job(job_id, row)

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
                        pipe.hmget(key, "state", "start", "end", "code", "error")
                    rows = await pipe.execute()
            for index, (state, began, over, code, error) in zip(indexes, rows, strict=True):
                states[text(state) or "none"] += 1
                started += [int(began)] if began else []
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
                    pipe.hgetall(self._keys.job(flow_id))
                    pipe.hmget(self._keys.key("flow_", flow_id), *names)
                answers = await pipe.execute()
        found: list[FlowSummary | None] = []
        for (_, flow_id), record, fields in zip(rows, answers[::2], answers[1::2], strict=True):
            hashed = {name: value for name, value in zip(names, fields, strict=True) if value}
            found.append(summary_of(parse_job(flow_id, record), hashed) if record else None)
        return found

    async def plans(self, flow_id: str) -> dict[str, PlannedStage]:
        """The stages that a flow has, by name."""
        return plans_of(await self._fields(flow_id))

    # ------------------------------------------------------------------ results

    async def result(self, job: Job) -> bytes | None:
        """The result of a flow that succeeded; a list where its stage fans out. None when gone.

        Raises TooLarge for a list of more than RESULT_MAX_BYTES.
        """
        key = self._keys.key("flow_", job.id)
        with translated():
            stored: bytes | None = await self._redis.get(self._keys.result(job.id))
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


# ---------------------------------------------------------------------- what a record says


def plans_of(hashed: Mapping[str, bytes]) -> dict[str, PlannedStage]:
    """The plans of a flow's stages by name, from its hash."""
    return {
        field[2:]: msgspec.json.decode(value, type=PlannedStage)
        for field, value in hashed.items()
        if field.startswith("p:")
    }


def summary_of(job: Job, hashed: Mapping[str, bytes]) -> FlowSummary:
    """A flow from its job and its hash, which is empty before a worker stored it."""
    return FlowSummary(
        job,
        flow_state(job, text(hashed.get("state"))),
        text(hashed.get("name")),
        int(hashed.get("total", 0)),
        int(hashed.get("left", 0)),
    )


def flow_state(job: Job, state: str) -> FlowState:
    """Where a flow stands, from its job and the state of its hash."""
    match job.state:
        case State.BLOCKED:
            return FlowState.STOPPING if state == "stopping" else FlowState.RUNNING
        case State.ACTIVE:
            return FlowState.WAITING  # a worker stores its stages
        case _:
            return FlowState(job.state)


def single_state(job: Job | None) -> StageState:
    """Where a stage without `each` stands."""
    if job is None:
        return StageState.BLOCKED
    skipped = job.state is State.CANCELLED and job.fault and job.fault.code == "skipped"
    return StageState.SKIPPED if skipped else StageState(job.state)


def fan_state(name: str, items: Items, hashed: Mapping[str, bytes]) -> StageState:
    """Where a stage with `each` stands."""
    outcome = text(hashed.get(f"e:{name}")).rpartition(" ")[2]
    if outcome:
        ends = {"good": StageState.SUCCEEDED, "skipped": StageState.SKIPPED}
        return ends.get(outcome, StageState.DEAD)
    if text(hashed.get("state")) == "ended":
        failed = int(hashed.get(f"b:{name}", 0)) > 0 and items.states.get(State.DEAD, 0) > 0
        return StageState.DEAD if failed else StageState.CANCELLED
    if items.started_ms or items.states.get(State.ACTIVE):
        return StageState.ACTIVE
    waits = int(hashed.get(f"w:{name}", 0))
    return StageState.BLOCKED if waits else StageState.WAITING


def counted(name: str, total: int, hashed: Mapping[str, bytes]) -> Items:
    """What the flow's own counters say of a fan-out."""
    left, failed = (int(hashed.get(f"{field}:{name}", 0)) for field in "lb")
    states = {"open": left, "failed": failed, "succeeded": max(0, total - left - failed)}
    return Items(total, {state: count for state, count in states.items() if count})


def _unplanted(job: Job, submitted: PlannedFlow | None) -> FlowRecord:
    """A flow that no worker has stored yet, or whose own job ended before one did."""
    if submitted is None:
        return FlowRecord(summary_of(job, {}))
    count = len(submitted.stages)
    state = StageState.CANCELLED if job.state.ended else StageState.BLOCKED
    stages = tuple(
        StageRecord(plan, state, items=Items() if plan.each else None) for plan in submitted.stages
    )
    summary = FlowSummary(job, flow_state(job, ""), submitted.name, count, count)
    return FlowRecord(summary, stages)


def is_flow(job: Job) -> bool:
    """Whether this is the own job of a flow."""
    return job.lane.processor == FLOW


def _cursor(row: tuple[int, str] | None) -> str:
    return f"{row[0]} {row[1]}" if row else ""


def _position(cursor: str) -> tuple[int, str] | None:
    if not cursor:
        return None
    at, _, flow_id = cursor.partition(" ")
    if not flow_id:
        raise ValueError(cursor)
    return int(at), flow_id
