"""`roughneck top`: the terminal UI, or one picture of it for scripts."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import click
import httpx
import msgspec
import uvloop
from rich.console import Group, RenderableType

from gateway.client.operating import OperatorClient
from ops.cli.screen import console, terminal
from ops.cli.session import Command, Session, pass_session
from ops.links import redis_url
from ops.tui import view
from ops.tui.poll import EVERY_S, Poller
from ops.tui.source import Source
from ops.tui.state import State, Surrounded, Tab, reduce
from ops.tui.surroundings import look_around
from streams.clock import SystemClock
from streams.errors import ConfigError, Unavailable

WIDE = 200  # of a picture that no terminal bounds


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  roughneck top
  roughneck top --tab dead --read-only
  roughneck --gateway https://jobs.example.org --key rn_… top
  roughneck top --once -o json""",
)
@click.option(
    "--tab",
    type=click.Choice([str(tab) for tab in Tab]),
    default="lanes",
    help="The tab to begin with.",
)
@click.option("--read-only", is_flag=True, help="Change nothing: capital letters are off.")
@click.option("--once", is_flag=True, help="Print one tab and end, as a table or JSON.")
@click.option(
    "--every",
    "every_s",
    default=EVERY_S,
    show_default=True,
    type=click.FloatRange(0.2, 3_600),
    help="Seconds between two looks.",
)
@pass_session
def top(session: Session, /, tab: str, *, read_only: bool, once: bool, every_s: float) -> None:
    """Watch everything in a terminal: streams and lanes, jobs, workers, callbacks, flows,
    schedules, dead letters, models, events. `?` shows the keys.

    Reads Redis, or the gateway where --gateway names one, with a key of scope `read`; to change
    things the key needs `operate` or `submit`.
    """
    state = State(read_only=read_only, tab=Tab(tab))
    if once:
        uvloop.run(_once(session, state))
        return
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise ConfigError(
            "top needs a terminal; for scripts there is: roughneck top --once -o json"
        )
    uvloop.run(_watch(session, state, every_s))


async def _watch(session: Session, state: State, every_s: float) -> None:
    from ops.tui.app import Top

    async with _opened(session) as source:
        shown = msgspec.structs.replace(state, where=source.where)
        app = Top(source, shown, gateway=_gateway(session), every_s=every_s)
        await app.run_async()
    if app.return_code:
        raise ConfigError("the terminal UI ended by a mistake of its own; it stands above")


async def _once(session: Session, state: State) -> None:
    """Print one look."""
    seen = await looked_once(session, state)
    if session.screen.as_json:
        session.screen.json(_as_json(seen))
    else:
        session.screen.draw(_picture(seen))


async def looked_once(session: Session, state: State) -> State:
    """The state after one look at everything. Raises Unavailable when it is not to be had."""
    async with _opened(session) as source, httpx.AsyncClient() as http:
        found = [state]
        poller = Poller(source, SystemClock(), lambda one: found.append(reduce(found[-1], one)))
        await poller.look(state)
        if url := _gateway(session):
            found.append(reduce(found[-1], Surrounded(await look_around(http, url))))
    seen = msgspec.structs.replace(found[-1], where=source.where)
    if seen.trouble or seen.overview is None:
        raise Unavailable(seen.trouble or "there was no answer")
    return seen


def _as_json(state: State) -> dict[str, object]:
    """What was seen: the overview always, and what the tab shows beside it."""
    whole = {
        "where": state.where,
        "gateway": state.surroundings.gateway,
        "overview": state.overview,
    }
    return whole | ({state.tab: state.data[state.tab]} if state.tab in state.data else {})


def _picture(state: State) -> RenderableType:
    """The tab as a table, with the header above it and the causes below."""
    from ops.tui.picture import table_of

    width = console().width if terminal() else WIDE
    parts: list[RenderableType] = [view.header(state, width), table_of(state, width)]
    causes = view.causes(state, WIDE)
    return Group(*parts, *([view.causes_text(causes)] if causes else []))


@asynccontextmanager
async def _opened(session: Session) -> AsyncIterator[Source]:
    """The gateway where one is configured, else Redis."""
    from ops.tui.from_gateway import GatewaySource
    from ops.tui.from_redis import RedisSource

    client = session.settings.client
    if client.gateway:
        async with OperatorClient(client.gateway, client.key) as over_http:
            source = GatewaySource(over_http, f"gateway {urlsplit(client.gateway).netloc}")
            await source.overview()  # a wrong key is told before the screen is taken
            yield source
        return
    url = urlsplit(redis_url(session.settings.redis))
    where = url.path if url.scheme == "unix" else f"{url.hostname}:{url.port or 6379}"
    async with session.engine() as engine:
        yield RedisSource(engine, f"redis {where}", session.audit)


def _gateway(session: Session) -> str:
    """The gateway to ask how it is: the one that is used, else that of this machine's settings."""
    settings = session.settings
    host = settings.gateway.host
    reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return settings.client.gateway or f"http://{reached}:{settings.gateway.port}"
