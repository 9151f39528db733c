"""`roughneck keys`: API keys. Over HTTP it takes a key to make one; the first is made here."""

import click

from gateway.auth import EVERY_APP, Scope, mint_key
from gateway.wire_registry import KeyView
from ops.cli.screen import age_of
from ops.cli.session import Group, Session, app_option, pass_session
from streams.clock import SystemClock
from streams.errors import Rejected

DAY_MS = 86_400_000


class UnknownKey(Rejected):
    """No API key has that id."""

    code = "unknown_key"


@click.group(cls=Group)
def keys() -> None:
    """API keys of apps and operators."""


@keys.command(
    "create",
    epilog="\b\nExamples:\n  roughneck keys create --app web\n"
    "  roughneck keys create --app '*' --scope admin --note 'my laptop'",
)
@app_option(required=True, help="The app; '*' for an operator who sees every app.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("submit", "read"),
    show_default=True,
    type=click.Choice([str(scope) for scope in Scope]),
    help="What it may do; repeat it.",
)
@click.option("--days", type=click.IntRange(min=1), help="Days until it expires.")
@click.option("--note", default="", help="To tell it from others.")
@pass_session
def create(
    session: Session, /, app: str, scopes: tuple[str, ...], days: int | None, note: str
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    now_ms = SystemClock().now_ms()
    expires_ms = now_ms + days * DAY_MS if days else 0
    record, text = mint_key(app, scopes, now_ms=now_ms, expires_ms=expires_ms, note=note)
    session.with_engine(lambda engine: engine.directory.put_key(record))
    if not session.screen.as_json:
        whose = "every app" if app == EVERY_APP else app
        session.screen.note(f"key {record.id} of {whose}: {', '.join(scopes)}; shown this once")
    session.screen.say(text, KeyView.of(record, text))


@keys.command("list")
@app_option()
@pass_session
def list_keys(session: Session, /, app: str | None) -> None:
    """The keys, without their secrets."""
    found = session.with_engine(lambda engine: engine.directory.keys())
    views = [KeyView.of(key) for key in found.values() if app in (None, key.app)]
    rows = [
        {
            "ID": view.id,
            "APP": view.app,
            "SCOPES": ",".join(view.scopes),
            "CREATED": age_of(view.created_at),
            "EXPIRES": age_of(view.expires_at),
            "NOTE": view.note,
        }
        for view in sorted(views, key=lambda view: (view.app, view.id))
    ]
    session.screen.show(views, rows, empty="there is no key; make one: roughneck keys create")


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@pass_session
def revoke(session: Session, /, key_id: str) -> None:
    """Revoke a key: every gateway refuses it within 5 s."""
    if not session.with_engine(lambda engine: engine.directory.delete_key(key_id)):
        raise UnknownKey(f"there is no key {key_id}")
    session.screen.say(f"{key_id} is revoked", {"id": key_id, "outcome": "revoked"})
