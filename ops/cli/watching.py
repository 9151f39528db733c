"""`--watch`: a command that only looks, again and again, drawn over what it showed before."""

import time
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ops.cli.screen import console, terminal
from ops.cli.session import Command, Session
from streams.errors import Unavailable

EVERY_S = 2.0


class Watched(Command):
    """A command that takes `--watch [SECONDS]`.

    On a terminal the newest picture takes the place of the one before; elsewhere, and as JSON, one
    is printed when it differs from the one before, JSON in one line each. It ends with Ctrl-C.
    """

    def __init__(self, *arguments: Any, **fields: Any) -> None:
        super().__init__(*arguments, **fields)
        self.params.append(
            click.Option(
                ["--watch"],
                is_flag=False,
                flag_value=EVERY_S,
                type=click.FloatRange(0.1, 3_600),
                metavar="[SECONDS]",
                help=f"Look again every {EVERY_S:g} s, or every so many, until Ctrl-C.",
            )
        )

    def invoke(self, context: click.Context) -> Any:
        """Run it once, or again and again."""
        every_s = context.params.pop("watch", None)
        session = context.find_object(Session)
        if every_s is None or session is None:
            return super().invoke(context)
        if terminal() and not session.screen.as_json:
            with Live(console=console(), auto_refresh=False) as live:
                while True:
                    live.update(self._picture(session, context), refresh=True)
                    time.sleep(every_s)
        shown, plain = "", console()
        while True:
            with plain.capture() as captured:
                plain.print(self._picture(session, context))
            if captured.get() != shown:
                shown = captured.get()
                click.echo(shown, nl=False)
            time.sleep(every_s)

    def _picture(self, session: Session, context: click.Context) -> RenderableType:
        """What it prints now; or that Redis is away, which may pass."""
        with session.screen.keeping() as kept:
            try:
                super().invoke(context)
            except Unavailable as error:
                kept.append(Text(f"unreachable: {error}", "red"))
        return Group(*kept)
