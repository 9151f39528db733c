"""Redis itself as the source of what the terminal UI shows, for whoever may reach it anyway."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from gateway.overview import events_of, overview_of
from gateway.scheduling import triggered
from gateway.usage import UsageSum
from gateway.wire import JobView
from gateway.wire_flows import FlowRow, FlowView
from gateway.wire_overview import OverviewView
from gateway.wire_registry import CallbackDetail
from gateway.wire_schedules import ScheduleView
from ops.links import Engine
from ops.looking import existing_job, found_jobs, story_of
from ops.story import Story
from ops.tui.source import (
    EVENTS,
    LISTED_MAX,
    RUNNING_MAX,
    Deed,
    Kind,
    Outcome,
    Verb,
    running_first,
)
from streams.clock import SystemClock
from streams.control import Changed
from streams.directory import WorkerCard
from streams.listing import EVERY_JOB, JobFilter
from streams.model import Cancelled, ResourceClass, State
from streams.usage import By, day_of, grouped

Audit = Callable[..., None]  # action, subject, fields

BY = (By.PROCESSOR, By.MODEL)
CALL_MAX = 500  # of one script call
# The names of what is done, as the API and the audit log have them.
ACTIONS: Mapping[tuple[Verb, Kind], str] = {
    (Verb.CANCEL, Kind.JOB): "cancel_job",
    (Verb.CANCEL, Kind.FLOW): "cancel_flow",
    (Verb.RETRY, Kind.JOB): "retry_job",
    (Verb.RETRY, Kind.FLOW): "retry_flow",
    (Verb.PROMOTE, Kind.JOB): "promote_job",
    (Verb.PURGE, Kind.JOB): "purge_dead_letters",
    (Verb.REPLAY, Kind.CALLBACK): "replay_callbacks",
    (Verb.PAUSE, Kind.CLASS): "pause_class",
    (Verb.RESUME, Kind.CLASS): "resume_class",
    (Verb.PAUSE, Kind.SCHEDULE): "pause_schedule",
    (Verb.RESUME, Kind.SCHEDULE): "resume_schedule",
    (Verb.TRIGGER, Kind.SCHEDULE): "trigger_schedule",
}


class RedisSource:
    """Everything straight from Redis; what is done is noted in this machine's audit log."""

    def __init__(self, engine: Engine, where: str, audit: Audit) -> None:
        self.where = where
        self._engine = engine
        self._audit = audit

    async def overview(self) -> OverviewView:
        """How everything stands, with the newest events."""
        view = overview_of(await self._engine.overview.look())
        events = events_of(self._engine.overview.recent(), EVENTS)
        return msgspec.structs.replace(view, events=events)

    async def jobs(self) -> Sequence[JobView]:
        """Running jobs first, then others that live, then the newest that ended."""
        running = await found_jobs(self._engine, JobFilter(state=State.ACTIVE), RUNNING_MAX)
        found = await found_jobs(self._engine, EVERY_JOB, LISTED_MAX)
        return running_first([JobView.of(job) for job in [*running, *found]])

    async def story(self, job_id: str) -> Story:
        """Everything about one job."""
        return await story_of(self._engine, job_id)

    async def workers(self) -> Sequence[WorkerCard]:
        """Those that live."""
        return await self._engine.directory.workers()

    async def callbacks(self) -> Sequence[CallbackDetail]:
        """Waiting ones first, then the newest."""
        page = await self._engine.callbacks.page(limit=LISTED_MAX)
        return [CallbackDetail.of(view) for view in page.items]

    async def flows(self) -> Sequence[FlowRow]:
        """The newest first."""
        apps = sorted(await self._engine.directory.apps())
        page = await self._engine.flows.flows(apps, limit=LISTED_MAX)
        return [FlowRow.of(summary) for summary in page.items]

    async def flow(self, flow_id: str) -> FlowView:
        """One flow with its stages."""
        job = await existing_job(self._engine, flow_id)
        return FlowView.of(await self._engine.flows.flow(job))

    async def schedules(self) -> Sequence[ScheduleView]:
        """All of them."""
        page = await self._engine.schedules.page(limit=LISTED_MAX)
        return [ScheduleView.of(standing) for standing in page.items]

    async def usage(self) -> Sequence[UsageSum]:
        """What models were used for today (UTC), by processor and model."""
        today = day_of(SystemClock().now_ms())
        rows = grouped(await self._engine.usage.rows(today, today), BY)
        return [UsageSum.of(row, BY) for row in rows]

    async def dead_letters(self) -> Sequence[JobView]:
        """The newest first."""
        wanted = JobFilter(state=State.DEAD)
        return [JobView.of(job) for job in await found_jobs(self._engine, wanted, LISTED_MAX)]

    # ------------------------------------------------------------------ what is done

    async def do(self, deed: Deed) -> Outcome:
        """Do it, and note it."""
        said = {one: await self._one(deed, one) for one in deed.ids} if alone(deed) else {}
        if not said:
            for start in range(0, len(deed.ids), CALL_MAX):
                said |= await self._many(deed, deed.ids[start : start + CALL_MAX])
        self._audit(ACTIONS[deed.verb, deed.kind], ",".join(deed.ids))
        refused = tuple(f"{one}: {answer}" for one, answer in said.items() if answer)
        return Outcome(len(said) - len(refused), refused)

    async def _many(self, deed: Deed, ids: Sequence[str]) -> dict[str, str]:
        """What speaks against each, empty where it was done; by one call for all."""
        match deed.verb:
            case Verb.PURGE:
                answers = await self._engine.control.purge(ids, State.DEAD)
                return _unless("purged", ids, answers)
            case Verb.REPLAY:
                replayed = await self._engine.callbacks.replay(ids)
                return dict.fromkeys(ids[:replayed], "") | dict.fromkeys(
                    ids[replayed:], "it is on its way already, or gone"
                )
            case _:
                return _unless("replayed", ids, await self._engine.broker.replay(ids))

    async def _one(self, deed: Deed, name: str) -> str:
        """What speaks against it, empty where it was done."""
        broker, schedules = self._engine.broker, self._engine.schedules
        match deed.verb, deed.kind:
            case Verb.CANCEL, _:
                outcome = await broker.cancel(name, "cancelled in top")
                good = outcome in (Cancelled.CANCELLED, Cancelled.REQUESTED)
                return "" if good else outcome
            case Verb.PROMOTE, _:
                changed = await self._engine.control.change(name, due_ms=0)
                return "" if changed is Changed.CHANGED else changed
            case Verb.PAUSE, Kind.CLASS:
                return "" if await broker.pause(ResourceClass(name)) else "paused already"
            case Verb.RESUME, Kind.CLASS:
                return "" if await broker.resume(ResourceClass(name)) else "not paused"
            case Verb.PAUSE, _:
                return "" if await schedules.pause(name) else "gone"
            case Verb.RESUME, _:
                return "" if await schedules.resume(name) else "gone"
        return await self._trigger(name)

    async def _trigger(self, name: str) -> str:
        standing = await self._engine.schedules.get(name)
        if standing is None:
            return "gone"
        await self._engine.broker.submit([triggered(standing.schedule, SystemClock().now_ms())])
        return ""


def alone(deed: Deed) -> bool:
    """Whether each is a call of its own."""
    return deed.verb not in (Verb.PURGE, Verb.REPLAY, Verb.RETRY)


def _unless(good: str, ids: Sequence[str], answers: Iterable[str]) -> dict[str, str]:
    return {one: "" if said == good else said for one, said in zip(ids, answers, strict=True)}
