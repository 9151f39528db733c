"""`roughneck journal`: what the gateways of this machine have accepted and Redis may not have."""

import time
from pathlib import Path

import click

from gateway.journal.file import Row as JournalRow
from gateway.journal.survey import FolderFound, JournalFound, survey
from gateway.wire import moment
from ops.cli.screen import Row, duration, local
from ops.cli.session import Group, Session, pass_session

MOVED_ASIDE = "unreadable, moved aside: accepted jobs may be in it"


@click.group(cls=Group)
def journal() -> None:
    """Journals of this machine's gateways."""


@journal.command("list", epilog="\b\nExample:\n  roughneck journal list")
@pass_session
def list_journals(session: Session, /) -> None:
    """Every journal file, with what it holds that is not in Redis, or not safe there."""
    found = _survey(session)
    rows = [_file_row(folder, each) for folder in found for each in folder.journals]
    rows += [
        _file_row(folder, JournalFound(path, problem=MOVED_ASIDE))
        for folder in found
        for path in folder.unreadable
    ]
    session.screen.show(found, rows, empty="no gateway of this machine has kept a journal")


@journal.command("kept", epilog="\b\nExample:\n  roughneck journal kept -o json")
@pass_session
def kept(session: Session, /) -> None:
    """Jobs that were accepted and are not sent: too old, or refused by Redis in every form."""
    found = _survey(session)
    jobs = [row for folder in found for each in folder.journals for row in each.kept]
    session.screen.show(jobs, [_kept_row(row) for row in jobs], empty="no jobs are kept")


def _survey(session: Session) -> list[FolderFound]:
    folder = session.settings.gateway.journal_folder
    return survey(Path(folder)) if folder else []


def _file_row(folder: FolderFound, found: JournalFound) -> Row:
    age_ms = time.time_ns() // 1_000_000 - found.oldest_ms
    return {
        "REDIS": folder.folder.name,
        "FILE": found.path.name,
        "GATEWAY": found.gateway,
        "IN USE": "yes" if found.in_use else "no",
        "SPOOLED": found.spooled,
        "OLDEST": duration(age_ms) if found.oldest_ms else "",
        "SHIPPED": found.shipped,
        "KEPT": len(found.kept),
        "PROBLEM": found.problem,
    }


def _kept_row(row: JournalRow) -> Row:
    return {
        "JOB": row.job.id,
        "APP": row.job.lane.app,
        "PROCESSOR": row.job.lane.processor,
        "ACCEPTED": local(moment(row.accepted_ms)),
        "WHY": row.why,
    }
