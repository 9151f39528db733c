"""`roughneck audit`: what operators did on this machine, and whether the record is whole."""

from pathlib import Path

import click
import msgspec

from gateway.audit import path_of
from gateway.chain import Chain, verify
from ops.cli.session import Group, Session, pass_session
from streams.errors import ConfigError, Trouble

PATH = click.Path(path_type=Path)
OWN = ("n", "time", "action", "key", "app", "from", "subject", "status")
LINKS = ("previous", "hash")


class Tampered(Trouble):
    """An audit log does not hold together: lines were changed or taken out."""

    code = "tampered"


@click.group(cls=Group)
def audit() -> None:
    """The audit log: what operators did, by API and by command."""


@audit.command("tail", epilog="\b\nExample:\n  roughneck audit tail -n 50 -o json")
@click.option(
    "-n",
    "count",
    default=20,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="How many lines.",
)
@click.option("--file", "path", type=PATH, help="Another file than that of the settings.")
@pass_session
def tail(session: Session, /, count: int, path: Path | None) -> None:
    """The newest lines of this machine's audit log."""
    records = []
    try:
        lines = Chain(_chosen(session, path)).last_lines(count)
    except OSError as error:
        raise ConfigError(f"the audit log cannot be read: {error}") from error
    for line in lines:
        try:
            records.append(msgspec.json.decode(line, type=dict[str, object]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # cut short; `verify` tells
    rows = [
        {
            "TIME": record.get("time", ""),
            "WHO": record.get("key", ""),
            "FROM": record.get("from", ""),
            "DID": record.get("action", ""),
            "TO": record.get("subject", ""),
            "STATUS": record.get("status", ""),
            "MORE": " ".join(
                f"{name}={value}" for name, value in record.items() if name not in (*OWN, *LINKS)
            ),
        }
        for record in records
    ]
    session.screen.show(records, rows, empty="nothing was done yet")


@audit.command(
    "verify",
    epilog="\b\nExamples:\n  roughneck audit verify\n"
    "  roughneck audit verify audit.log.2 audit.log.1 audit.log    the oldest first",
)
@click.argument("paths", metavar="[FILE]...", nargs=-1, type=PATH)
@pass_session
def verify_files(session: Session, /, paths: tuple[Path, ...]) -> None:
    """Check that no line was changed or taken out; exit code 2 when one was.

    Keep the hash that it prints elsewhere: who can write the file can write all of it anew.
    """
    files = paths or (_chosen(session, None),)
    try:
        checked = verify(files)
        missing = Chain(files[-1]).missing(checked.head)
    except OSError as error:
        raise ConfigError(f"the audit log cannot be read: {error}") from error
    faults = list(checked.faults)
    if missing:
        faults.append(f"{files[-1].name}: {missing} lines are missing at the end")
    for sentence in (*checked.remarks, *faults):
        session.screen.note(sentence)
    if faults:
        raise Tampered(f"{len(faults)} faults in {checked.lines} lines")
    session.screen.say(
        f"{checked.lines} lines are whole; the last is {checked.head.number}, {checked.head.hash}",
        {"lines": checked.lines, "head": checked.head, "remarks": checked.remarks},
    )


def _chosen(session: Session, path: Path | None) -> Path:
    chosen = path or path_of(session.settings.gateway)
    if chosen is None:
        raise ConfigError("gateway.audit_file is empty: no audit log is kept")
    return chosen
