"""The client of those who operate: everything that a terminal UI reads, and what it does.

Nothing here is repeated: who looks again every few seconds wants to hear at once that nothing
answers.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from gateway.client.nonblocking import AsyncClient
from gateway.client.requests import Refused, Sending
from gateway.usage import UsageSum, UsageView
from gateway.wire import JobView, PageView, ReplayAnswer
from gateway.wire_control import AttemptView, Explanation, PurgeAnswer
from gateway.wire_flows import FlowRow, FlowView
from gateway.wire_overview import OverviewView
from gateway.wire_registry import CallbackDetail
from gateway.wire_schedules import ScheduleView
from streams.directory import WorkerCard

T = TypeVar("T")


class OperatorClient(AsyncClient):
    """`AsyncClient` for those who look at everything. Raises Refused, and Unavailable."""

    async def overview(self, events: int = 0) -> OverviewView:
        """How everything stands, with the newest events."""
        return await self._get("/v1/overview", OverviewView, events=events)

    async def page(self, path: str, kind: type[T], **filters: Any) -> Sequence[T]:
        """The first page of a listing."""
        return (await self._get(path, PageView[kind], **filters)).items  # type: ignore[valid-type]

    async def workers(self) -> Sequence[WorkerCard]:
        """The workers that live."""
        return await self.page("/v1/workers", WorkerCard)

    async def callbacks(self, limit: int) -> Sequence[CallbackDetail]:
        """Callbacks: waiting ones first, then the newest."""
        return await self.page("/v1/callbacks", CallbackDetail, limit=limit)

    async def flow_rows(self, limit: int) -> Sequence[FlowRow]:
        """Flows, the newest first."""
        return await self.page("/v1/flows", FlowRow, limit=limit)

    async def flow_now(self, flow_id: str) -> FlowView:
        """A flow with its stages as they stand."""
        return await self._get(f"/v1/flows/{quote(flow_id)}", FlowView)

    async def schedules(self, limit: int) -> Sequence[ScheduleView]:
        """Schedules by app and name."""
        return await self.page("/v1/schedules", ScheduleView, limit=limit)

    async def job_now(self, job_id: str) -> JobView:
        """A job as it stands, without its result."""
        return await self._get(f"/v1/jobs/{quote(job_id)}", JobView)

    async def attempts(self, job_id: str) -> Sequence[AttemptView]:
        """A job's attempts, oldest first."""
        return await self._get(f"/v1/jobs/{quote(job_id)}/attempts", tuple[AttemptView, ...])

    async def explanation(self, job_id: str) -> Explanation:
        """Why a job stands where it stands."""
        return await self._get(f"/v1/jobs/{quote(job_id)}/explain", Explanation)

    async def callback(self, callback_id: str) -> CallbackDetail | None:
        """A callback with its delivery log, or None."""
        try:
            return await self._get(f"/v1/callbacks/{quote(callback_id)}", CallbackDetail)
        except Refused as refused:
            if refused.problem.status == 404:
                return None
            raise

    async def usage_today(self) -> Sequence[UsageSum]:
        """What models were used for today (UTC), by processor and model."""
        today = datetime.now(UTC).date().isoformat()
        given = {"from": today, "to": today, "by": "processor,model"}
        return (await self._get("/v1/usage", UsageView, **given)).rows

    async def act(self, path: str, **query: str) -> None:
        """POST to a path that needs no body, such as `/v1/jobs/{id}:cancel`."""
        await self._send(Sending("POST", path, msgspec.Raw, query=query, repeatable=False))

    async def replay_letters(self, ids: Sequence[str]) -> ReplayAnswer:
        """Run dead letters again, at most 1,000."""
        return await self._post("/v1/dead-letters:replay", ReplayAnswer, {"ids": ids})

    async def purge_letters(self, ids: Sequence[str]) -> PurgeAnswer:
        """Forget dead letters, at most 1,000."""
        return await self._post("/v1/dead-letters:purge", PurgeAnswer, {"ids": ids})

    async def replay_callbacks(self, ids: Sequence[str]) -> ReplayAnswer:
        """Deliver ended callbacks again, at most 1,000."""
        return await self._post("/v1/callbacks:replay", ReplayAnswer, {"ids": ids})

    async def _get(self, path: str, kind: type[T], **filters: Any) -> T:
        query = {name: str(value) for name, value in filters.items() if value is not None}
        return await self._send(Sending("GET", path, kind, query=query, repeatable=False))

    async def _post(self, path: str, kind: type[T], body: Mapping[str, Any]) -> T:
        raw = msgspec.json.encode(body)
        return await self._send(Sending("POST", path, kind, raw, repeatable=False))
