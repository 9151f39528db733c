"""`roughneck endpoints` and `roughneck callbacks`: where apps are told, and what was told them."""

import secrets

import click
import msgspec

from gateway.signing import new_secret
from gateway.wire_registry import CallbackDetail, EndpointView
from ops.cli.screen import Row, age_of, local
from ops.cli.session import Group, Session, app_option, pass_session
from ops.links import Engine
from processors.dependencies.guard import Guard
from streams.callbacks import CallbackState, CallbackView
from streams.clock import SystemClock
from streams.directory import Endpoint
from streams.errors import Rejected
from streams.ids import base32
from streams.model import ENDED, State

ENDINGS = [str(state) for state in State if state in ENDED]


class UnknownRecord(Rejected):
    """No endpoint or callback has that id."""

    code = "unknown_record"


@click.group(cls=Group)
def endpoints() -> None:
    """Where apps may be called back: every callback URL must lie under one."""


@endpoints.command("list")
@app_option()
@pass_session
def list_endpoints(session: Session, /, app: str | None) -> None:
    """The endpoints, without their secrets."""
    found = session.with_engine(lambda engine: engine.directory.endpoints())
    views = [EndpointView.of(one) for one in found.values() if app in (None, one.app)]
    rows = [
        {
            "ID": view.id,
            "APP": view.app,
            "URL": view.url,
            "EVENTS": ",".join(view.events),
            "DISABLED": view.disabled,
            "CREATED": age_of(view.created_at),
        }
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
@pass_session
def create(session: Session, /, url: str, app: str, events: tuple[str, ...]) -> None:
    """Register URL; prints the secret that signs what is sent there, this once."""
    target = Guard(session.settings.network).check_url(url)
    secret = new_secret()
    endpoint = Endpoint(
        id=f"ep_{base32(secrets.randbits(80), 16)}",
        app=app,
        url=target.url,
        secrets=(secret,),
        events=tuple(State(event) for event in events or ENDINGS),
        created_ms=SystemClock().now_ms(),
    )
    session.with_engine(lambda engine: engine.directory.put_endpoint(endpoint))
    facts = {"id": endpoint.id, "app": app, "url": endpoint.url, "secret": secret}
    session.screen.card(EndpointView.of(endpoint, secret), facts)


@endpoints.command("enable")
@click.argument("endpoint_id", metavar="ID")
@pass_session
def enable(session: Session, /, endpoint_id: str) -> None:
    """Deliver again to an endpoint that was disabled."""

    async def act(engine: Engine) -> None:
        known = await engine.directory.endpoint(endpoint_id)
        if known is None:
            raise UnknownRecord(f"there is no endpoint {endpoint_id}")
        await engine.directory.put_endpoint(msgspec.structs.replace(known, disabled=""))

    session.with_engine(act)
    session.screen.say(f"{endpoint_id} is enabled", {"id": endpoint_id, "outcome": "enabled"})


@endpoints.command("delete")
@click.argument("endpoint_id", metavar="ID")
@pass_session
def delete(session: Session, /, endpoint_id: str) -> None:
    """Remove an endpoint; callbacks that wait for it become dead letters."""
    if not session.with_engine(lambda engine: engine.directory.delete_endpoint(endpoint_id)):
        raise UnknownRecord(f"there is no endpoint {endpoint_id}")
    session.screen.say(f"{endpoint_id} is deleted", {"id": endpoint_id, "outcome": "deleted"})


@click.group(cls=Group)
def callbacks() -> None:
    """Callbacks: list, show and replay them."""


@callbacks.command("list")
@app_option()
@click.option("--state", type=click.Choice([str(state) for state in CallbackState]))
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000))
@pass_session
def list_callbacks(session: Session, /, app: str | None, state: str | None, limit: int) -> None:
    """Callbacks: waiting ones first, then the newest."""
    wanted = CallbackState(state) if state else None

    async def act(engine: Engine) -> list[CallbackView]:
        page = await engine.callbacks.page(app, wanted, limit=limit)
        return list(page.items)

    views = [CallbackDetail.of(view) for view in session.with_engine(act)]
    session.screen.show(views, [_callback_row(view) for view in views], empty="no callbacks")


@callbacks.command("show")
@click.argument("callback_id", metavar="ID")
@pass_session
def show_callback(session: Session, /, callback_id: str) -> None:
    """One callback with every attempt to deliver it."""
    found = session.with_engine(lambda engine: engine.callbacks.get(callback_id))
    if found is None:
        raise UnknownRecord(f"there is no callback {callback_id}")
    view = CallbackDetail.of(found)
    attempts = [
        f"{local(one.at)}  {one.status or 'no answer'}  {one.took_ms} ms  {one.reason}"
        for one in view.attempts
    ]
    facts = {
        "callback": view.id,
        "state": view.state,
        "job": f"{view.job_id} ({view.job_state})",
        "app": view.app,
        "url": view.url,
        "next attempt": local(view.due_at),
        "reason": view.reason,
        "attempts": "\n".join(attempts),
    }
    session.screen.card(view, facts)


@callbacks.command("replay")
@click.argument("callback_ids", metavar="[ID]...", nargs=-1)
@app_option()
@click.option("--dead", is_flag=True, help="All dead ones, of --app if given.")
@pass_session
def replay(
    session: Session, /, callback_ids: tuple[str, ...], app: str | None, *, dead: bool
) -> None:
    """Deliver ended callbacks once more, with the same webhook-id and the same bytes."""
    if bool(callback_ids) == dead:
        raise click.UsageError("name callbacks, or say --dead")

    async def act(engine: Engine) -> int:
        ids = list(callback_ids)
        if dead:
            page = await engine.callbacks.page(app, CallbackState.DEAD, limit=1_000)
            ids = [view.record.id for view in page.items]
        return await engine.callbacks.replay(ids) if ids else 0

    count = session.with_engine(act)
    session.screen.say(f"{count} callbacks are delivered once more", {"replayed": count})


def _callback_row(view: CallbackDetail) -> Row:
    last = view.attempts[-1] if view.attempts else None
    return {
        "ID": view.id,
        "STATE": view.state,
        "APP": view.app,
        "JOB": view.job_id,
        "ENDED": view.job_state,
        "ATTEMPTS": len(view.attempts),
        "LAST": "" if last is None else str(last.status or "no answer"),
        "NEXT": age_of(view.due_at),
        "URL": view.url,
    }
