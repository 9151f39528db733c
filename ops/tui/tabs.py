"""The other tabs as tables: jobs, workers, callbacks, schedules, events. Pure."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from gateway.events import EventView
from gateway.wire import JobView
from gateway.wire_registry import CallbackDetail
from gateway.wire_schedules import ScheduleView
from ops.cli.screen import STYLES
from ops.tui.rows import Cell, Column, Grid, Ids, Row, number, text
from ops.tui.source import Kind, Verb
from ops.tui.words import ago, clock, since, span
from streams.callbacks import CallbackState
from streams.directory import WorkerCard
from streams.model import State

SILENT_S = 25.0  # a worker announces itself every ten seconds
AGAIN = frozenset({State.DEAD, State.CANCELLED, State.EXPIRED})

JOBS = (
    Column("JOB", flex=True, least=9, tail=True),
    Column("STATE"),
    Column("PROCESSOR", flex=True, least=9),
    Column("APP", rank=2),
    Column("PRIO", rank=3),
    Column("MODEL", rank=5, flex=True, least=8),
    Column("AGE", right=True),
    Column("RAN", rank=2, right=True),
    Column("TRY", right=True),
    Column("WORKER", rank=4, flex=True, least=9, tail=True),
    Column("SAYS", rank=1, flex=True, least=12),
)


def state(value: str) -> Cell:
    """A state in its colour."""
    return Cell(value, value, STYLES.get(value, ""))


def jobs(found: Sequence[JobView], now_ms: int) -> Grid:
    """Jobs, live ones first."""
    rows = tuple(job_row(job, now_ms) for job in found)
    return Grid(JOBS, rows, empty="no job was submitted yet")


def job_row(job: JobView, now_ms: int) -> Row:
    """One job."""
    age = since(job.submitted_at, now_ms) or 0.0
    ran = _ran(job, now_ms)
    return Row(
        key=job.id,
        cells=(
            text(job.id, "dim"),
            state("cancelling" if job.cancel_requested and not job.state.ended else job.state),
            text(job.processor),
            text(job.app),
            text(job.priority, "bold" if job.priority == "high" else ""),
            text(job.model, "dim"),
            Cell(span(age), age),
            Cell(span(ran), -1.0 if ran is None else ran),
            Cell(f"{job.attempt}/{job.attempts_max}", job.attempt, "yellow" * bool(job.failures)),
            text(job.worker, "dim"),
            text(_says(job, now_ms), "red" if job.state is State.DEAD else ""),
        ),
        acts=acts_of(job),
        kind=Kind.JOB,
        fault=bool(job.error) and job.state is not State.SUCCEEDED,
        opens=True,
        text=" ".join((*job.tags, job.flow, job.stage)),
    )


def acts_of(job: JobView) -> dict[Verb, Ids]:
    """What may be done about a job."""
    own = (job.id,)
    if job.state in AGAIN:
        return {Verb.RETRY: own}
    if job.state.ended:
        return {}
    return {Verb.CANCEL: own, **({Verb.PROMOTE: own} if job.state is State.DELAYED else {})}


def _ran(job: JobView, now_ms: int) -> float | None:
    if job.started_at is None or job.state in (State.WAITING, State.DELAYED, State.BLOCKED):
        return None
    if job.ended_at is not None:
        return (job.ended_at - job.started_at).total_seconds()
    return since(job.started_at, now_ms)


def _says(job: JobView, now_ms: int) -> str:
    """Progress while it runs; when it is due while it is delayed; what it failed with."""
    parts = []
    if job.state is State.ACTIVE:
        parts.append("" if job.progress is None else f"{job.progress:.0%}")
        parts.append(job.note)
    if job.state is State.DELAYED and job.due_at:
        parts.append(f"due {ago(job.due_at, now_ms)}")
    if job.error and job.state not in (State.ACTIVE, State.SUCCEEDED):
        parts.append(f"{job.error.code}: {job.error.message}")
    if job.flow:
        parts.append(f"stage {job.stage}")
    return " ".join(filter(None, parts))


# ---------------------------------------------------------------------- workers

WORKERS = (
    Column("WORKER", flex=True, least=9, tail=True),
    Column("HOST", flex=True, least=8, rank=1),
    Column("STATE"),
    Column("SLOTS", flex=True, least=12),
    Column("RESIDENT", rank=2, flex=True, least=8),
    Column("MODELS", rank=5, right=True),
    Column("PROCESSORS", rank=4, right=True),
    Column("VERSION", rank=6),
    Column("PID", rank=5, right=True),
    Column("UP", rank=1, right=True),
    Column("SEEN", right=True),
)


def workers(found: Sequence[WorkerCard], now_ms: int) -> Grid:
    """The workers that live."""
    return Grid(WORKERS, tuple(_worker(card, now_ms) for card in found), empty="no worker lives")


def _worker(card: WorkerCard, now_ms: int) -> Row:
    said = "draining" if card.draining else "ok" if card.healthy else "failing"
    slots = [f"{name} {card.running.get(name, 0)}/{card.slots[name]}" for name in card.slots]
    silent = max(0.0, (now_ms - card.seen_ms) / 1_000)
    up = max(0.0, (now_ms - card.started_ms) / 1_000)
    return Row(
        key=card.id,
        cells=(
            text(card.id, "dim"),
            text(card.host),
            state(said),
            text("  ".join(slots), sort=sum(card.running.values())),
            text(card.resident),
            number(len(card.models)),
            number(len(card.processors)),
            text(card.version),
            Cell(str(card.pid), card.pid),
            Cell(span(up), up),
            Cell(span(silent), silent, "red" if silent > SILENT_S else ""),
        ),
        fault=said != "ok" or silent > SILENT_S,
        opens=True,
        text=" ".join((*card.processors, *card.models)),
    )


# ---------------------------------------------------------------------- callbacks

CALLBACKS = (
    Column("JOB", flex=True, least=9, tail=True),
    Column("APP", rank=1),
    Column("RECEIVER", flex=True, least=12),
    Column("OF", rank=2),
    Column("STATE"),
    Column("TRY", right=True),
    Column("ANSWER"),
    Column("TOOK", rank=3, right=True),
    Column("LAST", rank=2, right=True),
    Column("NEXT", right=True),
    Column("WHY", rank=4, flex=True, least=10),
)


def callbacks(found: Sequence[CallbackDetail], now_ms: int) -> Grid:
    """What apps were told, and what became of it."""
    rows = tuple(_callback(view, now_ms) for view in found)
    return Grid(CALLBACKS, rows, empty="no job asked for a callback")


def _callback(view: CallbackDetail, now_ms: int) -> Row:
    last = view.attempts[-1] if view.attempts else None
    answer = str(last.status or last.error) if last else ""
    waits = view.state is CallbackState.WAITING
    ended = {} if waits else {Verb.REPLAY: (view.id,)}
    due = since(view.due_at, now_ms) if waits else None
    return Row(
        key=view.id,
        cells=(
            text("a test" if view.test else view.job_id, "dim"),
            text(view.app),
            text(urlsplit(view.url).netloc),
            text(view.job_state),
            state(view.state),
            number(len(view.attempts)),
            text(answer, "" if view.state is CallbackState.DELIVERED else "yellow"),
            Cell(f"{last.took_ms} ms" if last else "", last.took_ms if last else -1),
            text(
                ago(last.at, now_ms) if last else "",
                sort=-(last.at.timestamp()) if last and last.at else 0.0,
            ),
            _next(due),
            text(view.reason, "red" if view.state is CallbackState.DEAD else ""),
        ),
        acts=ended,
        kind=Kind.CALLBACK,
        fault=view.state is CallbackState.DEAD or (waits and bool(view.attempts)),
        opens=True,
        text=f"{view.id} {view.url} {view.endpoint}",
    )


def _next(due: float | None) -> Cell:
    """When the next attempt comes; `due` for one that only the endpoint's breaker or room holds."""
    if due is None:
        return Cell()
    return Cell("due", due, "dim") if due >= 0 else Cell(f"in {span(-due)}", due)


# ---------------------------------------------------------------------- schedules

SCHEDULES = (
    Column("SCHEDULE", flex=True, least=10),
    Column("APP", rank=1),
    Column("STATE"),
    Column("WHEN", flex=True, least=10),
    Column("ZONE", rank=5, flex=True, least=6),
    Column("NEXT", right=True),
    Column("LAST", rank=1, right=True),
    Column("FIRED", rank=2, right=True),
    Column("MISSED", rank=3, right=True),
    Column("SKIPPED", rank=3, right=True),
    Column("PROCESSOR", rank=4, flex=True, least=9),
)


def schedules(found: Sequence[ScheduleView], now_ms: int) -> Grid:
    """What is done again and again."""
    rows = tuple(_schedule(view, now_ms) for view in found)
    return Grid(SCHEDULES, rows, empty="no schedule")


def _schedule(view: ScheduleView, now_ms: int) -> Row:
    key = (f"{view.app}|{view.name}",)
    said = "paused" if view.paused else "on" if view.next else "ended"
    next_s = since(view.runs_at, now_ms)
    last = since(view.last_at, now_ms)
    return Row(
        key=key[0],
        cells=(
            text(view.name),
            text(view.app),
            state(said),
            text(view.cron or f"every {span(view.every_s)}"),
            text(view.zone, "dim"),
            Cell(ago(view.runs_at, now_ms), 1e12 if next_s is None else -next_s),
            Cell(ago(view.last_at, now_ms), 1e12 if last is None else last),
            number(view.fired),
            number(view.missed, "yellow"),
            number(view.skipped, "yellow"),
            text(view.job.processor),
        ),
        acts={Verb.RESUME if view.paused else Verb.PAUSE: key, Verb.TRIGGER: key},
        kind=Kind.SCHEDULE,
        fault=bool(view.missed) or view.paused,
        opens=True,
    )


# ---------------------------------------------------------------------- events

EVENTS = (
    Column("TIME"),
    Column("WHAT"),
    Column("STATE"),
    Column("JOB", flex=True, least=9, tail=True),
    Column("PROCESSOR", flex=True, least=9),
    Column("APP"),
    Column("TRY", rank=1, right=True),
    Column("SAYS", rank=1, flex=True, least=12),
)


def events(found: Sequence[EventView]) -> Grid:
    """What happened last, the newest first."""
    rows = tuple(_event(at, view) for at, view in enumerate(reversed(found)))
    return Grid(EVENTS, rows, empty="nothing has happened")


def _event(at: int, view: EventView) -> Row:
    fraction = "" if view.progress is None else f"{view.progress:.0%}"
    moment = view.at.timestamp() if view.at else 0.0
    return Row(
        key=f"{view.job}|{view.kind}|{view.attempt}|{moment}|{at}",
        cells=(
            Cell(clock(view.at), moment, "dim"),
            text(view.kind),
            state(view.state),
            text(view.job, "dim"),
            text(view.processor),
            text(view.app),
            number(view.attempt),
            text(" ".join(filter(None, (fraction, view.note, view.error)))),
        ),
        kind=Kind.JOB,
        fault=bool(view.error),
        opens=True,
        text=view.job,
    )
