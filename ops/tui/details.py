"""One thing in detail, for every tab that has more to tell than its row. Pure."""

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.wire_flows import FlowView
from gateway.wire_overview import LaneOverview, OverviewView
from gateway.wire_registry import CallbackDetail
from gateway.wire_schedules import ScheduleView
from ops.cli.flows import tree_of
from ops.cli.screen import card_of, local, table_of
from ops.tui.lanes import name_of
from ops.tui.state import State, Tab
from ops.tui.trees import Flows
from ops.tui.words import rate, span, sparkline
from streams.directory import WorkerCard


def detail(state: State, key: str) -> RenderableType | None:
    """What is known of the row of that key; None where it is a job's, or gone."""
    found = state.data.get(state.tab)
    match state.tab:
        case Tab.LANES:
            return _lane(state.overview, key)
        case Tab.WORKERS:
            return next((_worker(card) for card in found or () if card.id == key), None)
        case Tab.CALLBACKS:
            return next((_callback(one) for one in found or () if one.id == key), None)
        case Tab.SCHEDULES:
            names = (f"{one.app}|{one.name}" for one in found or ())
            pairs = zip(names, found or (), strict=True)
            return next((_schedule(one) for name, one in pairs if name == key), None)
        case Tab.FLOWS if isinstance(found, Flows):
            return _flow(found, key)
    return None


def _lane(overview: OverviewView | None, key: str) -> RenderableType | None:
    lanes = [lane for one in overview.classes for lane in one.lanes] if overview else []
    for lane in lanes:
        if f"{lane.resource_class}:{name_of(lane)}" == key:
            return _of_lane(lane)
    return None


def _of_lane(lane: LaneOverview) -> RenderableType:
    facts = {
        "lane": name_of(lane),
        "class": lane.resource_class,
        "waiting": f"{lane.waiting:,}",
        "active": f"{lane.active}" + ("" if lane.limit is None else f" of {lane.limit}"),
        "delayed": lane.delayed,
        "retrying": lane.retrying,
        "dead": lane.dead,
        "oldest": f"{span(lane.oldest_age_s)}, of {span(lane.target_s)} that its priority aims at",
        "in, out, ended": f"{rate(lane.in_per_s)}, {rate(lane.out_per_s)}, "
        f"{rate(lane.ended_per_s)} a second",
        "time to clear": "it stands" if lane.eta_s is None else span(lane.eta_s),
        "lag": "not known" if lane.lag is None else lane.lag,
        "most silent lease": span(lane.idle_s),
        "five minutes": f"{sparkline(lane.history, 20)}  up to {max(lane.history, default=0):,}",
    }
    why = [Text(reason.text, "red" if reason.stops else "") for reason in lane.reasons]
    return Group(card_of(facts), Text("\nWhy", "bold"), *(why or [Text("Nothing holds it up.")]))


def _worker(card: WorkerCard) -> RenderableType:
    facts = msgspec.structs.asdict(card)
    facts["pools"] = "  ".join(f"{name}: {pool}" for name, pool in card.pools.items())
    facts["slots"] = "  ".join(
        f"{name} {card.running.get(name, 0)}/{count}" for name, count in card.slots.items()
    )
    facts["processors"] = "\n".join(card.processors)
    facts["models"] = "\n".join(card.models)
    for name in ("running", "started_ms", "seen_ms"):
        del facts[name]
    return card_of(facts)


def _callback(view: CallbackDetail) -> RenderableType:
    facts = {
        "callback": view.id,
        "job": view.job_id,
        "app": view.app,
        "processor": view.processor,
        "of": view.job_state,
        "state": view.state,
        "url": view.url,
        "endpoint": view.endpoint,
        "due": local(view.due_at),
        "why": view.reason,
    }
    rows = [
        {
            "AT": local(one.at),
            "STATUS": one.status or "",
            "TOOK": f"{one.took_ms} ms",
            "ERROR": one.error,
            "REASON": one.reason,
            "ANSWER": one.answer,
        }
        for one in view.attempts
    ]
    if not rows:
        return card_of(facts)
    return Group(card_of(facts), Text("\nAttempts", "bold"), table_of(rows))


def _schedule(view: ScheduleView) -> RenderableType:
    return card_of(
        {
            "schedule": view.name,
            "app": view.app,
            "when": view.cron or f"every {span(view.every_s)}",
            "zone": view.zone,
            "next": local(view.runs_at),
            "last": local(view.last_at),
            "last job": view.last_job,
            "fired": view.fired,
            "missed": view.missed,
            "skipped": view.skipped,
            "misfire": view.misfire,
            "overlap": view.overlap,
            "jitter": f"{view.jitter_s:g} s" if view.jitter_s else "",
            "paused": "yes" if view.paused else "",
            "processor": view.job.processor,
            "priority": view.job.priority,
            "attempts": view.job.attempts_max,
            "declared": "in the settings" if view.declared else "",
        }
    )


def _flow(found: Flows, key: str) -> RenderableType | None:
    view: FlowView | None = found.views.get(key.partition("|")[0])
    return tree_of(view) if view else None
