"""`roughneck shadow`: what came of jobs that were also run by another processor."""

from collections.abc import Sequence

import click
import msgspec

from gateway.shadows import shadow_app, shadowed
from ops.cli.moments import MOMENT
from ops.cli.session import Group, JobFailed, Session, pass_session
from ops.links import Engine
from ops.shadow import Pair, Report, report
from streams.listing import JobFilter
from streams.model import Job, State

PAGE = 200

EXAMPLES = """\b
Examples:
  roughneck shadow report --app etyde --since 7d
  roughneck shadow report --app etyde --processor etyde-set-next --ignore '$.took_s'
  roughneck shadow report --app etyde --different-max 0.02 && echo cut over"""


@click.group(cls=Group)
def shadow() -> None:
    """Jobs that were also run by another processor."""


@shadow.command("report", epilog=EXAMPLES)
@click.option("--app", required=True, metavar="NAME", help="Whose jobs were shadowed.")
@click.option("--processor", metavar="NAME", help="Only shadows of this processor.")
@click.option("--since", type=MOMENT, default="7d", show_default=True, help="A time, or an age.")
@click.option("--until", type=MOMENT, default=0, show_default=False, help="A time, or an age.")
@click.option("--ignore", multiple=True, metavar="PATH", help="Do not compare $.path; repeat it.")
@click.option(
    "--limit",
    default=10_000,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="Pairs at most, the newest first.",
)
@click.option(
    "--different-max",
    type=click.FloatRange(0, 1),
    help="Exit 1 when a larger share of the pairs that can be judged is not equal, or none can.",
)
@pass_session
def show_report(
    session: Session,
    /,
    *,
    app: str,
    processor: str | None,
    since: int,
    until: int,
    ignore: tuple[str, ...],
    limit: int,
    different_max: float | None,
) -> None:
    """Compare results of an app's jobs with those of their shadows, by JSON path."""
    wanted = JobFilter(shadow_app(app), None, processor, since_ms=since, until_ms=until)
    pairs = session.with_engine(lambda engine: read_pairs(engine, wanted, limit))
    found = report(pairs, ignore)
    _show(session, found, pairs)
    if different_max is None:
        return
    judged = found.pairs - found.not_run - found.neither_succeeded
    if not judged or found.different_share > different_max:
        share = f"{found.different_share:.1%} of {judged} pairs are not equal"
        raise JobFailed(share if judged else "no pair can be judged")


async def read_pairs(engine: Engine, wanted: JobFilter, limit: int) -> list[Pair]:
    """Shadows, newest first, with the jobs that they shadow."""
    pairs: list[Pair] = []
    cursor = ""
    while len(pairs) < limit:
        page = await engine.inspector.jobs(wanted, cursor, min(PAGE, limit - len(pairs)))
        pairs += await _paired(engine, page.items)
        cursor = page.cursor
        if not cursor:
            break
    return pairs


async def _paired(engine: Engine, shadows: Sequence[Job]) -> list[Pair]:
    ids = [shadowed(one.tags) for one in shadows]
    jobs = {job.id: job for job in await engine.inspector.jobs_by_id(ids)}
    return [
        Pair(job := jobs.get(job_id), one, await _result(engine, job), await _result(engine, one))
        for one, job_id in zip(shadows, ids, strict=True)
    ]


async def _result(engine: Engine, job: Job | None) -> object:
    if job is None or job.state is not State.SUCCEEDED:
        return None
    raw = await engine.inspector.result(job.id)
    return None if raw is None else msgspec.json.decode(raw)


def _show(session: Session, found: Report, pairs: Sequence[Pair]) -> None:
    if session.screen.as_json:
        session.screen.json(found)
        return
    outcomes = {
        "equal": found.equal,
        "different": found.different,
        "only the job succeeded": found.only_job_succeeded,
        "only the shadow succeeded": found.only_shadow_succeeded,
        "neither succeeded": found.neither_succeeded,
        "not run": found.not_run,
    }
    times = [found.seconds, found.shadow_seconds]
    medians = " against ".join(f"{s:.2f} s" for s in times if s is not None)
    names = ", ".join(sorted({pair.shadow.lane.processor for pair in pairs}))
    session.screen.card(
        found,
        {"pairs": found.pairs, "shadows by": names, **outcomes, "runs took (median)": medians},
    )
    if found.paths:
        rows = [
            {
                "PATH": one.path,
                "PAIRS": one.pairs,
                "JOB SAYS": one.example.job,
                "SHADOW SAYS": one.example.shadow,
                "EXAMPLE": one.job_id,
            }
            for one in found.paths[:20]
        ]
        session.screen.show(found.paths, rows)
