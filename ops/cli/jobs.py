"""`roughneck jobs`: look at jobs, say why they wait, change them, cancel them, run them again."""

from collections.abc import Sequence
from typing import Any

import click

from gateway.explain import explain
from gateway.wire import JobView
from gateway.wire_control import Explanation
from ops.cli.completing import of_jobs
from ops.cli.moments import MOMENT
from ops.cli.screen import Row, age_of
from ops.cli.session import Group, Session, app_option, pass_session
from ops.cli.watching import Watched
from ops.links import Engine
from ops.looking import existing_job, found_jobs, story_of
from ops.story import drawing_of, explained
from streams.control import Changed
from streams.errors import UnknownJob, WrongState
from streams.listing import JobFilter
from streams.model import Cancelled, Job, Priority, State

STATES = [str(state) for state in State if state is not State.SPOOLED]
ERROR_WIDTH = 60

limit_option = click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="At most."
)
processor_option = click.option("--processor", metavar="NAME", help="Limit to this processor.")


@click.group(cls=Group)
def jobs() -> None:
    """List, show, explain, change, cancel and retry jobs."""


@jobs.command(
    "list",
    cls=Watched,
    epilog="\b\nExamples:\n  roughneck jobs list --state active\n"
    "  roughneck jobs list --tag order-17 --since 2h -o json",
)
@app_option()
@click.option("--state", type=click.Choice(STATES), help="Limit to this state.")
@processor_option
@click.option("--tag", metavar="TAG", help="Limit to jobs with this tag.")
@click.option("--since", "since_ms", type=MOMENT, help="Submitted no earlier: a time, or an age.")
@click.option("--until", "until_ms", type=MOMENT, help="Submitted before: a time, or an age.")
@limit_option
@pass_session
def list_jobs(session: Session, /, state: str | None, limit: int, **given: Any) -> None:
    """Jobs: live ones first, then the newest that ended."""
    narrowed = {name: value for name, value in given.items() if value is not None}
    wanted = JobFilter(state=State(state) if state else None, **narrowed)

    async def act(engine: Engine) -> list[Job]:
        return await found_jobs(engine, wanted, limit)

    show_jobs(session, session.with_engine(act))


@jobs.command(
    "show",
    cls=Watched,
    epilog="\b\nExamples:\n  roughneck jobs show 0-01jd…\n  roughneck jobs show 0-01jd… --watch",
)
@click.argument("job_id", metavar="JOB", shell_complete=of_jobs)
@pass_session
def show(session: Session, /, job_id: str) -> None:
    """JOB's whole story: result, waits, attempts with what they logged, callbacks, why it waits."""

    story = session.with_engine(lambda engine: story_of(engine, job_id))
    if session.screen.as_json:
        session.screen.json(story.as_json())
    else:
        session.screen.draw(drawing_of(story))


@jobs.command("explain", epilog="\b\nExample:\n  roughneck jobs explain 0-01jd…")
@click.argument("job_id", metavar="JOB", shell_complete=of_jobs)
@pass_session
def explain_job(session: Session, /, job_id: str) -> None:
    """Why JOB stands where it stands: what is before it, which limit is hit, when it starts."""

    async def act(engine: Engine) -> Explanation:
        job = await existing_job(engine, job_id)
        return explain(job, await engine.circumstances.read(job))

    told = session.with_engine(act)
    if session.screen.as_json:
        session.screen.json(told)
        return
    session.screen.say(f"{told.id} is {told.state}.")
    for line in explained(told):
        session.screen.draw(line)


@jobs.command(
    "change",
    epilog="\b\nExamples:\n  roughneck jobs change 0-01jd… --priority high\n"
    "  roughneck jobs change 0-01jd… --run-at 2027-01-01T06:00",
)
@click.argument("job_id", metavar="JOB", shell_complete=of_jobs)
@click.option("--priority", type=click.Choice([str(one) for one in Priority]), help="How urgent.")
@click.option("--run-at", "due_ms", type=MOMENT, help="Another time, for a delayed job.")
@pass_session
def change(session: Session, /, job_id: str, priority: str | None, due_ms: int | None) -> None:
    """Give JOB another priority or time, while it has not started."""
    if priority is None and due_ms is None:
        raise click.UsageError("name --priority, --run-at, or both")
    _change(session, job_id, Priority(priority) if priority else None, due_ms)


@jobs.command("promote", epilog="\b\nExample:\n  roughneck jobs promote 0-01jd…")
@click.argument("job_id", metavar="JOB", shell_complete=of_jobs)
@pass_session
def promote(session: Session, /, job_id: str) -> None:
    """Start JOB now, which is delayed or waits for another attempt."""
    _change(session, job_id, None, 0)


@jobs.command(
    "cancel", epilog="\b\nExample:\n  roughneck jobs cancel 0-01jd… --reason 'sent twice'"
)
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True, shell_complete=of_jobs)
@click.option("--reason", default="", help="Kept with the job.")
@pass_session
def cancel(session: Session, /, job_ids: tuple[str, ...], reason: str) -> None:
    """End jobs that have not started; ask the workers of running ones to stop."""

    async def act(engine: Engine) -> dict[str, Cancelled]:
        return {job_id: await engine.broker.cancel(job_id, reason) for job_id in job_ids}

    outcomes = session.with_engine(act)
    session.audit("cancel_job", ",".join(job_ids))
    show_outcomes(session, {job_id: str(outcome) for job_id, outcome in outcomes.items()})
    if Cancelled.UNKNOWN in outcomes.values():
        unknown = [job_id for job_id, one in outcomes.items() if one is Cancelled.UNKNOWN]
        raise UnknownJob(f"there is no job {', '.join(unknown)}")


@jobs.command("retry", epilog="\b\nExample:\n  roughneck jobs retry 0-01jd… 0-01je…")
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True, shell_complete=of_jobs)
@pass_session
def retry(session: Session, /, job_ids: tuple[str, ...]) -> None:
    """Run ended jobs again: dead, cancelled or expired ones."""
    answers = replayed(session, job_ids)
    refused = [job_id for job_id, answer in answers.items() if answer != "replayed"]
    if refused:
        raise WrongState(f"not run again: {', '.join(refused)}")


def _change(
    session: Session, /, job_id: str, priority: Priority | None, due_ms: int | None
) -> None:
    outcome = session.with_engine(lambda engine: engine.control.change(job_id, priority, due_ms))
    session.audit("change_job", job_id, priority=priority, outcome=outcome)
    if outcome is Changed.UNKNOWN:
        raise UnknownJob(f"there is no job {job_id}")
    if outcome is not Changed.CHANGED:
        raise WrongState(f"{job_id} is {outcome}")
    session.screen.say(f"{job_id} is changed", {"id": job_id, "outcome": outcome})


def replayed(session: Session, job_ids: Sequence[str]) -> dict[str, str]:
    """Run jobs again; what became of each is shown and answered."""
    answers = session.with_engine(lambda engine: engine.broker.replay(job_ids))
    outcomes = dict(zip(job_ids, answers, strict=True))
    done = [job_id for job_id, answer in outcomes.items() if answer == "replayed"]
    session.audit("replay_dead_letters", "", replayed=len(done), jobs=done)
    show_outcomes(session, outcomes)
    return outcomes


def show_outcomes(session: Session, outcomes: dict[str, str]) -> None:
    """What became of each job, as a table."""
    rows = [{"ID": job_id, "OUTCOME": outcome} for job_id, outcome in outcomes.items()]
    session.screen.show(outcomes, rows)


def show_jobs(session: Session, found: Sequence[Job]) -> None:
    """Jobs as a table."""
    views = [JobView.of(job) for job in found]
    session.screen.show(views, [_row(view) for view in views], empty="no jobs")


def _row(view: JobView) -> Row:
    error = f"{view.error.code}: {view.error.message}" if view.error else ""
    return {
        "ID": view.id,
        "STATE": view.state,
        "APP": view.app,
        "PROCESSOR": view.processor,
        "PRIORITY": view.priority,
        "ATTEMPT": view.attempt,
        "SUBMITTED": age_of(view.submitted_at),
        "ENDED": age_of(view.ended_at),
        "ERROR": error if len(error) <= ERROR_WIDTH else f"{error[: ERROR_WIDTH - 1]}…",
    }
