"""The tabs that are trees: flows with their stages, dead letters by error. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from gateway.wire import JobView
from gateway.wire_flows import FlowRow, FlowView, StageView
from ops.tui.rows import Cell, Column, Grid, Row, number, text
from ops.tui.source import Kind, Verb
from ops.tui.tabs import state
from ops.tui.words import ago, since, span
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
