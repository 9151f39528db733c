"""What the terminal UI reads and does, wherever it comes from."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from gateway.usage import UsageSum
from gateway.wire import JobView
from gateway.wire_flows import FlowRow, FlowView
from gateway.wire_overview import OverviewView
from gateway.wire_registry import CallbackDetail
from gateway.wire_schedules import ScheduleView
from ops.story import Story
from streams.directory import WorkerCard
from streams.model import State

LISTED_MAX = 200  # of one listing
RUNNING_MAX = 100
EVENTS = 200


class Verb(StrEnum):
    """What may be done about something."""

    CANCEL = "cancel"
    RETRY = "retry"
    PROMOTE = "promote"
    PURGE = "purge"
    REPLAY = "replay"
    PAUSE = "pause"
    RESUME = "resume"
    TRIGGER = "trigger"


class Kind(StrEnum):
    """What it is done about."""

    JOB = "job"
    FLOW = "flow"
    CALLBACK = "callback"
    SCHEDULE = "schedule"
    CLASS = "class"


class Deed(msgspec.Struct, frozen=True):
    """A verb, and the ids of what it is done to. A schedule's id is `app|name`."""

    verb: Verb
    kind: Kind
    ids: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True):
    """How many it was done to, and why not to the others."""

    done: int
    refused: tuple[str, ...] = ()


def running_first(found: Sequence[JobView]) -> list[JobView]:
    """Jobs without those that come twice: running ones first, else as they came."""
    once = {job.id: job for job in reversed(found)}  # of two looks the earlier one counts
    order = [once.pop(job.id) for job in found if job.id in once]
    return sorted(order, key=lambda job: job.state is not State.ACTIVE)


class Source(Protocol):
    """Redis, or a gateway. Every method may raise errors.Trouble."""

    where: str  # for the screen

    async def overview(self) -> OverviewView:
        """How everything stands, with the newest events."""
        ...

    async def jobs(self) -> Sequence[JobView]:
        """Running jobs first, then others that live, then the newest that ended."""
        ...

    async def story(self, job_id: str) -> Story:
        """Everything about one job."""
        ...

    async def workers(self) -> Sequence[WorkerCard]:
        """Those that live."""
        ...

    async def callbacks(self) -> Sequence[CallbackDetail]:
        """Waiting ones first, then the newest."""
        ...

    async def flows(self) -> Sequence[FlowRow]:
        """The newest first."""
        ...

    async def flow(self, flow_id: str) -> FlowView:
        """One flow with its stages."""
        ...

    async def schedules(self) -> Sequence[ScheduleView]:
        """All of them."""
        ...

    async def usage(self) -> Sequence[UsageSum]:
        """What models were used for today (UTC), by processor and model."""
        ...

    async def dead_letters(self) -> Sequence[JobView]:
        """The newest first."""
        ...

    async def do(self, deed: Deed) -> Outcome:
        """Do something about jobs, flows, callbacks, schedules or classes."""
        ...
