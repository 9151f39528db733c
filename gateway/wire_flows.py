"""What crosses the wire about flows: submits, and how one stands."""

from datetime import datetime
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.wire import (
    Aware,
    CallbackTarget,
    Duration,
    IdempotencyKey,
    Name,
    Request,
    Tag,
    moment,
    shown_callback,
)
from streams.directory import FlowCard
from streams.flow import STAGES_MAX, Each, OnFailure, Stage
from streams.flow_record import FlowRecord, FlowState, FlowSummary, Items, StageRecord, StageState
from streams.model import CallbackRequest, Fault, Priority, ResourceClass, State

DEADLINE_S = 7 * 86_400.0

StageName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$(?!\n)")]
Pointer = Annotated[str, Meta(pattern=r"^(/[\s\S]*)?$", max_length=1_000)]
Deadline = Annotated[float, Meta(gt=0, le=30 * 86_400)]


class EachRequest(Request, frozen=True):
    """The list to fan out over: in the result of the stage `result`, else in the flow's input."""

    result: StageName | None = None
    path: Pointer = ""  # a JSON Pointer; empty: the whole


class StageRequest(Request, frozen=True):
    """One stage. It starts when those that `after`, `each` and its payload name have ended.

    Anywhere in the payload `{"$result": "stage", "path": "/pointer"}` stands for a result,
    `{"$input": "/pointer"}` for the flow's input and, with `each`, `{"$item": "/pointer"}` for the
    item. Left out, the payload is the item, or `{}`.
    """

    name: StageName
    processor: Name
    after: Annotated[tuple[StageName, ...], Meta(max_length=STAGES_MAX)] = ()
    payload: Any = None
    each: EachRequest | None = None
    on_failure: OnFailure = OnFailure.FAIL
    priority: Priority | None = None  # left out: the flow's
    attempts_max: Annotated[int, Meta(ge=1, le=100)] | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None

    def stage(self) -> Stage:
        """The stage that this asks for."""
        each = None if self.each is None else Each(self.each.result or "", self.each.path)
        fields = msgspec.structs.asdict(self)
        return Stage(**{**fields, "each": each})


class FlowRequest(Request, frozen=True):
    """A flow to submit: a named one by `name`, or the `stages` of one that is made for the day.

    `result` names the stage whose result is the flow's; left out, the one that nothing follows.
    """

    name: Name | None = None
    stages: Annotated[tuple[StageRequest, ...], Meta(max_length=STAGES_MAX)] | None = None
    input: Any = None
    result: StageName | None = None
    deadline_s: Deadline | None = None  # left out: the named flow's, or seven days
    priority: Priority = Priority.NORMAL  # of stages that do not say
    run_at: Aware | None = None
    delay_s: Duration = 0.0
    expires_at: Aware | None = None  # if it has not begun by then
    callback: CallbackTarget | None = None
    tags: Annotated[tuple[Tag, ...], Meta(max_length=16)] = ()
    idempotency_key: IdempotencyKey | None = None


class FlowLinks(msgspec.Struct, frozen=True):
    """Where to go on from a flow."""

    self: str
    job: str
    result: str
    cancel: str
    retry: str

    @classmethod
    def of(cls, flow_id: str) -> Self:
        """The links of a flow."""
        here, job = f"/v1/flows/{flow_id}", f"/v1/jobs/{flow_id}"
        return cls(here, job, f"{job}/result", f"{here}:cancel", f"{here}:retry")


class FlowAccepted(msgspec.Struct, frozen=True):
    """A submitted flow. `warnings` say what may keep it from going well."""

    id: str
    state: State
    created: bool
    warnings: tuple[str, ...]
    links: FlowLinks


class ItemsView(msgspec.Struct, frozen=True):
    """The jobs of a fan-out: how many there are, and how many stand where.

    Of very many jobs only `open`, `failed` and `succeeded` are told apart. `missing` ones have not
    been made yet, or never are: the job that should have made their item did not succeed.
    """

    total: int
    states: dict[str, int]


class StageView(msgspec.Struct, frozen=True):
    """One stage as it stands."""

    name: str
    processor: str
    resource_class: ResourceClass
    priority: Priority
    state: StageState
    after: tuple[str, ...]
    on_failure: OnFailure
    job: str  # its id; empty for a fan-out
    items: ItemsView | None  # of a fan-out
    attempt: int
    progress: float | None
    note: str
    started_at: datetime | None
    ended_at: datetime | None
    error: Fault | None

    @classmethod
    def of(cls, record: StageRecord) -> Self:
        """The view of a stage."""
        plan, job, items = record.plan, record.job, record.items
        return cls(
            name=plan.name,
            processor=plan.lane.processor,
            resource_class=plan.lane.resource_class,
            priority=plan.lane.priority,
            state=record.state,
            after=plan.after,
            on_failure=plan.on_failure,
            job=job.id if job else "",
            items=None if items is None else ItemsView(items.total, items.states),
            attempt=job.attempt if job else 0,
            progress=job.progress if job else items_progress(items),
            note=job.note if job else "",
            started_at=moment(job.started_ms if job else items.started_ms if items else 0),
            ended_at=moment(job.ended_ms if job else items.ended_ms if items else 0),
            error=job.fault if job else items.fault if items else None,
        )


class FlowRow(msgspec.Struct, frozen=True):
    """A flow in a listing."""

    id: str
    name: str  # empty for one that was submitted with its stages
    app: str
    state: FlowState
    stages_total: int
    stages_left: int
    submitted_at: datetime | None
    ended_at: datetime | None
    error: Fault | None
    tags: tuple[str, ...]
    links: FlowLinks

    @classmethod
    def of(cls, summary: FlowSummary) -> Self:
        """The row of a flow."""
        job = summary.job
        return cls(
            id=job.id,
            name=summary.name,
            app=job.lane.app,
            state=summary.state,
            stages_total=summary.stages,
            stages_left=summary.stages_left,
            submitted_at=moment(job.submitted_ms),
            ended_at=moment(job.ended_ms),
            error=job.fault if job.state.ended else None,
            tags=job.tags,
            links=FlowLinks.of(job.id),
        )


class FlowView(msgspec.Struct, frozen=True):
    """A flow as it stands, with its stages in an order in which each follows those before it.

    `result` is there when the request waited and the flow succeeded.
    """

    id: str
    name: str
    app: str
    state: FlowState
    priority: Priority
    stages_total: int
    stages_left: int
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    deadline_at: datetime | None
    cancel_requested: bool
    error: Fault | None
    callback: CallbackRequest | None
    tags: tuple[str, ...]
    stages: tuple[StageView, ...]
    links: FlowLinks
    result: msgspec.Raw | UnsetType = UNSET

    @classmethod
    def of(cls, record: FlowRecord, result: bytes | None = None) -> Self:
        """The view of a flow, with its result when given."""
        summary = record.summary
        job = summary.job
        return cls(
            id=job.id,
            name=summary.name,
            app=job.lane.app,
            state=summary.state,
            priority=job.lane.priority,
            stages_total=summary.stages,
            stages_left=summary.stages_left,
            submitted_at=moment(job.submitted_ms),
            started_at=moment(job.started_ms),
            ended_at=moment(job.ended_ms),
            deadline_at=moment(record.deadline_ms),
            cancel_requested=job.cancel_requested,
            error=job.fault,
            callback=shown_callback(job.callback),
            tags=job.tags,
            stages=tuple(map(StageView.of, record.stages)),
            links=FlowLinks.of(job.id),
            result=UNSET if result is None else msgspec.Raw(result),
        )


class NamedFlowView(msgspec.Struct, frozen=True):
    """A named flow as workers published it."""

    name: str
    version: str
    summary: str
    deadline_s: float
    stages: tuple[Stage, ...]
    result: str
    input_schema: msgspec.Raw
    published_at: datetime | None

    @classmethod
    def of(cls, card: FlowCard) -> Self:
        """The view of a named flow."""
        return cls(
            name=card.name,
            version=card.version,
            summary=card.summary,
            deadline_s=card.deadline_s,
            stages=card.stages,
            result=card.result,
            input_schema=card.input_schema,
            published_at=moment(card.published_ms),
        )


def items_progress(items: Items | None) -> float | None:
    """How much of a fan-out has ended, 0 to 1."""
    if items is None or not items.total:
        return None
    unended = ("delayed", "waiting", "active", "blocked", "open", "missing")
    left = sum(items.states.get(state, 0) for state in unended)
    return (items.total - left) / items.total
