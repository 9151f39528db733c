"""The first tab: the three streams, each with its lanes; and what holds them up. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from gateway.wire_control import Reason
from gateway.wire_overview import ClassOverview, LaneOverview, OverviewView
from ops.tui.rows import Cell, Column, Grid, Ids, Row, number, text
from ops.tui.source import Kind, Verb
from ops.tui.words import NEVER, NONE, rate, span, sparkline
from streams.model import Priority

LEASE_S = 30.0  # a lease that was not renewed for so long has run out
QUIET_S = 15.0  # renewals come every ten seconds
TREND, TREND_WIDE = 10, 20
WIDE = 120

COLUMNS = (
    Column("STREAM / LANE", flex=True, least=16),
    Column("WAIT", right=True),
    Column("ACT/LIM", right=True),
    Column("DELAY", rank=6, right=True),
    Column("RETRY", rank=5, right=True),
    Column("DEAD", rank=4, right=True),
    Column("OLDEST", right=True),
    Column("IN/s", rank=1, right=True),
    Column("OUT/s", rank=1, right=True),
    Column("ETA", right=True),
    Column("LAG", rank=8, right=True),
    Column("PEND IDLE", rank=7, right=True),
    Column("TREND", rank=2),
)


class Cause(msgspec.Struct, frozen=True):
    """Why a lane does not move as it should."""

    lane: str
    stops: bool
    sentence: str


def grid(overview: OverviewView, width: int) -> Grid:
    """The streams and their lanes."""
    points = TREND_WIDE if width >= WIDE else TREND
    return Grid(COLUMNS, tuple(_class(one, points) for one in overview.classes))


def causes(overview: OverviewView) -> list[Cause]:
    """What holds lanes up that should move: what stops first, then by how late they are."""
    found: list[tuple[bool, float, Cause]] = []
    for one in overview.classes:
        for lane in one.lanes:
            if lane.reasons and _troubled(lane):
                stops = any(reason.stops for reason in lane.reasons)
                sentence = " ".join(reason.text for reason in _telling(lane.reasons))
                late = lane.oldest_age_s / lane.target_s
                cause = Cause(f"{one.name} {name_of(lane)}", stops, sentence)
                found.append((not stops, -late, cause))
    return [cause for _, _, cause in sorted(found, key=lambda each: each[:2])]


def _telling(reasons: Iterable[Reason]) -> list[Reason]:
    """What stops it, where something does; else everything."""
    all_of_them = list(reasons)
    return [reason for reason in all_of_them if reason.stops] or all_of_them


def name_of(lane: LaneOverview) -> str:
    """A lane without its class: `web ask llama3.1:8b low`; `normal` goes without saying."""
    urgency = "" if lane.priority is Priority.NORMAL else lane.priority
    return " ".join(filter(None, (lane.app, lane.processor, lane.model, urgency)))


def _troubled(lane: LaneOverview) -> bool:
    """Whether somebody should look: it stands, it is late, or it grows."""
    stands = any(reason.stops for reason in lane.reasons)
    return bool(lane.waiting) and (stands or lane.grows or lane.oldest_age_s > lane.target_s)


def _class(one: ClassOverview, points: int) -> Row:
    name = f"{one.name} paused" if one.paused else str(one.name)
    verb = Verb.RESUME if one.paused else Verb.PAUSE
    acts = {verb: (str(one.name),)}
    lanes = tuple(_lane(lane, acts, points) for lane in one.lanes)
    late = any(lane.oldest_age_s > lane.target_s for lane in one.lanes)
    shown = text(name, "bold yellow" if one.paused else "bold")
    return Row(
        key=one.name,
        cells=(shown, number(one.waiting, "bold"), *_figures(one, late=late), _trend(one, points)),
        acts=acts,
        kind=Kind.CLASS,
        fault=one.paused or any(row.fault for row in lanes),
        children=lanes,
    )


def _lane(lane: LaneOverview, acts: Mapping[Verb, Ids], points: int) -> Row:
    late, troubled = lane.oldest_age_s > lane.target_s, _troubled(lane)
    shown = text(name_of(lane), "red" if any(one.stops for one in lane.reasons) else "")
    trend = _trend(lane, points, "red" if troubled else "cyan")
    return Row(
        key=f"{lane.resource_class}:{name_of(lane)}",
        cells=(shown, number(lane.waiting), *_figures(lane, late=late), trend),
        acts=acts,
        kind=Kind.CLASS,
        fault=troubled or bool(lane.dead),
        opens=True,
        text=" ".join(reason.text for reason in lane.reasons),
    )


def _figures(one: ClassOverview | LaneOverview, *, late: bool) -> list[Cell]:
    """What stands between what waits and its trend."""
    return [
        _active(one.active, one.limit),
        number(one.delayed),
        number(one.retrying, "yellow"),
        number(one.dead, "red"),
        _oldest(one.waiting, one.oldest_age_s, "red" if late else ""),
        _rate(one.in_per_s, "yellow" if one.grows else ""),
        _rate(one.out_per_s),
        _eta(one),
        _lag(one.lag),
        _pending(one.active, one.idle_s),
    ]


def _trend(one: ClassOverview | LaneOverview, points: int, style: str = "cyan") -> Cell:
    return text(sparkline(one.history, points), style, one.waiting)


def _active(active: int, limit: int | None) -> Cell:
    style = "yellow" if limit is not None and active >= limit > 0 else "" if active else "dim"
    shown = str(active) if limit is None else f"{active}/{limit}"
    return Cell("·" if not active and limit is None else shown, active, style)


def _oldest(waiting: int, age_s: float, style: str) -> Cell:
    return Cell(span(age_s), age_s, style) if waiting else Cell(NONE, -1.0, "dim")


def _rate(per_s: float, style: str = "") -> Cell:
    return Cell(rate(per_s), per_s, style if per_s else "dim")


def _eta(one: ClassOverview | LaneOverview) -> Cell:
    """Until what waits now has started; `+` while more comes than goes, `∞` while it stands."""
    if not one.waiting:
        return Cell(NONE, -1.0, "dim")
    if one.eta_s is None:
        return Cell(NEVER, 1e12, "red")
    return Cell(span(one.eta_s) + "+" * one.grows, one.eta_s, "yellow" * one.grows)


def _lag(lag: int | None) -> Cell:
    return Cell("?", -1, "dim") if lag is None else number(lag)


def _pending(active: int, idle_s: float | None) -> Cell:
    if not active:
        return Cell(NONE, -1.0, "dim")
    idle = idle_s or 0.0
    style = "red" if idle > LEASE_S else "yellow" if idle > QUIET_S else ""
    return Cell(f"{active} {span(idle)}", idle, style)
