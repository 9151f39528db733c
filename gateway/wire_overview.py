"""What crosses the wire of the overview: the platform as an operator sees it first."""

from datetime import datetime

import msgspec

from gateway.events import EventView
from gateway.wire_control import RateLimit, Reason
from gateway.wire_registry import JournalHealth, PoolDetail
from streams.model import Priority, ResourceClass


class RedisStanding(msgspec.Struct, frozen=True):
    """Bytes in use and the limit (null: none), and how long one call took."""

    used_bytes: int
    limit_bytes: int | None
    link_ms: float


class LaneOverview(msgspec.Struct, frozen=True):
    """One lane. What is counted of delayed, retrying and dead jobs may be a part: see `whole`."""

    resource_class: ResourceClass
    app: str
    priority: Priority
    processor: str
    model: str
    waiting: int
    active: int
    limit: int | None  # how many may be active, as far as a limit binds this lane
    delayed: int
    retrying: int
    dead: int
    oldest_age_s: float  # in the class's open time
    target_s: float  # the wait that its priority aims at
    lag: int | None  # as Redis reports it, null where it does not know
    idle_s: float | None  # since the most silent lease was renewed
    in_per_s: float
    out_per_s: float  # started
    ended_per_s: float
    eta_s: float | None  # until what waits now has started, at this pace; null: it stands
    grows: bool  # more comes in than is started, and more waits than half a minute ago
    history: tuple[int, ...]  # what waited over the last five minutes; the last is now
    reasons: tuple[Reason, ...]  # what keeps it from starting faster, the decisive first


class ClassOverview(msgspec.Struct, frozen=True):
    """One resource class: its lanes together. `dead` counts as lanes do."""

    name: ResourceClass
    paused: bool
    waiting: int
    active: int
    limit: int | None  # how many may be active at once: of pools and of living workers' slots
    slots: int  # of living workers
    delayed: int
    retrying: int
    dead: int
    oldest_age_s: float
    lag: int | None
    idle_s: float | None
    in_per_s: float
    out_per_s: float
    ended_per_s: float
    eta_s: float | None
    grows: bool
    history: tuple[int, ...]
    pools: dict[str, PoolDetail]
    rate: RateLimit | None
    lanes: tuple[LaneOverview, ...]


class SwapView(msgspec.Struct, frozen=True):
    """The model that a host will load next, and in how many seconds, where that is foreseen."""

    model: str
    in_s: float | None


class HostOverview(msgspec.Struct, frozen=True):
    """One Ollama host, as its worker announces it. `active` counts its leases."""

    pool: str
    worker: str
    healthy: bool
    resident: str  # the model in memory, empty for none
    models: tuple[str, ...]
    active: int
    limit: int | None
    next: SwapView | None


class FailingView(msgspec.Struct, frozen=True):
    """Attempts of a processor that failed by one error within the last minute."""

    processor: str
    error: str  # its code
    attempts: int


class OverviewView(msgspec.Struct, frozen=True):
    """Everything that an operator wants to see first. Lanes and events are those the key may see.

    `whole` is false where there are more delayed jobs or dead letters than were looked at by lane;
    `delayed` of a class and `dead_letters` are exact all the same.
    """

    at: datetime
    redis: RedisStanding
    classes: tuple[ClassOverview, ...]
    hosts: tuple[HostOverview, ...]
    workers: int
    jobs: dict[str, int]  # by state, over all classes; ended ones ever
    dead_letters: int
    whole: bool
    failing: tuple[FailingView, ...] = ()  # the most frequent first; for operators of all apps
    journal: JournalHealth | None = None  # of the gateway that answers
    events: tuple[EventView, ...] = ()  # the newest, oldest first, where they were asked for
