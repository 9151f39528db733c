"""`python -m ops.demo`: the demo without the rest of the command line."""

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import uvloop

from ops.demo.report import Report, console
from ops.demo.run import run

WRONG = 1


@click.command(
    help="Show the whole platform at work on this machine: two apps, event pages, a model, a "
    "newsletter, callbacks; workers are killed, stand still and stop on the way. Exits with 1 when "
    "anything was lost or done twice.",
    epilog="\b\nExample:\n  roughneck demo --keep",
)
@click.option("--keep", is_flag=True, help="Keep the folder with logs and data.")
@click.option(
    "--newsletter",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("roughneck-newsletter.html"),
    show_default=True,
    help="Write the newsletter's HTML to this file.",
)
@click.pass_context
def demo(context: click.Context, *, keep: bool, newsletter: Path) -> None:
    """Run the demo in a temporary folder."""
    with _folder(keep) as folder, Report(console()) as report:
        try:
            wrong = uvloop.run(_interruptible(report, folder, newsletter))
        except asyncio.CancelledError:  # SIGTERM, and everything has been stopped
            raise click.Abort from None
        if keep:
            report.step(f"logs and data are in {folder}")
    context.exit(WRONG if wrong else 0)


async def _interruptible(report: Report, folder: Path, newsletter: Path) -> list[str]:
    """Stop everything in order on SIGTERM too, not on Ctrl-C alone."""
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    return await run(report, folder, newsletter)


@contextlib.contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="roughneck-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    demo()
