"""The gateway as the source of what the terminal UI shows."""

from collections.abc import Awaitable, Callable, Sequence

from gateway.client.operating import OperatorClient
from gateway.client.requests import Refused
from gateway.usage import UsageSum
from gateway.wire import JobView
from gateway.wire_flows import FlowRow, FlowView
from gateway.wire_overview import OverviewView
from gateway.wire_registry import CallbackDetail
from gateway.wire_schedules import ScheduleView
from ops.story import Story, callback_ids
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
from streams.directory import WorkerCard
from streams.model import State
from streams.together import together

LETTERS_MAX = 1_000  # of one call


class GatewaySource:
    """Everything over HTTP; what the key may not see or do, the gateway says."""

    def __init__(self, client: OperatorClient, where: str) -> None:
        self.where = where
        self._client = client

    async def overview(self) -> OverviewView:
        """How everything stands, with the newest events."""
        return await self._client.overview(EVENTS)

    async def jobs(self) -> Sequence[JobView]:
        """Running jobs first, then others that live, then the newest that ended."""
        async with together() as group:
            running = group.create_task(
                self._client.page("/v1/jobs", JobView, state=State.ACTIVE, limit=RUNNING_MAX)
            )
            found = group.create_task(self._client.page("/v1/jobs", JobView, limit=LISTED_MAX))
        return running_first([*running.result(), *found.result()])

    async def story(self, job_id: str) -> Story:
        """Everything about one job."""
        async with together() as group:
            job = group.create_task(self._client.job_now(job_id))
            attempts = group.create_task(self._client.attempts(job_id))
            why = group.create_task(self._client.explanation(job_id))
        found = [await self._client.callback(one) for one in callback_ids(job.result())]
        told = tuple(one for one in found if one)
        return Story(job.result(), tuple(attempts.result()), told, why.result())

    async def workers(self) -> Sequence[WorkerCard]:
        """Those that live."""
        return await self._client.workers()

    async def callbacks(self) -> Sequence[CallbackDetail]:
        """Waiting ones first, then the newest."""
        return await self._client.callbacks(LISTED_MAX)

    async def flows(self) -> Sequence[FlowRow]:
        """The newest first."""
        return await self._client.flow_rows(LISTED_MAX)

    async def flow(self, flow_id: str) -> FlowView:
        """One flow with its stages."""
        return await self._client.flow_now(flow_id)

    async def schedules(self) -> Sequence[ScheduleView]:
        """All of them."""
        return await self._client.schedules(LISTED_MAX)

    async def usage(self) -> Sequence[UsageSum]:
        """What models were used for today (UTC), by processor and model."""
        return await self._client.usage_today()

    async def dead_letters(self) -> Sequence[JobView]:
        """The newest first."""
        return await self._client.page("/v1/dead-letters", JobView, limit=LISTED_MAX)

    async def do(self, deed: Deed) -> Outcome:
        """Ask the gateway to do it."""
        ids = deed.ids[:LETTERS_MAX]
        if deed.verb is Verb.PURGE:
            return Outcome((await self._client.purge_letters(ids)).purged)
        if deed.verb is Verb.REPLAY:
            return Outcome((await self._client.replay_callbacks(ids)).replayed)
        if deed.verb is Verb.RETRY and deed.kind is Kind.JOB and len(ids) > 1:
            return Outcome((await self._client.replay_letters(ids)).replayed)
        return await one_by_one(deed.ids, lambda one: self._one(deed, one))

    async def _one(self, deed: Deed, name: str) -> None:
        if deed.kind is Kind.SCHEDULE:
            app, _, own = name.partition("|")
            await self._client.act(f"/v1/schedules/{own}:{deed.verb}", app=app)
        else:
            await self._client.act(f"{PATHS[deed.kind]}/{name}:{deed.verb}")


PATHS = {Kind.JOB: "/v1/jobs", Kind.FLOW: "/v1/flows", Kind.CLASS: "/v1/classes"}


async def one_by_one(ids: Sequence[str], act: Callable[[str], Awaitable[None]]) -> Outcome:
    """Do it to each; what is refused of one keeps nothing from the others."""
    refused = []
    for one in ids:
        try:
            await act(one)
        except Refused as error:
            refused.append(f"{one}: {error}")
    return Outcome(len(ids) - len(refused), tuple(refused))
