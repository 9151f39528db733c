"""`roughneck callbacks`: what apps were told, what became of it, and telling them again."""

from datetime import UTC, datetime

import click

from gateway.wire import milliseconds
from gateway.wire_registry import CallbackDetail
from ops.cli.completing import of_callbacks
from ops.cli.screen import Row, age_of, local
from ops.cli.session import Group, Session, app_option, pass_session
from ops.cli.watching import Watched
from ops.links import Engine
from streams.callbacks import CallbackFilter, CallbackState, CallbackView
from streams.errors import Rejected

REPLAYED_MAX = 1_000  # of one call


class UnknownRecord(Rejected):
    """No endpoint or callback has that id."""

    code = "unknown_record"


endpoint_option = click.option("--endpoint", metavar="ID", help="Those to this endpoint.")
since_option = click.option("--since", type=click.DateTime(), help="Jobs that ended then or later.")
until_option = click.option("--until", type=click.DateTime(), help="Jobs that ended before.")


@click.group(cls=Group)
def callbacks() -> None:
    """Callbacks: list, show and replay them."""


@callbacks.command(
    "list", cls=Watched, epilog="\b\nExample:\n  roughneck callbacks list --state dead"
)
@app_option()
@click.option(
    "--state",
    type=click.Choice([str(state) for state in CallbackState]),
    help="Limit to this state.",
)
@endpoint_option
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 1_000), help="At most."
)
@pass_session
def list_callbacks(
    session: Session, /, app: str | None, state: str | None, endpoint: str | None, limit: int
) -> None:
    """Callbacks: waiting ones first, then the newest."""
    states = (CallbackState(state),) if state else tuple(CallbackState)
    wanted = CallbackFilter(app, states, endpoint)

    async def act(engine: Engine) -> list[CallbackView]:
        page = await engine.callbacks.page(wanted, limit=limit)
        return list(page.items)

    views = [CallbackDetail.of(view) for view in session.with_engine(act)]
    session.screen.show(views, [_row(view) for view in views], empty="no callbacks")


@callbacks.command("show", epilog="\b\nExample:\n  roughneck callbacks show msg_…")
@click.argument("callback_id", metavar="ID", shell_complete=of_callbacks)
@pass_session
def show_callback(session: Session, /, callback_id: str) -> None:
    """One callback with every attempt to deliver it."""
    found = session.with_engine(lambda engine: engine.callbacks.get(callback_id))
    if found is None:
        raise UnknownRecord(f"there is no callback {callback_id}")
    view = CallbackDetail.of(found)
    session.screen.card(view, card_of(view))


@callbacks.command(
    "replay",
    epilog="\b\nExamples:\n  roughneck callbacks replay msg_1 msg_2\n"
    "  roughneck callbacks replay --dead --endpoint ep_1\n"
    "  roughneck callbacks replay --delivered --since '2026-11-23 10:00:00'",
)
@click.argument("callback_ids", metavar="[ID]...", nargs=-1, shell_complete=of_callbacks)
@app_option()
@endpoint_option
@since_option
@until_option
@click.option("--dead", "state", flag_value="dead", help="All dead ones that fit.")
@click.option("--delivered", "state", flag_value="delivered", help="All delivered ones that fit.")
@pass_session
def replay(
    session: Session, /, callback_ids: tuple[str, ...], state: str | None, **given: object
) -> None:
    """Deliver ended callbacks once more, with the same webhook-id and the same bytes."""
    if bool(callback_ids) == bool(state):
        raise click.UsageError("name callbacks, or say --dead or --delivered")

    async def act(engine: Engine) -> int:
        if not state:
            return await engine.callbacks.replay(callback_ids)
        ids: list[str] = []
        async for some in engine.callbacks.matching(_filter(state, given)):
            ids += some
        return sum(
            [
                await engine.callbacks.replay(ids[start : start + REPLAYED_MAX])
                for start in range(0, len(ids), REPLAYED_MAX)
            ]
        )

    count = session.with_engine(act)
    session.audit("replay_callbacks", ",".join(callback_ids) or str(state), replayed=count)
    session.screen.say(f"{count} callbacks are delivered once more", {"replayed": count})


def card_of(view: CallbackDetail) -> dict[str, object]:
    """A callback with its log as a card."""
    attempts = [
        f"{local(one.at)}  {one.status or one.error}  {one.took_ms} ms  {one.reason} {one.answer}"
        for one in view.attempts
    ]
    return {
        "callback": view.id,
        "state": view.state,
        "job": "a test" if view.test else f"{view.job_id} ({view.job_state})",
        "app": view.app,
        "url": view.url,
        "next attempt": local(view.due_at),
        "reason": view.reason,
        "attempts": "\n".join(attempts),
    }


def _filter(state: str, given: dict[str, object]) -> CallbackFilter:
    app, endpoint = given["app"], given["endpoint"]
    return CallbackFilter(
        app=str(app) if app else None,
        states=(CallbackState(state),),
        endpoint=str(endpoint) if endpoint else None,
        since_ms=_ms(given["since"]),
        until_ms=_ms(given["until"]),
    )


def _ms(local_time: object) -> int:
    """A time of this machine's zone as wall milliseconds."""
    return milliseconds(local_time.astimezone(UTC) if isinstance(local_time, datetime) else None)


def _row(view: CallbackDetail) -> Row:
    last = view.attempts[-1] if view.attempts else None
    return {
        "ID": view.id,
        "STATE": view.state,
        "APP": view.app,
        "JOB": view.job_id or "a test",
        "ENDED": view.job_state,
        "ATTEMPTS": len(view.attempts),
        "LAST": "" if last is None else str(last.status or last.error),
        "NEXT": age_of(view.due_at),
        "URL": view.url,
    }
