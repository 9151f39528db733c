"""How a flow and its stages stand, said from their records. No I/O."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from streams.flow import PlannedFlow, PlannedStage
from streams.keyspace import FLOW
from streams.model import Fault, Job, State
from streams.scripts import text

COUNTED_MAX = 10_000  # jobs of fan-outs that one view looks at; of the rest it knows less


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


class Head(msgspec.Struct, frozen=True):
    """Of a submitted flow what a listing shows."""

    stages: tuple[msgspec.Raw, ...]
    name: str = ""


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


def unplanted(job: Job, submitted: PlannedFlow | None) -> FlowRecord:
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
