"""`roughneck endpoints`: where apps are told how their jobs ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from gateway.registrar import Registrar, Standing
from gateway.wire_registry import CallbackDetail, EndpointView
from ops.cli.callbacks import UnknownRecord, card_of
from ops.cli.completing import of_endpoints
from ops.cli.screen import Row, age_of, local
from ops.cli.session import Group, Session, app_option, pass_session
from ops.cli.watching import Watched
from ops.links import Engine
from ops.wiring import seals_of
from processors.dependencies.guard import Guard
from streams.callbacks import CallbackState, CallbackView
from streams.clock import SystemClock
from streams.model import ENDED, State

ENDINGS = [str(state) for state in State if state in ENDED]
TEST_WAIT_S = 20.0
LOOK_EVERY_S = 0.2

T = TypeVar("T")


@click.group(cls=Group)
def endpoints() -> None:
    """Where apps may be called back: every callback URL must lie under one."""


@endpoints.command("list", cls=Watched, epilog="\b\nExample:\n  roughneck endpoints list --app web")
@app_option()
@pass_session
def list_endpoints(session: Session, /, app: str | None) -> None:
    """The endpoints and how they fare, without their secrets."""
    standings = with_registrar(session, lambda registrar: registrar.all())
    ages_ms = with_registrar(session, lambda registrar: registrar.store.now()).ages_ms
    views = [view_of(one) for one in standings if app in (None, one.endpoint.app)]
    rows = [
        {**_row(view), "OLDEST": f"{ages_ms[view.id] / 1_000:.0f} s" if view.id in ages_ms else ""}
        for view in sorted(views, key=lambda view: (view.app, view.url))
    ]
    session.screen.show(views, rows, empty="no endpoint is registered")


@endpoints.command(
    "create",
    epilog="\b\nExample:\n  roughneck endpoints create https://app.example/hooks --app web",
)
@click.argument("url")
@app_option(required=True, help="The app that is told.")
@click.option("--event", "events", multiple=True, type=click.Choice(ENDINGS), help="Repeat it.")
@click.option("--ordered", is_flag=True, help="One delivery at a time, in the order of the ends.")
@pass_session
def create(
    session: Session, /, url: str, app: str, events: tuple[str, ...], *, ordered: bool
) -> None:
    """Register URL; prints the secret that signs what is sent there, this once."""
    target = Guard(session.settings.network).check_url(url)
    told = [State(event) for event in events or ENDINGS]
    standing, secret = with_registrar(
        session, lambda registrar: registrar.create(app, target.url, told, ordered=ordered)
    )
    session.audit("create_endpoint", standing.endpoint.id, owner=app, url=target.url)
    _show_secret(session, standing, secret)


@endpoints.command("rotate", epilog="\b\nExample:\n  roughneck endpoints rotate ep_…")
@click.argument("endpoint_id", metavar="ID", shell_complete=of_endpoints)
@click.option("--drop-previous", is_flag=True, help="End the old secret at once: it leaked.")
@pass_session
def rotate(session: Session, /, endpoint_id: str, *, drop_previous: bool) -> None:
    """Make a new secret and print it; the old one signs on for a day."""
    standing, secret = of_one(
        session,
        endpoint_id,
        lambda registrar: registrar.rotate(endpoint_id, drop_previous=drop_previous),
    )
    session.audit("rotate_endpoint", endpoint_id, drop_previous=drop_previous)
    _show_secret(session, standing, secret)


@endpoints.command("test", epilog="\b\nExample:\n  roughneck endpoints test ep_…")
@click.argument("endpoint_id", metavar="ID", shell_complete=of_endpoints)
@pass_session
def test(session: Session, /, endpoint_id: str) -> None:
    """Send a callback of no job and wait for what becomes of it."""

    async def act(engine: Engine) -> CallbackView:
        callback_id = found(await registrar_of(session, engine).test(endpoint_id), endpoint_id)
        deadline = time.monotonic() + TEST_WAIT_S
        while True:
            view = await engine.callbacks.get(callback_id)
            assert view is not None  # what waits has no lifetime
            tried = view.attempts or view.state is not CallbackState.WAITING
            if tried or time.monotonic() > deadline:
                return view
            await asyncio.sleep(LOOK_EVERY_S)

    view = CallbackDetail.of(session.with_engine(act))
    session.audit("test_endpoint", endpoint_id)
    session.screen.card(view, card_of(view))


@endpoints.command("enable", epilog="\b\nExample:\n  roughneck endpoints enable ep_…")
@click.argument("endpoint_id", metavar="ID", shell_complete=of_endpoints)
@pass_session
def enable(session: Session, /, endpoint_id: str) -> None:
    """Deliver again to an endpoint that was disabled, also what it has missed since."""
    _, replayed = of_one(session, endpoint_id, lambda registrar: registrar.enable(endpoint_id))
    session.audit("enable_endpoint", endpoint_id, replayed=replayed)
    facts = {"id": endpoint_id, "outcome": "enabled", "replayed": replayed}
    session.screen.say(f"{endpoint_id} is enabled; {replayed} callbacks are delivered again", facts)


@endpoints.command("delete", epilog="\b\nExample:\n  roughneck endpoints delete ep_…")
@click.argument("endpoint_id", metavar="ID", shell_complete=of_endpoints)
@pass_session
def delete(session: Session, /, endpoint_id: str) -> None:
    """Remove an endpoint; callbacks that wait for it become dead letters."""
    if not with_registrar(session, lambda registrar: registrar.store.delete(endpoint_id)):
        raise UnknownRecord(f"there is no endpoint {endpoint_id}")
    session.audit("delete_endpoint", endpoint_id)
    session.screen.say(f"{endpoint_id} is deleted", {"id": endpoint_id, "outcome": "deleted"})


@endpoints.command("new-key", epilog="\b\nExample:\n  roughneck endpoints new-key")
@pass_session
def new_key(session: Session, /) -> None:
    """Put a new key into the file that seals secrets, and seal every secret anew with it.

    Keys of before stay in the file: gateways and couriers elsewhere need the new file first.
    """
    seals = seals_of(session.settings)
    key_id = seals.add_key()
    count = with_registrar(session, lambda registrar: registrar.reseal())
    session.audit("new_seal_key", key_id, resealed=count)
    facts = {"key": key_id, "file": str(seals.path), "resealed": count}
    session.screen.say(f"key {key_id} seals from now on; {count} endpoints sealed anew", facts)


def registrar_of(session: Session, engine: Engine) -> Registrar:
    """What registers endpoints, with this machine's key file."""
    overlap_s = session.settings.gateway.secret_overlap_s
    return Registrar(engine.callbacks, seals_of(session.settings, make=True), overlap_s=overlap_s)


def with_registrar(session: Session, act: Callable[[Registrar], Awaitable[T]]) -> T:
    """What `act` answers, given the registrar."""

    async def run(engine: Engine) -> T:
        return await act(registrar_of(session, engine))

    return session.with_engine(run)


def of_one(
    session: Session, endpoint_id: str, act: Callable[[Registrar], Awaitable[T | None]]
) -> T:
    """What `act` answers of one endpoint. Raises UnknownRecord when there is none."""
    return found(with_registrar(session, act), endpoint_id)


def found(answer: T | None, endpoint_id: str) -> T:
    """The answer. Raises UnknownRecord without one."""
    if answer is None:
        raise UnknownRecord(f"there is no endpoint {endpoint_id}")
    return answer


def view_of(standing: Standing) -> EndpointView:
    """An endpoint as it is shown."""
    return EndpointView.of(standing.endpoint, standing.health, SystemClock().now_ms())


def _show_secret(session: Session, standing: Standing, secret: str) -> None:
    endpoint, now_ms = standing.endpoint, SystemClock().now_ms()
    facts = {"id": endpoint.id, "app": endpoint.app, "url": endpoint.url, "secret": secret}
    session.screen.card(EndpointView.of(endpoint, standing.health, now_ms, secret), facts)


def _row(view: EndpointView) -> Row:
    return {
        "ID": view.id,
        "APP": view.app,
        "URL": view.url,
        "EVENTS": ",".join(view.events),
        "ORDERED": "yes" if view.ordered else "",
        "FAILURES": view.failures or "",
        "OPEN UNTIL": local(view.open_until),
        "DISABLED": view.disabled,
        "CREATED": age_of(view.created_at),
    }
