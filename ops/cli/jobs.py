"""`roughneck jobs` and `roughneck dead`: look at jobs, cancel them, run them again."""

from collections.abc import Sequence

import click

from gateway.wire import JobView
from ops.cli.screen import Row, age_of
from ops.cli.session import Group, Session, app_option, pass_session
from ops.cli.work import result_of, show_job
from ops.links import Engine
from streams.errors import UnknownJob, WrongState
from streams.listing import JobFilter
from streams.model import Cancelled, Job, State

STATES = [str(state) for state in State if state is not State.SPOOLED]
SCAN_PAGE = 200
ERROR_WIDTH = 60

limit_option = click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="At most."
)
processor_option = click.option("--processor", metavar="NAME", help="Limit to this processor.")


@click.group(cls=Group)
def jobs() -> None:
    """List, show, cancel and retry jobs."""


@jobs.command(
    "list",
    epilog="\b\nExamples:\n  roughneck jobs list --state active\n  roughneck jobs list -o json",
)
@app_option()
@click.option("--state", type=click.Choice(STATES), help="Limit to this state.")
@processor_option
@limit_option
@pass_session
def list_jobs(
    session: Session, /, app: str | None, state: str | None, processor: str | None, limit: int
) -> None:
    """Jobs: live ones first, then the newest that ended."""
    wanted = State(state) if state else None

    async def act(engine: Engine) -> list[Job]:
        return await found_jobs(engine, app, wanted, processor, limit)

    _show(session, session.with_engine(act))


@jobs.command("show")
@click.argument("job_id", metavar="JOB")
@pass_session
def show(session: Session, /, job_id: str) -> None:
    """Everything that is known of JOB, with its result."""

    async def act(engine: Engine) -> JobView:
        job = await _existing(engine, job_id)
        return JobView.of(job, await result_of(engine, job))

    show_job(session, session.with_engine(act))


@jobs.command("cancel")
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True)
@click.option("--reason", default="", help="Kept with the job.")
@pass_session
def cancel(session: Session, /, job_ids: tuple[str, ...], reason: str) -> None:
    """End jobs that have not started; ask the workers of running ones to stop."""

    async def act(engine: Engine) -> dict[str, Cancelled]:
        return {job_id: await engine.broker.cancel(job_id, reason) for job_id in job_ids}

    outcomes = session.with_engine(act)
    session.audit("cancel_job", ",".join(job_ids))
    _show_outcomes(session, {job_id: str(outcome) for job_id, outcome in outcomes.items()})
    if Cancelled.UNKNOWN in outcomes.values():
        unknown = [job_id for job_id, one in outcomes.items() if one is Cancelled.UNKNOWN]
        raise UnknownJob(f"there is no job {', '.join(unknown)}")


@jobs.command("retry")
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True)
@pass_session
def retry(session: Session, /, job_ids: tuple[str, ...]) -> None:
    """Run ended jobs again: dead, cancelled or expired ones."""
    answers = _replayed(session, job_ids)
    refused = [job_id for job_id, answer in answers.items() if answer != "replayed"]
    if refused:
        raise WrongState(f"not run again: {', '.join(refused)}")


@click.group(cls=Group)
def dead() -> None:
    """Dead letters: jobs that will not be tried again by themselves."""


@dead.command("list")
@app_option()
@processor_option
@limit_option
@pass_session
def list_dead(session: Session, /, app: str | None, processor: str | None, limit: int) -> None:
    """Dead jobs, the newest first."""

    async def act(engine: Engine) -> list[Job]:
        return await found_jobs(engine, app, State.DEAD, processor, limit)

    _show(session, session.with_engine(act))


@dead.command(
    "replay",
    epilog="\b\nExamples:\n  roughneck dead replay --processor echo --dry-run\n"
    "  roughneck dead replay 0-01jd…",
)
@click.argument("job_ids", metavar="[JOB]...", nargs=-1)
@app_option()
@processor_option
@click.option("--code", metavar="CODE", help="Limit to this error code.")
@click.option("--all", "everything", is_flag=True, help="All dead letters, without a filter.")
@click.option("--dry-run", is_flag=True, help="Only list what would be run again.")
@pass_session
def replay(
    session: Session,
    /,
    job_ids: tuple[str, ...],
    app: str | None,
    processor: str | None,
    code: str | None,
    *,
    everything: bool,
    dry_run: bool,
) -> None:
    """Run dead letters again: by id, by filter, or all."""
    if not (job_ids or app or processor or code or everything):
        raise click.UsageError("name jobs, a filter, or --all")

    async def act(engine: Engine) -> list[Job]:
        if job_ids:
            return [await _existing(engine, job_id) for job_id in job_ids]
        letters = await found_jobs(engine, app, State.DEAD, processor, 1_000)
        return [job for job in letters if not code or (job.fault and job.fault.code == code)]

    letters = session.with_engine(act)
    if dry_run or not letters:
        _show(session, letters)
    else:
        _replayed(session, [job.id for job in letters])


async def found_jobs(
    engine: Engine, app: str | None, state: State | None, processor: str | None, limit: int
) -> list[Job]:
    """At most `limit` jobs that fit, over as many pages as it takes."""
    found: list[Job] = []
    cursor = ""
    while len(found) < limit:
        wanted = min(SCAN_PAGE, limit - len(found))
        page = await engine.inspector.jobs(JobFilter(app, state, processor), cursor, wanted)
        found += page.items
        cursor = page.cursor
        if not cursor:
            break
    return found


async def _existing(engine: Engine, job_id: str) -> Job:
    job = await engine.inspector.job(job_id)
    if job is None:
        raise UnknownJob(f"there is no job {job_id}")
    return job


def _replayed(session: Session, job_ids: Sequence[str]) -> dict[str, str]:
    answers = session.with_engine(lambda engine: engine.broker.replay(job_ids))
    outcomes = dict(zip(job_ids, answers, strict=True))
    done = [job_id for job_id, answer in outcomes.items() if answer == "replayed"]
    session.audit("replay_dead_letters", "", replayed=len(done), jobs=done)
    _show_outcomes(session, outcomes)
    return outcomes


def _show_outcomes(session: Session, outcomes: dict[str, str]) -> None:
    rows = [{"ID": job_id, "OUTCOME": outcome} for job_id, outcome in outcomes.items()]
    session.screen.show(outcomes, rows)


def _show(session: Session, found: Sequence[Job]) -> None:
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
