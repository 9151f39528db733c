"""Flows on Redis: stored, fanned out, moved on, and what a stage's job is given."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from streams.blobs import read_many
from streams.broker import Argument, Broker, submit_row
from streams.errors import InvalidInput
from streams.flow import (
    Each,
    PlannedFlow,
    PlannedStage,
    fanned,
    references,
    resolved,
    stage_job,
)
from streams.model import Lease, NewJob
from streams.scripts import Client, text, translated

STAGES_PER_CALL = 50
ITEMS_PER_CALL = 50  # 10,000 items block no other call for longer than a few ms
RESULTS_PER_CALL = 500
STEPS_PER_CALL = 20
FANS_PER_TICK = 20
PLANS_KEPT = 500
BLANKS = ("",) * 12  # of a stage with `each`, which has no job of its own

encode = msgspec.json.encode


class FlowStopped(InvalidInput):
    """The flow has been stopped meanwhile, or this attempt is not the newest."""

    code = "flow_stopped"


class FlowStore:
    """The engine's side of flows. Every method may raise errors.Unavailable."""

    def __init__(self, redis: Client, broker: Broker) -> None:
        self._redis = redis
        self._keys = broker.keyspace
        self._scripts = broker.scripts
        self._plans: dict[tuple[str, str], PlannedStage] = {}

    # ------------------------------------------------------------------ storing

    async def plant(self, lease: Lease, payload: bytes) -> None:
        """Store the flow whose own job this is. Repeatable: what is stored stays.

        Raises FlowStopped, and InvalidInput for a payload that is no planned flow.
        """
        try:
            flow = msgspec.json.decode(payload, type=PlannedFlow)
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"this is no flow: {error}") from None
        await self._store(lease, lease.job_id, flow, round_=await self._round(lease.job_id))

    async def add(self, lease: Lease, stages: Sequence[PlannedStage]) -> None:
        """Store more stages of the flow of a running stage. Raises FlowStopped."""
        await self._store(lease, lease.flow, PlannedFlow(tuple(stages)), round_=0)

    async def _round(self, flow_id: str) -> int:
        """How often the flow's job has ended: a retry stores it anew."""
        with translated():
            ends = await self._redis.hget(self._keys.job(flow_id), "rounds")
        return int(ends or 0)

    async def _store(self, lease: Lease, flow_id: str, flow: PlannedFlow, round_: int) -> None:
        deadline = round(flow.deadline_s * 1000)
        fans = any(stage.name == flow.result and stage.each for stage in flow.stages)
        result = f"each {flow.result}" if fans else stage_job(flow_id, flow.result)
        result = result if flow.result else ""
        head: list[Argument] = [flow_id, lease.job_id, lease.token, round_, len(flow.stages)]
        head += [deadline, result, flow.name, encode(flow.input)]
        for start in range(0, len(flow.stages), STAGES_PER_CALL):
            chunk = flow.stages[start : start + STAGES_PER_CALL]
            rows = [part for stage in chunk for part in self._stage_row(flow_id, stage, lease)]
            answer = text(await self._scripts.run("flow_plant", *head, *rows))
            if answer != "planted":
                raise FlowStopped(f"the flow cannot be stored: {answer}")

    def _stage_row(self, flow_id: str, stage: PlannedStage, lease: Lease) -> list[Argument]:
        lane = msgspec.structs.replace(stage.lane, app=lease.lane.app)  # whatever the plan says
        stage = msgspec.structs.replace(stage, lane=lane, trace=lease.trace)
        row: list[Argument] = [
            stage.name,
            "each" if stage.each else "one",
            stage.on_failure,
            names(stage.after),
            names(stage.before),
            encode(stage),
        ]
        if stage.each:
            return row + list(BLANKS)
        job_id = stage_job(flow_id, stage.name)
        return row + submit_row(new_job(job_id, stage, encode(stage.payload)))

    # ------------------------------------------------------------------ moving on

    async def tick(self) -> None:
        """Take the steps that were left over, and fan out what is to be fanned out."""
        while await self._scripts.run("flow_step", STEPS_PER_CALL):
            pass
        with translated():
            fans = await self._redis.srandmember(self._keys.key("flow_fans"), FANS_PER_TICK)
        for fan in fans:
            flow_id, round_, stage = text(fan).split("|")
            await self._fan_out(flow_id, round_, stage)

    async def _fan_out(self, flow_id: str, round_: str, name: str) -> None:
        with translated():
            reached = await self._redis.hget(self._keys.key("flow_", flow_id), f"x:{name}")
        try:
            stage = await self._plan(flow_id, name)
            items = await self._items(flow_id, stage.each or Each())
        except InvalidInput as error:
            await self._scripts.run("flow_fault", flow_id, round_, name, error.code, str(error))
            return
        at, total = int(reached or 0), len(items)
        while True:
            rows: list[Argument] = []
            for index in range(at, min(at + ITEMS_PER_CALL, total)):
                job_id = "" if items[index] is None else stage_job(flow_id, name, index)
                rows += submit_row(new_job(job_id, stage, encode(items[index])))
            head: list[Argument] = [flow_id, round_, name, total, at]
            at = int(await self._scripts.run("flow_expand", *head, *rows))
            if not 0 <= at < total:
                return

    async def _items(self, flow_id: str, each: Each) -> Sequence[Any]:
        if each.result:
            return fanned(each, await self._results(flow_id, [each.result]), None)
        return fanned(each, {}, await self._input(flow_id))

    # ------------------------------------------------------------------ what a stage is given

    async def payload(self, lease: Lease, stored: bytes) -> bytes:
        """The input of a stage's job, its references replaced. Raises InvalidInput."""
        fans = ":" in lease.stage
        if not fans and b'"$' not in stored:
            return stored
        stage = await self._plan(lease.flow, lease.stage.partition(":")[0])
        if fans and stage.payload is None:
            return stored
        asked = [(kind, parent) for kind, parent, _ in references(stage.payload)]
        results = await self._results(lease.flow, {name for kind, name in asked if name})
        given = await self._input(lease.flow) if ("$input", "") in asked else None
        item = msgspec.json.decode(stored) if fans else None
        return encode(resolved(stage.payload, results, given, item))

    async def _plan(self, flow_id: str, name: str) -> PlannedStage:
        """A stage's plan, which never changes; that of a fan-out is asked for by every item."""
        known = self._plans.get((flow_id, name))
        if known is not None:
            return known
        with translated():
            plan = await self._redis.hget(self._keys.key("flow_", flow_id), f"p:{name}")
        if plan is None:
            raise FlowStopped("its flow is not in Redis any more")
        if len(self._plans) >= PLANS_KEPT:
            self._plans.pop(next(iter(self._plans)))
        stage = self._plans[flow_id, name] = msgspec.json.decode(plan, type=PlannedStage)
        return stage

    async def _input(self, flow_id: str) -> Any:
        with translated():
            given = await self._redis.hget(self._keys.key("flow_", flow_id), "input")
        return None if given is None else msgspec.json.decode(given)

    async def result(self, flow_id: str, name: str) -> Any:
        """A stage's result; of a stage with `each` the list of its jobs', None where one failed."""
        return (await self._results(flow_id, [name]))[name]

    async def _results(self, flow_id: str, stages: Iterable[str]) -> dict[str, Any]:
        stages = list(stages)
        if not stages:
            return {}
        fields = [f"{field}:{name}" for name in stages for field in "sn"]
        with translated():
            row = await self._redis.hmget(self._keys.key("flow_", flow_id), *fields)
        jobs: dict[str, list[str]] = {}
        alone = set[str]()
        for name, kind, count in zip(stages, row[::2], row[1::2], strict=True):
            if text(kind).startswith("each"):
                jobs[name] = [stage_job(flow_id, name, n) for n in range(int(count or 0))]
            else:
                jobs[name] = [stage_job(flow_id, name)]
                alone.add(name)
        found = iter(await self._raw_results([job for ids in jobs.values() for job in ids]))
        values = {name: [next(found) for _ in ids] for name, ids in jobs.items()}
        return {name: each[0] if name in alone else each for name, each in values.items()}

    async def _raw_results(self, ids: Sequence[str]) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(ids), RESULTS_PER_CALL):
            keys = [self._keys.result(job_id) for job_id in ids[start : start + RESULTS_PER_CALL]]
            found += await read_many(self._redis, keys)
        return [None if raw is None else msgspec.json.decode(raw) for raw in found]


def names(stages: Iterable[str]) -> str:
    """Stage names as the scripts take them: a comma after each."""
    return "".join(f"{name}," for name in stages)


def new_job(job_id: str, stage: PlannedStage, payload: bytes) -> NewJob:
    """A stage's job."""
    return NewJob(
        id=job_id,
        lane=stage.lane,
        payload=payload,
        attempts_max=stage.limits.attempts_max,
        timeout_ms=stage.limits.timeout_ms,
        backoff_ms=stage.limits.backoff_ms,
        backoff_max_ms=stage.limits.backoff_max_ms,
        trace=stage.trace,
    )
