"""`roughneck status`: where one job stands, or the whole platform on one screen."""

import click
import uvloop
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.wire import JobView
from ops.cli.completing import of_jobs
from ops.cli.screen import console, terminal
from ops.cli.session import Session, pass_session
from ops.cli.top import WIDE, looked_once
from ops.cli.watching import Watched
from ops.cli.work import opened_jobs
from ops.story import facts_of
from ops.tui import view
from ops.tui.picture import table_of
from ops.tui.state import Look, State, Tab
from streams.model import ResourceClass
from streams.model import State as JobState

FAILING_MAX = 5  # that are shown
CLOSED = Look(toggled=frozenset(map(str, ResourceClass)))


@click.command(
    cls=Watched,
    epilog="\b\nExamples:\n  roughneck status --watch\n  roughneck status 0-01jd…",
)
@click.argument("job_id", metavar="[JOB]", required=False, shell_complete=of_jobs)
@pass_session
def status(session: Session, /, job_id: str | None) -> None:
    """Where JOB stands; without one, how everything stands, on one screen."""
    if job_id is None:
        _show_everything(session)
        return

    async def act() -> JobView:
        async with opened_jobs(session, "cli") as jobs:
            return await jobs.job(job_id)

    found = uvloop.run(act())
    session.screen.card(found, facts_of(found))


def _show_everything(session: Session, /) -> None:
    seen = uvloop.run(looked_once(session, State(looks={Tab.LANES: CLOSED})))
    if session.screen.as_json:
        session.screen.json(seen.overview)
    else:
        session.screen.draw(_drawing(seen))


def _drawing(state: State) -> RenderableType:
    """Header, the three streams, jobs by state, and what holds lanes up."""
    width = console().width if terminal() else WIDE
    parts: list[RenderableType] = [view.header(state, width), Text(), table_of(state, width)]
    assert state.overview is not None
    counts = state.overview.jobs
    states = [one for one in JobState if counts.get(one)]
    said = [f"{counts[one]:,} {one}" for one in states]
    parts.append(Text(f"\n {counts.get('submitted', 0):,} jobs ever: {', '.join(said) or 'none'}"))
    failing = [f"{one.processor} {one.error} {one.attempts}" for one in state.overview.failing]
    if failing:
        told = f" failed in the last minute: {', '.join(failing[:FAILING_MAX])}"
        parts.append(Text(told, style="yellow"))
    causes = view.causes(state, width)
    return Group(*parts, *([view.causes_text(causes)] if causes else []))
