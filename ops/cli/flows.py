"""`roughneck flows`: submit flows, see how they stand, stop them, run again what failed."""

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import click
import msgspec
import uvloop
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from gateway.call import decode
from gateway.client import AsyncClient
from gateway.flow_checks import unserved
from gateway.planning import flow_job
from gateway.submission import Origin
from gateway.wire_flows import (
    FlowAccepted,
    FlowLinks,
    FlowRequest,
    FlowRow,
    FlowView,
    NamedFlowView,
    StageView,
)
from ops.cli.completing import of_flows
from ops.cli.screen import STYLES, Row, age_of, duration, terminal
from ops.cli.session import Group, JobFailed, Session, app_option, pass_session
from ops.cli.watching import Watched
from ops.cli.work import catalog_of, opened_jobs, payload_of, show_end, wait_option
from ops.links import Engine
from ops.looking import result_of
from streams.clock import SystemClock
from streams.errors import UnknownJob, WrongState
from streams.flow_record import FlowState, FlowSummary, StageState, is_flow
from streams.model import Cancelled, Job, State

WATCH_EVERY_S = 0.5
PAGE = 200
ERROR_WIDTH = 60
ENDED = frozenset(FlowState(state) for state in State if state.ended)
MARKS = {"succeeded": "✓", "dead": "✗", "active": "▶", "running": "▶", "skipped": "–"}
COLOURS = {**STYLES, "running": "cyan", "stopping": "yellow", "skipped": "yellow"}


@click.group(cls=Group)
def flows() -> None:
    """Flows: jobs that follow each other, fan out over lists and join again."""


@flows.command(
    "list",
    cls=Watched,
    epilog="\b\nExamples:\n  roughneck flows list --state running\n  roughneck flows list -o json",
)
@app_option()
@click.option(
    "--state", type=click.Choice([str(one) for one in FlowState][1:]), help="Limit to this state."
)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="At most."
)
@pass_session
def list_flows(session: Session, /, app: str | None, state: str | None, limit: int) -> None:
    """Flows, the newest first."""
    wanted = FlowState(state) if state else None

    async def act(engine: Engine) -> list[FlowSummary]:
        apps = [app] if app else sorted(await engine.directory.apps())
        found: list[FlowSummary] = []
        cursor = ""
        while len(found) < limit:
            page = await engine.flows.flows(apps, wanted, cursor, min(PAGE, limit - len(found)))
            found += page.items
            cursor = page.cursor
            if not cursor:
                break
        return found

    rows = [FlowRow.of(summary) for summary in session.with_engine(act)]
    session.screen.show(rows, [_row(row) for row in rows], empty="no flows")


@flows.command("named", epilog="\b\nExample:\n  roughneck flows named")
@pass_session
def named(session: Session, /) -> None:
    """The flows that workers published by name."""
    cards = session.with_engine(lambda engine: engine.directory.flows())
    views = [NamedFlowView.of(cards[name]) for name in sorted(cards)]
    rows = [
        {
            "NAME": view.name,
            "VERSION": view.version,
            "STAGES": " ".join(stage.name for stage in view.stages),
            "SUMMARY": view.summary,
        }
        for view in views
    ]
    session.screen.show(views, rows, empty="no worker ever published a flow")


@flows.command(
    "show",
    epilog="\b\nExamples:\n  roughneck flows show 0-01jd…\n  roughneck flows show 0-01jd… --watch",
)
@click.argument("flow_id", metavar="FLOW", shell_complete=of_flows)
@click.option("--watch", is_flag=True, help="Go on until it has ended; exit code 1 if badly.")
@pass_session
def show(session: Session, /, flow_id: str, *, watch: bool) -> None:
    """FLOW with its stages as a tree; with --watch, as they move."""
    live = (
        Live(refresh_per_second=4) if watch and terminal() and not session.screen.as_json else None
    )

    async def act(engine: Engine) -> FlowView:
        with live or nullcontext():
            while True:
                view = await _view(engine, flow_id)
                if live is not None:
                    live.update(tree_of(view))
                if not watch or view.state in ENDED:
                    return view
                await asyncio.sleep(WATCH_EVERY_S)

    view = session.with_engine(act)
    if session.screen.as_json:
        session.screen.json(view)
    elif live is None:
        session.screen.draw(tree_of(view))
    if watch and view.state is not FlowState.SUCCEEDED:
        fault = f": {view.error.code}: {view.error.message}" if view.error else ""
        raise JobFailed(f"{flow_id} is {view.state}{fault}")


@flows.command(
    "submit",
    epilog="""\b
Examples:
  roughneck flows submit week.json
  echo '{"name": "govejle-weekly", "input": {…}}' | roughneck flows submit - --wait""",
)
@click.argument("file", metavar="FILE")
@app_option(default="cli", show_default=True, help="The app, where no gateway is used.")
@click.option("--wait", "waits", is_flag=True, help="Wait for the end and print the result.")
@wait_option
@pass_session
def submit(session: Session, /, file: str, app: str, *, waits: bool, timeout_s: float) -> None:
    """Submit the flow in FILE (- for standard input): JSON as for POST /v1/flows."""
    raw = payload_of(file if file == "-" else f"@{file.removeprefix('@')}")
    accepted = uvloop.run(_submitted(session, raw, app))
    for warning in accepted.warnings:
        session.screen.note(f"warning: {warning}")
    if not waits:
        session.screen.say(accepted.id, accepted)
        return

    async def act() -> Any:
        async with opened_jobs(session, app) as jobs:
            return await jobs.wait(accepted.id, timeout_s)

    show_end(session, uvloop.run(act()), timeout_s)


@flows.command("cancel", epilog="\b\nExample:\n  roughneck flows cancel 0-01jd…")
@click.argument("flow_ids", metavar="FLOW...", nargs=-1, required=True, shell_complete=of_flows)
@click.option("--reason", default="", help="Kept with the flow.")
@pass_session
def cancel(session: Session, /, flow_ids: tuple[str, ...], reason: str) -> None:
    """Stop flows: nothing of them starts any more, and what runs is asked to stop."""

    async def act(engine: Engine) -> dict[str, str]:
        await _own_jobs(engine, flow_ids)
        return {one: str(await engine.broker.cancel(one, reason)) for one in flow_ids}

    outcomes = session.with_engine(act)
    session.audit("cancel_flow", ",".join(flow_ids))
    _show_outcomes(session, outcomes, {Cancelled.CANCELLED, Cancelled.REQUESTED}, "not stopped")


@flows.command("retry", epilog="\b\nExample:\n  roughneck flows retry 0-01jd…")
@click.argument("flow_ids", metavar="FLOW...", nargs=-1, required=True, shell_complete=of_flows)
@pass_session
def retry(session: Session, /, flow_ids: tuple[str, ...]) -> None:
    """Run again what did not succeed; what did keeps its result."""

    async def act(engine: Engine) -> dict[str, str]:
        await _own_jobs(engine, flow_ids)
        return dict(zip(flow_ids, await engine.broker.replay(flow_ids), strict=True))

    outcomes = session.with_engine(act)
    session.audit("retry_flow", ",".join(flow_ids))
    _show_outcomes(session, outcomes, {"replayed"}, "not run again")


async def _submitted(session: Session, raw: msgspec.Raw, app: str) -> FlowAccepted:
    """Over the gateway when one is configured, else straight to Redis, checked as it would be."""
    request = decode(raw, FlowRequest)
    client = session.settings.client
    if client.gateway:
        fields = msgspec.json.decode(raw)
        what, given = fields.pop("name", None) or fields.pop("stages"), fields.pop("input", None)
        async with AsyncClient(client.gateway, client.key) as over_http:
            return await over_http.flow(what, given, **fields)
    async with session.engine() as engine:
        now_ms = SystemClock().now_ms()
        plan = flow_job(request, Origin(app, "", now_ms), await catalog_of(engine))
        (submitted,) = await engine.broker.submit([plan.job])
        warnings = (*plan.warnings, *unserved(plan.stages, await engine.directory.workers()))
    links = FlowLinks.of(submitted.id)
    return FlowAccepted(submitted.id, submitted.state, submitted.created, warnings, links)


async def _own_jobs(engine: Engine, flow_ids: Iterable[str]) -> list[Job]:
    """The own jobs of flows. Raises UnknownJob for one that is none."""
    ids = list(flow_ids)
    found = {job.id: job for job in await engine.inspector.jobs_by_id(ids) if is_flow(job)}
    missing = [flow_id for flow_id in ids if flow_id not in found]
    if missing:
        raise UnknownJob(f"there is no flow {', '.join(missing)}")
    return [found[flow_id] for flow_id in ids]


async def _view(engine: Engine, flow_id: str) -> FlowView:
    [job] = await _own_jobs(engine, [flow_id])
    done = job.state is State.SUCCEEDED
    return FlowView.of(await engine.flows.flow(job), await result_of(engine, job) if done else None)


def _show_outcomes(session: Session, /, outcomes: dict[str, str], good: set[str], bad: str) -> None:
    rows = [{"ID": flow_id, "OUTCOME": outcome} for flow_id, outcome in outcomes.items()]
    session.screen.show(outcomes, rows)
    refused = [flow_id for flow_id, outcome in outcomes.items() if outcome not in good]
    if refused:
        raise WrongState(f"{bad}: {', '.join(refused)}")


def _row(row: FlowRow) -> Row:
    error = f"{row.error.code}: {row.error.message}" if row.error else ""
    return {
        "ID": row.id,
        "NAME": row.name,
        "STATE": row.state,
        "APP": row.app,
        "STAGES": f"{row.stages_total - row.stages_left}/{row.stages_total}",
        "SUBMITTED": age_of(row.submitted_at),
        "ENDED": age_of(row.ended_at),
        "ERROR": error if len(error) <= ERROR_WIDTH else f"{error[: ERROR_WIDTH - 1]}…",
    }


# ---------------------------------------------------------------------- the tree


def tree_of(view: FlowView) -> Tree:
    """A flow as a tree: each stage below the last of those before it."""
    done = view.stages_total - view.stages_left
    head = Text.assemble(
        (view.name or "flow", "bold"),
        f" {view.id} ",
        (view.state, COLOURS.get(view.state, "")),
        f"  {done} of {view.stages_total} stages",
    )
    if view.error:
        head.append(f"\n{view.error.code}: {view.error.message}", "red")
    tree = Tree(head)
    nodes: dict[str, Tree] = {}
    for stage in view.stages:
        known = [name for name in stage.after if name in nodes]
        place = nodes[known[-1]] if known else tree
        nodes[stage.name] = place.add(_label(stage, known[:-1]))
    return tree


def _label(stage: StageView, others: Iterable[str]) -> Text:
    mark = MARKS.get(stage.state, "·")
    label = Text.assemble(
        (f"{mark} {stage.name} ", COLOURS.get(stage.state, "")), (f"{stage.state}", "dim")
    )
    if stage.items is not None and stage.items.total:
        counts = ", ".join(f"{count} {state}" for state, count in stage.items.states.items())
        label.append(f"  {stage.items.total}: {counts}")
    elif stage.state is StageState.ACTIVE and (stage.progress is not None or stage.note):
        fraction = "" if stage.progress is None else f"{stage.progress:.0%} "
        label.append(f"  {fraction}{stage.note}")
    if stage.started_at and stage.ended_at:
        took = (stage.ended_at - stage.started_at).total_seconds()
        label.append(f"  {duration(took * 1_000)}", "dim")
    label.append(f"  {stage.processor}", "dim")
    if others := list(others):
        label.append(f"  after {', '.join(others)} too", "dim")
    if stage.error:
        label.append(f"\n{stage.error.code}: {stage.error.message}", "red")
    return label
