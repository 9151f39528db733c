"""What every command is given: the settings, the engine, and a way to show what was found."""

import os
import pwd
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import uvloop

from gateway.audit import entry, path_of
from gateway.chain import Chain
from gateway.redaction import hide
from ops.cli.screen import Screen
from ops.links import Engine, opened_engine
from ops.logs import configure
from ops.settings import Settings, load, secrets_of
from streams.clock import SystemClock
from streams.errors import Trouble
from streams.scripts import translated

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])

APP_HELP = "Limit to this app."


class JobFailed(Trouble):
    """The job that was waited for did not succeed: exit code 1."""

    code = "job_failed"


class GaveUpWaiting(Trouble):
    """The job did not end within the time to wait: exit code 4."""

    code = "gave_up_waiting"


class Session:
    """The state of one run of the program, made from the options before the command."""

    def __init__(self, path: Path | None, given: Mapping[str, object]) -> None:
        self.given = dict(given)  # settings of the command line, by `section.field`
        self.path = path
        self.screen = Screen()
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The settings, read when first needed. Raises ConfigError naming the bad field."""
        if self._settings is None:
            self._settings = load(self.path, given=self.given)
            hide(*secrets_of(self._settings))
        return self._settings

    def configure_logs(self) -> None:
        """Log as the settings say; for commands that keep running."""
        configure(self.settings.log)

    def give(self, **given: object) -> None:
        """Take settings from a command's own options; None is "not given".

        `gateway__port=9000` is `gateway.port`.
        """
        for name, value in given.items():
            if value not in (None, ()):
                self.given[name.replace("__", ".")] = value
        self._settings = None

    def audit(self, action: str, subject: str, **fields: object) -> None:
        """Note in this machine's audit log what was done; the action is named as in the API."""
        path = path_of(self.settings.gateway)
        if path is None:
            return
        who = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
        line = entry(action, SystemClock().now_ms(), key=who, subject=subject, **fields)
        try:
            Chain(path).append([line])
        except OSError as error:
            self.screen.note(f"it was done, and the audit log could not be written: {error}")

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """The engine, for as long as the block runs. Raises Unavailable."""
        async with opened_engine(self.settings, "cli") as engine:
            with translated():
                yield engine

    def with_engine(self, act: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """What `act` answers, given the engine."""

        async def run() -> T:
            async with self.engine() as engine:
                return await act(engine)

        return uvloop.run(run())


class Command(click.Command):
    """A command that takes `-o` after its name too, as in `roughneck jobs list -o json`."""

    def __init__(self, *arguments: Any, **fields: Any) -> None:
        super().__init__(*arguments, **fields)
        self.params.append(output_option())


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


def output_option() -> click.Option:
    """`-o table|json`, wherever it stands."""
    return click.Option(
        ["-o", "--output"],
        type=click.Choice(["table", "json"]),
        help="How to print: a table, or JSON for scripts.",
        expose_value=False,
        callback=_set_output,
    )


def app_option(**fields: Any) -> Callable[[Function], Function]:
    """`--app NAME`."""
    return click.option("--app", metavar="NAME", **{"help": APP_HELP, **fields})


def _set_output(context: click.Context, _: click.Parameter, value: str | None) -> None:
    session = context.find_object(Session)
    if value and session:
        session.screen.output = value


pass_session = click.make_pass_decorator(Session)
