"""`roughneck dead`: dead letters, to look at, to run again, to forget."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from ops.cli.completing import of_dead_letters
from ops.cli.dead_patterns import patterns
from ops.cli.jobs import (
    limit_option,
    processor_option,
    replayed,
    show_jobs,
    show_outcomes,
)
from ops.cli.session import Group, Session, app_option, pass_session
from ops.cli.watching import Watched
from ops.links import Engine
from ops.looking import existing_job, found_jobs
from streams.listing import JobFilter
from streams.model import Job, State

LETTERS_MAX = 1_000  # that one call runs again or forgets


def selection(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Which dead letters: by id, by filter, or all. `what` would be done to them."""
    options = (
        click.argument("job_ids", metavar="[JOB]...", nargs=-1, shell_complete=of_dead_letters),
        app_option(),
        processor_option,
        click.option("--code", metavar="CODE", help="Limit to this error code."),
        click.option("--all", "everything", is_flag=True, help="All dead letters, no filter."),
        click.option("--dry-run", is_flag=True, help=f"Only list what would be {what}."),
        pass_session,
    )

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorated


@click.group(cls=Group)
def dead() -> None:
    """Dead letters: jobs that will not be tried again by themselves."""


dead.add_command(patterns)


@dead.command(
    "list", cls=Watched, epilog="\b\nExample:\n  roughneck dead list --processor echo -o json"
)
@app_option()
@processor_option
@limit_option
@pass_session
def list_dead(session: Session, /, app: str | None, processor: str | None, limit: int) -> None:
    """Dead jobs, the newest first."""
    wanted = JobFilter(app, State.DEAD, processor)
    show_jobs(session, session.with_engine(lambda engine: found_jobs(engine, wanted, limit)))


@dead.command(
    "replay",
    epilog="\b\nExamples:\n  roughneck dead replay --processor echo --dry-run\n"
    "  roughneck dead replay 0-01jd…",
)
@selection("run again")
def replay(session: Session, /, *, dry_run: bool, **wanted: Any) -> None:
    """Run dead letters again: by id, by filter, or all."""
    letters = _selected(session, **wanted)
    if dry_run or not letters:
        show_jobs(session, letters)
    else:
        replayed(session, [job.id for job in letters])


@dead.command(
    "purge",
    epilog="\b\nExamples:\n  roughneck dead purge --code invalid_input --dry-run\n"
    "  roughneck dead purge --app web --all",
)
@selection("forgotten")
def purge(session: Session, /, *, dry_run: bool, **wanted: Any) -> None:
    """Forget dead letters before their time, with their inputs. Counters stay."""
    letters = _selected(session, **wanted)
    if dry_run or not letters:
        show_jobs(session, letters)
        return
    ids = [job.id for job in letters]
    answers = session.with_engine(lambda engine: engine.control.purge(ids, State.DEAD))
    outcomes = dict(zip(ids, answers, strict=True))
    session.audit("purge_dead_letters", "", purged=answers.count("purged"), jobs=ids)
    show_outcomes(session, outcomes)


def _selected(
    session: Session,
    /,
    *,
    job_ids: Sequence[str],
    app: str | None,
    processor: str | None,
    code: str | None,
    everything: bool,
) -> list[Job]:
    if not (job_ids or app or processor or code or everything):
        raise click.UsageError("name jobs, a filter, or --all")

    async def act(engine: Engine) -> list[Job]:
        if job_ids:
            return [await existing_job(engine, job_id) for job_id in job_ids]
        letters = await found_jobs(engine, JobFilter(app, State.DEAD, processor), LETTERS_MAX)
        return [job for job in letters if not code or (job.fault and job.fault.code == code)]

    return session.with_engine(act)
