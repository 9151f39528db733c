"""`roughneck apps`: what each app may ask of the gateways."""

import click
import msgspec
from click.core import ParameterSource

from gateway.auth import EVERY_APP
from gateway.wire_registry import APP, AppDetail
from ops.cli.session import Group, Session, pass_session
from ops.cli.watching import Watched
from ops.links import Engine
from streams.directory import AppLimits
from streams.rates import RateStore

NO_LIMIT = "none"


class Amount(click.ParamType):
    """A number, or `none` for no limit."""

    name = "N|none"

    def __init__(self, kind: type[int] | type[float], least: float) -> None:
        self._kind = kind
        self._least = least

    def convert(
        self, value: str, param: click.Parameter | None, context: click.Context | None
    ) -> float | None:
        """The number, None for `none`."""
        if value == NO_LIMIT:
            return None
        try:
            number = self._kind(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor `{NO_LIMIT}`", param, context)
        if not self._least <= number <= 2**50:
            self.fail(f"must be at least {self._least:g}", param, context)
        return number


@click.group(cls=Group)
def apps() -> None:
    """Apps: how much each may ask of the gateways."""


@apps.command("list", cls=Watched, epilog="\b\nExample:\n  roughneck apps list")
@pass_session
def list_apps(session: Session, /) -> None:
    """Every app that ever submitted or has limits, and its jobs that wait or run."""

    async def act(engine: Engine) -> list[AppDetail]:
        limits = await engine.directory.app_limits()
        names = sorted(await engine.directory.apps() | limits.keys())
        in_flight = await _store(engine).in_flight(names)
        return [AppDetail.of(name, limits, in_flight[name]) for name in names]

    views = session.with_engine(act)
    rows = [
        {
            "APP": view.app,
            "IN FLIGHT": view.in_flight,
            "AT MOST": _shown(view.jobs_in_flight),
            "REQUESTS/S": _shown(view.requests_per_s),
            "BURST": _shown(view.burst),
            "BYTES/MIN": _shown(view.bytes_per_minute),
            "LIMITS": "own" if view.own else "of *",
        }
        for view in views
    ]
    session.screen.show(views, rows, empty="no app has submitted a job yet")


@apps.command(
    "limit",
    epilog="\b\nExamples:\n  roughneck apps limit web --rate 50 --burst 200 --in-flight 5000\n"
    "  roughneck apps limit web --bytes-per-minute 50000000\n"
    "  roughneck apps limit '*' --rate 20      every app that has no limits of its own\n"
    "  roughneck apps limit web --rate none",
)
@click.argument("app", metavar="APP")
@click.option("--rate", "requests_per_s", type=Amount(float, 0.001), help="Requests per second.")
@click.option("--burst", type=Amount(int, 1), help="Requests at once; else those of a second.")
@click.option("--bytes-per-minute", type=Amount(int, 1), help="Bytes of request bodies.")
@click.option("--in-flight", "jobs_in_flight", type=Amount(int, 0), help="Jobs that wait or run.")
@click.pass_context
@pass_session
def limit(session: Session, context: click.Context, /, app: str, **_: float | None) -> None:
    """Change the limits of APP; those not named stay. Gateways obey within 5 s.

    A job of a batch counts as a request. What is beyond a limit is answered 429.
    """
    if not APP.fullmatch(app):
        raise click.UsageError(f"{app!r} is no name of an app")
    changed = {
        name: context.params[name]
        for name in AppLimits.__struct_fields__
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if not changed:
        raise click.UsageError("name a limit")

    async def act(engine: Engine) -> AppLimits:
        before = (await engine.directory.app_limits()).get(app, AppLimits())
        after = msgspec.structs.replace(before, **changed)
        await engine.directory.put_app_limits(app, after)
        return after

    after = session.with_engine(act)
    session.audit("limit_app", app, **changed)
    whose = "every other app" if app == EVERY_APP else app
    told = ", ".join(f"{name} {_shown(value)}" for name, value in changed.items())
    session.screen.say(f"{whose}: {told}", {"app": app, **msgspec.structs.asdict(after)})


def _store(engine: Engine) -> RateStore:
    return RateStore(engine.redis, engine.keyspace, engine.broker.scripts)


def _shown(limit: float | None) -> str:
    return NO_LIMIT if limit is None else f"{limit:,g}" if limit < 1_000 else f"{int(limit):,}"
