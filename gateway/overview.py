"""The overview: what Redis holds, as an operator sees it first, and why lanes stand."""

from collections.abc import Callable, Iterable, Sequence

import msgspec
from starlette.responses import Response

from gateway.auth import EVERY_APP, Scope, sees
from gateway.call import Call, Operation, answer
from gateway.events import EventView
from gateway.explain import obstacles
from gateway.swaps import Demand, demands, next_swap
from gateway.wire import moment
from gateway.wire_control import RateLimit, Reason
from gateway.wire_overview import (
    ClassOverview,
    FailingView,
    HostOverview,
    LaneOverview,
    OverviewView,
    RedisStanding,
    SwapView,
)
from gateway.wire_registry import JournalHealth, PoolDetail
from streams.directory import WorkerCard
from streams.dispatch import TARGET_MS
from streams.errors import InvalidInput
from streams.events import Event
from streams.inspector import ClassView, PoolView
from streams.model import ResourceClass
from streams.overview import LaneStanding, Overview
from streams.pulse import RECENT_MAX

Sees = Callable[[str], bool]
GROWS_PER_S = 0.05  # so much more comes in than goes out, before it is said
GROWS_STEPS = 2  # points of a history: half a minute


class OverviewQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many of the newest events to tell, 0 to 200."""

    events: int = 0


async def read_overview(call: Call) -> Response:
    """Classes, lanes with their pace and what holds them up, Ollama hosts, Redis, the journal."""
    query = call.query(OverviewQuery)
    if not 0 <= query.events <= RECENT_MAX:
        raise InvalidInput(f"0 to {RECENT_MAX}", "$.events")
    reader = call.parts.overview
    view = overview_of(await reader.look(), lambda app: sees(call.key, app))
    spool = call.parts.acceptor.spool()
    journal = spool and JournalHealth(spool.rows, spool.bytes, spool.oldest_s, spool.alarms)
    seen = [event for event in reader.recent() if sees(call.key, event.app)]
    events = events_of(seen, query.events)
    return answer(msgspec.structs.replace(view, journal=journal, events=events))


def events_of(events: Sequence[Event], newest: int) -> tuple[EventView, ...]:
    """The newest events as they are shown."""
    return tuple(map(EventView.of, events[-newest:] if newest else ()))


def everything(_: str) -> bool:
    """What whoever may reach Redis sees."""
    return True


def overview_of(found: Overview, sees: Sees = everything) -> OverviewView:
    """The view of an overview, with the lanes of the apps that are seen."""
    at = moment(found.at_ms)
    assert at is not None
    jobs: dict[str, int] = {}
    for field, count in found.counts.items():
        state = field.partition("|")[2]
        jobs[state] = jobs.get(state, 0) + count
    return OverviewView(
        at=at,
        redis=RedisStanding(found.memory.used, found.memory.limit or None, found.link_ms),
        classes=tuple(_class(view, found, sees) for view in found.classes),
        hosts=_hosts(found),
        workers=len(found.workers),
        jobs=jobs,
        dead_letters=found.backlog.dead_all,
        whole=found.backlog.whole,
        failing=_failing(found) if sees(EVERY_APP) else (),
    )


def _failing(found: Overview) -> tuple[FailingView, ...]:
    """What failed within the last minute."""
    told = found.recent.failures if found.recent is not None else {}
    rows = [
        FailingView(processor, error, attempts)
        for processor, errors in told.items()
        for error, attempts in errors.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.attempts))


def _class(view: ClassView, found: Overview, sees: Sees) -> ClassOverview:
    own = [lane for lane in found.lanes if lane.view.lane.resource_class is view.name]
    slots = sum(card.slots.get(view.name, 0) for card in _serving(found, view.name))
    in_per_s = sum(lane.pace.in_per_s for lane in own)
    out_per_s = sum(lane.pace.out_per_s for lane in own)
    history = _added([lane.history for lane in own])
    return ClassOverview(
        name=view.name,
        paused=view.paused,
        waiting=view.waiting,
        active=view.active,
        limit=_limit(view, slots),
        slots=slots,
        delayed=view.delayed,
        retrying=sum(lane.retrying for lane in own),
        dead=sum(lane.dead for lane in own),
        oldest_age_s=view.oldest_age_ms / 1_000,
        lag=_sum(lane.view.lag for lane in own),
        idle_s=_seconds(max((one.idle_ms for one in own if one.idle_ms is not None), default=None)),
        in_per_s=round(in_per_s, 3),
        out_per_s=round(out_per_s, 3),
        ended_per_s=round(sum(lane.pace.ended_per_s for lane in own), 3),
        eta_s=eta_s(view.waiting, out_per_s),
        grows=grows(in_per_s, out_per_s, history),
        history=history,
        pools={name: PoolDetail(pool.leases, pool.limit) for name, pool in view.pools.items()},
        rate=RateLimit.of(view.rate) if view.rate else None,
        lanes=tuple(_lane(lane, view) for lane in own if sees(lane.view.lane.app)),
    )


def _lane(standing: LaneStanding, of: ClassView) -> LaneOverview:
    view, pace = standing.view, standing.pace
    lane = view.lane
    return LaneOverview(
        resource_class=lane.resource_class,
        app=lane.app,
        priority=lane.priority,
        processor=lane.processor,
        model=lane.model,
        waiting=view.waiting,
        active=view.active,
        limit=of.app_limits.get(lane.app),
        delayed=standing.delayed,
        retrying=standing.retrying,
        dead=standing.dead,
        oldest_age_s=view.oldest_age_ms / 1_000,
        target_s=TARGET_MS[lane.priority] / 1_000,
        lag=view.lag,
        idle_s=_seconds(standing.idle_ms),
        in_per_s=round(pace.in_per_s, 3),
        out_per_s=round(pace.out_per_s, 3),
        ended_per_s=round(pace.ended_per_s, 3),
        eta_s=eta_s(view.waiting, pace.out_per_s),
        grows=grows(pace.in_per_s, pace.out_per_s, standing.history),
        history=standing.history,
        reasons=tuple(reasons(standing)),
    )


def reasons(standing: LaneStanding) -> list[Reason]:
    """What keeps a lane's jobs from starting faster, the decisive first."""
    facts, pace = standing.circumstances, standing.pace
    if not standing.view.waiting or facts is None:
        return []
    found = list(obstacles(standing.view.lane, facts))
    if grows(pace.in_per_s, pace.out_per_s, standing.history):
        found.append(
            Reason(
                "grows",
                f"More comes in than is started: {pace.in_per_s:.1f} against "
                f"{pace.out_per_s:.1f} a second.",
            )
        )
    return sorted(found, key=lambda reason: not reason.stops)


def grows(in_per_s: float, out_per_s: float, history: Sequence[int]) -> bool:
    """Whether a backlog grows: a burst that goes down again has grown no more."""
    before = history[-1 - GROWS_STEPS] if len(history) > GROWS_STEPS else 0
    return in_per_s - out_per_s >= GROWS_PER_S and history[-1] > before


def eta_s(waiting: int, out_per_s: float) -> float | None:
    """Until what waits has started, at this pace; None while nothing starts."""
    if not waiting:
        return 0.0
    return round(waiting / out_per_s, 1) if out_per_s else None


# ---------------------------------------------------------------------- Ollama hosts


def _hosts(found: Overview) -> tuple[HostOverview, ...]:
    name = ResourceClass.OLLAMA
    pools = next((view.pools for view in found.classes if view.name is name), {})
    wanted = demands(
        [(one.view, one.pace) for one in found.lanes if one.view.lane.resource_class is name]
    )
    cards = [card for card in found.workers if name in card.pools]
    return tuple(_host(card, wanted, pools.get(card.pools[name])) for card in cards)


def _host(card: WorkerCard, wanted: dict[str, Demand], pool: PoolView | None) -> HostOverview:
    swap = next_swap(card.resident, wanted, card.models)
    return HostOverview(
        pool=card.pools[ResourceClass.OLLAMA],
        worker=card.id,
        healthy=card.healthy and not card.draining,
        resident=card.resident,
        models=card.models,
        active=pool.leases if pool else 0,
        limit=pool.limit if pool else 1,
        next=SwapView(swap.model, swap.in_s) if swap else None,
    )


# ---------------------------------------------------------------------- arithmetic


def _serving(found: Overview, name: ResourceClass) -> list[WorkerCard]:
    return [card for card in found.workers if name in card.pools and not card.draining]


def _limit(view: ClassView, slots: int) -> int | None:
    """What binds first: the pools' limits together, or the slots that there are."""
    totals = [pool.limit for pool in view.pools.values()]
    known = [total for total in totals if total is not None]
    limit = sum(known) if known and len(known) == len(totals) else None
    if not slots:
        return limit
    return slots if limit is None else min(limit, slots)


def _sum(values: Iterable[int | None]) -> int | None:
    known = list(values)
    return None if None in known else sum(value or 0 for value in known)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1_000


def _added(histories: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Histories together, as far back as the longest goes."""
    longest = max(map(len, histories), default=0)
    padded = [(0,) * (longest - len(one)) + one for one in histories]
    return tuple(map(sum, zip(*padded, strict=True)))


OPERATIONS = (
    Operation(
        "GET",
        "/v1/overview",
        "See how everything stands",
        read_overview,
        Scope.READ,
        query=OverviewQuery,
        answers={200: OverviewView},
        errors=(InvalidInput,),
    ),
)
