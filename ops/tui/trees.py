"""The tabs that are trees: flows with their stages, dead letters by error, models by host. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from gateway.wire import JobView
from gateway.wire_flows import FlowRow, FlowView, StageView
from gateway.wire_overview import HostOverview, LaneOverview, OverviewView
from ops.tui.rows import Cell, Column, Grid, Row, number, text
from ops.tui.source import Kind, Verb
from ops.tui.tabs import state
from ops.tui.words import NONE, ago, rate, since, span
from streams.flow_record import FlowState, StageState

MARKS = {"succeeded": "✓", "dead": "✗", "active": "▶", "running": "▶", "skipped": "–"}

FLOWS = (
    Column("FLOW / STAGE", flex=True, least=18),
    Column("STATE"),
    Column("DONE", right=True),
    Column("TOOK", right=True),
    Column("AGE", rank=1, right=True),
    Column("APP", rank=2),
    Column("PROCESSOR", rank=3, flex=True, least=9),
    Column("AFTER", rank=4, flex=True, least=6),
    Column("SAYS", rank=1, flex=True, least=12),
)


class Flows(msgspec.Struct, frozen=True):
    """A listing of flows, and some of them whole."""

    rows: tuple[FlowRow, ...]
    views: Mapping[str, FlowView]


def flows(found: Flows, now_ms: int) -> Grid:
    """Flows, each with its stages below it where they are known."""
    rows = tuple(_flow(row, found.views.get(row.id), now_ms) for row in found.rows)
    return Grid(FLOWS, rows, empty="no flow was submitted yet")


def _flow(row: FlowRow, view: FlowView | None, now_ms: int) -> Row:
    own = (row.id,)
    live = row.ended_at is None
    took = since(row.submitted_at, now_ms if live or row.ended_at is None else _ms(row))
    done = row.stages_total - row.stages_left
    return Row(
        key=row.id,
        cells=(
            text(row.name or " ".join(row.tags) or row.id, "bold"),
            state(row.state),
            Cell(f"{done}/{row.stages_total}", done),
            Cell(span(took), took or 0.0),
            Cell(ago(row.submitted_at, now_ms), since(row.submitted_at, now_ms) or 0.0),
            text(row.app),
            text(""),
            text(""),
            text(f"{row.error.code}: {row.error.message}" if row.error else "", "red"),
        ),
        acts={Verb.CANCEL: own}
        if live
        else {}
        if row.state is FlowState.SUCCEEDED
        else {Verb.RETRY: own},
        kind=Kind.FLOW,
        fault=row.error is not None,
        children=_stages(view, now_ms) if view else (),
        opens=True,
        text=f"{row.id} {' '.join(row.tags)}",
    )


def _ms(row: FlowRow) -> int:
    assert row.ended_at is not None
    return round(row.ended_at.timestamp() * 1_000)


def _stages(view: FlowView, now_ms: int) -> tuple[Row, ...]:
    """Stages as a tree: each below the last of those that it waits for."""
    below: dict[str, list[StageView]] = defaultdict(list)
    known: set[str] = set()
    for stage in view.stages:
        before = [name for name in stage.after if name in known]
        below[before[-1] if before else ""].append(stage)
        known.add(stage.name)

    def rows(parent: str) -> tuple[Row, ...]:
        return tuple(
            msgspec.structs.replace(_stage(view.id, stage, now_ms), children=rows(stage.name))
            for stage in below[parent]
        )

    return rows("")


def _stage(flow_id: str, stage: StageView, now_ms: int) -> Row:
    done, total = _done(stage)
    took = None
    if stage.started_at:
        took = since(
            stage.started_at,
            round(stage.ended_at.timestamp() * 1_000) if stage.ended_at else now_ms,
        )
    runs = stage.state is StageState.ACTIVE and stage.items is None
    progress = f"{stage.progress:.0%}" if runs and stage.progress is not None else ""
    note = stage.note if runs else ""
    said = f"{stage.error.code}: {stage.error.message}" if stage.error else note
    return Row(
        key=f"{flow_id}|{stage.name}",
        cells=(
            text(f"{MARKS.get(stage.state, '·')} {stage.name}"),
            state(stage.state),
            Cell(f"{done}/{total}" if stage.items else "", done),
            Cell(span(took), took or 0.0),
            text(""),
            text(""),
            text(stage.processor, "dim"),
            text(" ".join(stage.after), "dim"),
            text(f"{progress} {said}".strip(), "red" if stage.error else ""),
        ),
        fault=stage.error is not None,
    )


def _done(stage: StageView) -> tuple[int, int]:
    if stage.items is None:
        return 0, 0
    ended = sum(
        stage.items.states.get(name, 0) for name in ("succeeded", "dead", "cancelled", "expired")
    )
    return ended, stage.items.total


# ---------------------------------------------------------------------- dead letters

DEAD = (
    Column("ERROR / JOB", flex=True, least=16),
    Column("JOBS", right=True),
    Column("PROCESSOR", flex=True, least=9),
    Column("APP", rank=1, flex=True, least=6),
    Column("TRIES", rank=2, right=True),
    Column("DIED", right=True),
    Column("MESSAGE", flex=True, least=16),
)


def dead_letters(found: Sequence[JobView], now_ms: int) -> Grid:
    """Dead letters by error code and processor, the largest group first."""
    groups: dict[tuple[str, str], list[JobView]] = defaultdict(list)
    for job in found:
        groups[job.error.code if job.error else "", job.processor].append(job)
    biggest = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = tuple(_group(code, jobs, now_ms) for (code, _), jobs in biggest)
    return Grid(DEAD, rows, empty="no dead letters")


def _group(code: str, jobs: Sequence[JobView], now_ms: int) -> Row:
    ids = tuple(job.id for job in jobs)
    newest = max(jobs, key=lambda job: job.ended_at.timestamp() if job.ended_at else 0.0)
    return Row(
        key=f"{code}|{jobs[0].processor}",
        cells=(
            text(code, "bold red"),
            number(len(jobs), "bold"),
            text(jobs[0].processor),
            text(" ".join(sorted({job.app for job in jobs}))),
            number(max(job.attempt for job in jobs)),
            Cell(ago(newest.ended_at, now_ms), since(newest.ended_at, now_ms) or 0.0),
            text(newest.error.message if newest.error else ""),
        ),
        acts={Verb.RETRY: ids, Verb.PURGE: ids},
        kind=Kind.JOB,
        fault=True,
        children=tuple(_letter(job, now_ms) for job in jobs),
    )


def _letter(job: JobView, now_ms: int) -> Row:
    own = (job.id,)
    return Row(
        key=job.id,
        cells=(
            text(job.id, "dim"),
            text(""),
            text(job.processor),
            text(job.app),
            number(job.attempt),
            Cell(ago(job.ended_at, now_ms), since(job.ended_at, now_ms) or 0.0),
            text(job.error.message if job.error else ""),
        ),
        acts={Verb.RETRY: own, Verb.PURGE: own},
        kind=Kind.JOB,
        fault=True,
        opens=True,
        text=" ".join(job.tags),
    )


# ---------------------------------------------------------------------- models

MODELS = (
    Column("HOST / MODEL", flex=True, least=18),
    Column("IN MEMORY"),
    Column("WAIT", right=True),
    Column("ACT", right=True),
    Column("OLDEST", right=True),
    Column("IN/s", rank=1, right=True),
    Column("OUT/s", rank=1, right=True),
    Column("NEXT", flex=True, least=10),
)


def models(overview: OverviewView) -> Grid:
    """Ollama hosts with their models, and models that no host has."""
    lanes = [lane for one in overview.classes for lane in one.lanes if lane.model]
    rows = [_host(host, lanes) for host in overview.hosts]
    served = {model for host in overview.hosts for model in host.models}
    missing = sorted({lane.model for lane in lanes} - served)
    if missing:
        children = tuple(_model(model, None, lanes) for model in missing)
        cells = (text("on no host", "bold red"), *(text("") for _ in MODELS[1:]))
        rows.append(Row("none", cells, fault=True, children=children))
    return Grid(MODELS, tuple(rows), empty="no worker of class ollama lives")


def _host(host: HostOverview, lanes: Sequence[LaneOverview]) -> Row:
    limit = "∞" if host.limit is None else host.limit
    swap = f"{host.next.model} {in_about(host.next.in_s)}" if host.next else ""
    return Row(
        key=host.worker,
        cells=(
            text(host.pool, "bold" if host.healthy else "bold red"),
            text(host.resident or "nothing", "" if host.resident else "dim"),
            text(""),
            Cell(f"{host.active}/{limit}", host.active),
            text(""),
            text(""),
            text(""),
            text(swap),
        ),
        fault=not host.healthy,
        children=tuple(_model(model, host, lanes) for model in host.models),
        text=host.worker,
    )


def _model(model: str, host: HostOverview | None, lanes: Sequence[LaneOverview]) -> Row:
    own = [lane for lane in lanes if lane.model == model]
    waiting = sum(lane.waiting for lane in own)
    oldest = max((lane.oldest_age_s for lane in own if lane.waiting), default=-1.0)
    came, went = (sum(values) for values in zip(*_paces(own), strict=True)) if own else (0.0, 0.0)
    resident = host is not None and host.resident == model
    swaps = host is not None and host.next is not None and host.next.model == model
    seconds = host.next.in_s if host is not None and host.next is not None else None
    return Row(
        key=f"{host.worker if host else ''}|{model}",
        cells=(
            text(model),
            text("●" if resident else "", "green"),
            number(waiting),
            number(sum(lane.active for lane in own)),
            Cell(span(oldest) if waiting else NONE, oldest, "" if waiting else "dim"),
            Cell(rate(came), came, "" if came else "dim"),
            Cell(rate(went), went, "" if went else "dim"),
            text(in_about(seconds) if swaps else ""),
        ),
        fault=host is None and bool(waiting),
    )


def _paces(lanes: Sequence[LaneOverview]) -> list[tuple[float, float]]:
    return [(lane.in_per_s, lane.out_per_s) for lane in lanes]


def in_about(seconds: float | None) -> str:
    """When a swap comes."""
    if seconds is None:
        return "some time"
    return f"in ~{span(seconds)}" if seconds else "next"
