"""`roughneck processors run` and `new`: try a processor without Redis; begin one."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from gateway.redaction import redact
from ops.cli.outline import outline
from ops.cli.screen import Row
from ops.cli.session import Command, GaveUpWaiting, JobFailed, Session, pass_session
from ops.cli.work import payload_of
from ops.rehearsal.cast import Cast, find_cast
from ops.rehearsal.play import Rehearsed, Terms, rehearse
from ops.rehearsal.samples import EVERY, Sample, samples_of
from ops.rehearsal.template import written
from ops.worker_process import processor_folders
from streams.model import ResourceClass

LEVELS = {"error": "red", "warning": "yellow", "debug": "bright_black"}
FIELD_MAX = 300
CLEAR = "\r\x1b[K"


@click.command(
    "run",
    cls=Command,
    epilog="""\b
Examples:
  roughneck processors run etyde-session --sample
  roughneck processors run echo --sample all
  roughneck processors run echo --input '{"message": "hej"}' -o json
  roughneck processors run ./word_count.py --input @text.json""",
)
@click.argument("name")
@click.option(
    "--sample",
    is_flag=False,
    flag_value="",
    metavar="[FILE|NAME|all]",
    help="Run on a sample that ships with it; without a value on the first.",
)
@click.option("--input", "given", metavar="JSON|@FILE|-", help="Run on this input.")
@click.option(
    "--attempt",
    default=1,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Which attempt it is told to be.",
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.001), help="Seconds it may take.")
@click.option("--simulated", is_flag=True, help="Use a simulated model even where Ollama answers.")
@pass_session
def run(
    session: Session, /, name: str, sample: str | None, given: str | None, **terms: Any
) -> None:
    """Run the processor or flow NAME here and now, without Redis and without a worker.

    NAME may also be a Python file. The result goes to standard output, what it says on the way to
    standard error. Where no Ollama answers, a simulator is started for the run.
    """
    if (sample is None) == (given is None):
        raise click.UsageError("give either --sample or --input")
    folders = processor_folders(session.settings)
    cast = find_cast(name, folders)
    inputs = (
        [Sample("input", bytes(payload_of(given)))]
        if given is not None
        else samples_of(cast, sample or "", folders)
    )
    teller = Teller(session)
    ended = [(one, _rehearsed(session, cast, one, teller, Terms(**terms))) for one in inputs]
    if sample == EVERY:
        _show_all(session, cast, ended)
    else:
        _show(session, cast, *ended[0])


def _rehearsed(
    session: Session, cast: Cast, sample: Sample, teller: "Teller", terms: Terms
) -> Rehearsed:
    teller.note(f"{cast.name} {cast.version} on {sample.name}")
    with teller.at_work():
        return uvloop.run(
            rehearse(cast, sample.payload, session.settings, teller, terms, answers=sample.answers)
        )


def _show(session: Session, cast: Cast, sample: Sample, ended: Rehearsed) -> None:
    if ended.fault is not None:
        message = f"{cast.name} failed: {ended.fault.code}: {ended.fault.message}"
        raise JobFailed(message) if ended.in_time else GaveUpWaiting(message)
    session.screen.note(f"succeeded in {ended.took_s:.2f} s")
    if session.screen.as_json or not isinstance(ended.result, dict):
        session.screen.json(ended.result)
    else:
        session.screen.card(ended.result, {name: outline(v) for name, v in ended.result.items()})


def _show_all(session: Session, cast: Cast, ended: list[tuple[Sample, Rehearsed]]) -> None:
    items = [
        {"sample": sample.name, "result": one.result, "fault": one.fault, "took_s": one.took_s}
        for sample, one in ended
    ]
    rows: list[Row] = [
        {
            "SAMPLE": sample.name,
            "ENDED": "succeeded" if one.fault is None else "failed",
            "TOOK": f"{one.took_s:.2f} s",
            "RESULT": _short(one),
        }
        for sample, one in ended
    ]
    session.screen.show(items, rows)
    failed = [sample.name for sample, one in ended if one.fault is not None]
    if failed:
        raise JobFailed(f"{cast.name} failed on {', '.join(failed)}")


def _short(ended: Rehearsed) -> str:
    if ended.fault is not None:
        return f"{ended.fault.code}: {ended.fault.message}"[:100]
    return msgspec.json.encode(ended.result).decode()[:100]


class Teller:
    """Standard error while it runs: notes, log lines, progress on one line of a terminal."""

    def __init__(self, session: Session) -> None:
        self._screen = session.screen
        self._live = sys.stderr.isatty()
        self._drawn = False

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Leaves no half line behind."""
        try:
            yield
        finally:
            self._wipe()

    def note(self, sentence: str) -> None:
        """Something about the run itself."""
        self._wipe()
        self._screen.note(redact(sentence))

    def line(self, level: str, message: str, fields: dict[str, object]) -> None:
        """A line that the processor logged."""
        self._wipe()
        said = ((name, value) for name, value in fields.items() if name != "printed")
        rest = "".join(f" {name}={str(value)[:FIELD_MAX]}" for name, value in said)
        styled = click.style(f"{level:<7}", fg=LEVELS.get(level))
        click.echo(f"{styled} {redact(message + rest)}", err=True)

    def progress(self, fraction: float | None, note: str) -> None:
        """How far it is: drawn over the last one on a terminal, else a line each."""
        share = "    " if fraction is None else f"{fraction:4.0%}"
        self._wipe()
        click.echo(f"{share} {redact(note)}", err=True, nl=not self._live)
        self._drawn = self._live

    def _wipe(self) -> None:
        if self._drawn:
            click.echo(CLEAR, err=True, nl=False)
            self._drawn = False


@click.command(
    "new",
    cls=Command,
    epilog="""\b
Examples:
  roughneck processors new word-count
  roughneck processors new sum-up --class ollama --folder ~/my-processors""",
)
@click.argument("name")
@click.option(
    "--class",
    "resource_class",
    type=click.Choice([str(one) for one in ResourceClass]),
    default="io",
    show_default=True,
    help="What an attempt occupies while it runs.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where to write it; default: here.",
)
@pass_session
def new(session: Session, /, name: str, resource_class: str, folder: Path) -> None:
    """Write a processor NAME to begin with: its file, a test that passes, and a sample."""
    folders = [one.resolve() for one in processor_folders(session.settings)]
    files = written(name, ResourceClass(resource_class), folder.expanduser())
    known = folder.expanduser().resolve() in folders
    session.screen.say(
        "\n".join([*map(str, files), "", *_next_steps(files, folder, known=known)]),
        {"name": name, "files": [str(file) for file in files]},
    )


def _next_steps(files: list[Path], folder: Path, *, known: bool) -> Iterator[str]:
    yield f"Try it:   roughneck processors run {files[0]} --sample"
    yield f"Test it:  python -m pytest {files[1]}"
    if not known:
        where = folder.expanduser().resolve()
        yield f'Use it:   [processors] folders = ["{where}"]   in roughneck.toml, for the worker'
