"""`roughneck dead patterns`: what the dead letters have in common, counted without a model."""

from datetime import UTC, datetime, timedelta

import click

from ops.cli.jobs import processor_option
from ops.cli.screen import Row, age_of
from ops.cli.session import Session, app_option, pass_session
from ops.cli.watching import Watched
from ops.looking import found_jobs
from processors.cnc.patterns import (
    ERRORS_MAX,
    Between,
    Cluster,
    Counted,
    Occurrence,
    PatternIn,
    count_patterns,
)
from streams.clock import SystemClock
from streams.listing import JobFilter
from streams.model import Job, State


@click.command(
    "patterns",
    cls=Watched,
    epilog="""\b
Examples:
  roughneck dead patterns
  roughneck dead patterns --hours 6 --processor govejle-page -o json""",
)
@app_option()
@processor_option
@click.option(
    "--hours",
    default=24.0,
    show_default=True,
    type=click.FloatRange(0.1, 24 * 30),
    help="The window that is looked at, until now.",
)
@click.option(
    "--days",
    default=7.0,
    show_default=True,
    type=click.FloatRange(0.1, 90),
    help="The time before it, which says what is usual.",
)
@click.option("--least", default=1, show_default=True, help="Leave out kinds of fewer letters.")
@pass_session
def patterns(
    session: Session,
    /,
    app: str | None,
    processor: str | None,
    hours: float,
    days: float,
    least: int,
) -> None:
    """Put dead letters into clusters by their error, the most unusual first.

    Counts, spikes and what is new are those of the flow cnc-pattern-detection; a spike is told with
    its errors a minute and how many standard deviations they lie over what is usual.
    """
    now_ms = SystemClock().now_ms()
    wanted = JobFilter(app, State.DEAD, processor)
    letters = session.with_engine(lambda engine: found_jobs(engine, wanted, ERRORS_MAX))
    if len(letters) == ERRORS_MAX:
        session.screen.note(f"only the newest {ERRORS_MAX} dead letters are looked at")
    counted = clusters_of(letters, now_ms, (hours, days), least)
    rows = [row_of(cluster) for cluster in counted.clusters]
    session.screen.show(counted, rows, empty=f"no dead letter of the last {hours:g} hours")


def clusters_of(
    letters: list[Job], now_ms: int, spans: tuple[float, float], least: int = 1
) -> Counted:
    """The clusters of dead letters; `spans` are the window's hours and the baseline's days."""
    hours, days = spans
    now = datetime.fromtimestamp(now_ms / 1_000 + 1, UTC)
    begins = now - timedelta(hours=hours)
    return count_patterns(
        PatternIn(
            window=Between(begins, now),
            baseline=Between(begins - timedelta(days=days), begins),
            errors=tuple(occurrence(job) for job in letters if job.ended_ms),
            min_count=least,
        )
    )


def occurrence(job: Job) -> Occurrence:
    """A dead letter as an error; processor and code stand for the type of the exception."""
    return Occurrence(
        app=job.lane.app,
        at=datetime.fromtimestamp(job.ended_ms / 1_000, UTC),
        message=job.fault.message if job.fault else "",
        exception=f"{job.lane.processor}: {job.fault.code if job.fault else 'unknown'}",
    )


def row_of(cluster: Cluster) -> Row:
    """A line of the table."""
    marks = ["new"] if cluster.new else []
    if cluster.spike:
        marks.append(f"spike {cluster.spike.rate:g}/min {cluster.spike.score:.0f}σ")
    if cluster.trend != "steady":
        marks.append(cluster.trend)
    return {
        "LETTERS": cluster.count,
        "PROCESSOR, ERROR": cluster.exception,
        "UNUSUAL": ", ".join(marks),
        "APPS": ", ".join(cluster.apps),
        "LAST": age_of(cluster.last),
        "MESSAGE": cluster.template,
    }
