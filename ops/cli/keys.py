"""`roughneck keys`: API keys. Over HTTP it takes a key to make one; the first is made here."""

import click

from gateway.auth import EVERY_APP, OVERLAP_S, Scope, mint_key, rotated
from gateway.peer import networks
from gateway.wire_registry import KeyView
from ops.cli.completing import of_keys
from ops.cli.screen import age_of
from ops.cli.session import Group, Session, app_option, pass_session
from ops.links import Engine
from streams.clock import SystemClock
from streams.directory import ApiKey
from streams.errors import Rejected

DAY_MS = 86_400_000
HOUR_S = 3_600


class UnknownKey(Rejected):
    """No API key has that id."""

    code = "unknown_key"


@click.group(cls=Group)
def keys() -> None:
    """API keys of apps and operators."""


@keys.command(
    "create",
    epilog="\b\nExamples:\n  roughneck keys create --app web\n"
    "  roughneck keys create --app '*' --scope admin --note 'my laptop' --days 90\n"
    "  roughneck keys create --app web --from 10.8.0.0/24",
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
@click.option("--from", "origins", multiple=True, metavar="NETWORK", help="Good from there only.")
@click.option("--note", default="", help="To tell it from others.")
@pass_session
def create(
    session: Session,
    /,
    app: str,
    scopes: tuple[str, ...],
    days: int | None,
    origins: tuple[str, ...],
    note: str,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    now_ms = SystemClock().now_ms()
    record, text = mint_key(
        app,
        scopes,
        now_ms=now_ms,
        expires_ms=now_ms + days * DAY_MS if days else 0,
        note=note,
        networks=tuple(map(str, networks(origins, "--from"))),
    )
    session.with_engine(lambda engine: engine.directory.put_key(record))
    session.audit("create_key", record.id, owner=app, scopes=scopes)
    _tell(session, record, text)


@keys.command("list", epilog="\b\nExample:\n  roughneck keys list --app web")
@app_option()
@pass_session
def list_keys(session: Session, /, app: str | None) -> None:
    """The keys, without their secrets; when each was last used, within a minute."""

    async def act(engine: Engine) -> tuple[dict[str, ApiKey], dict[str, int]]:
        return await engine.directory.keys(), await engine.directory.key_uses()

    found, uses = session.with_engine(act)
    views = [
        KeyView.of(key, used_ms=uses.get(key.id, 0))
        for key in found.values()
        if app in (None, key.app)
    ]
    rows = [
        {
            "ID": view.id,
            "APP": view.app,
            "SCOPES": ",".join(view.scopes),
            "CREATED": age_of(view.created_at),
            "EXPIRES": age_of(view.expires_at),
            "USED": age_of(view.last_used_at) or "never",
            "FROM": ",".join(view.networks),
            "REPLACED BY": view.replaced_by,
            "NOTE": view.note,
        }
        for view in sorted(views, key=lambda view: (view.app, view.id))
    ]
    session.screen.show(views, rows, empty="there is no key; make one: roughneck keys create")


@keys.command(
    "rotate",
    epilog="\b\nExamples:\n  roughneck keys rotate 3t9wz5k2m1qa\n"
    "  roughneck keys rotate 3t9wz5k2m1qa --overlap-hours 0    a key that leaked",
)
@click.argument("key_id", metavar="ID", shell_complete=of_keys)
@click.option(
    "--overlap-hours",
    default=OVERLAP_S // HOUR_S,
    show_default=True,
    type=click.IntRange(0, 720),
    help="How long the old key stays good.",
)
@pass_session
def rotate(session: Session, /, key_id: str, overlap_hours: int) -> None:
    """Make a key like ID and print it, this once; ID itself expires after the overlap."""

    async def act(engine: Engine) -> tuple[ApiKey, str]:
        known = (await engine.directory.keys()).get(key_id)
        if known is None:
            raise UnknownKey(f"there is no key {key_id}")
        now_ms = SystemClock().now_ms()
        made, text, before = rotated(known, now_ms=now_ms, overlap_s=overlap_hours * HOUR_S)
        await engine.directory.put_key(made)  # first: at no moment is there none that is good
        await engine.directory.put_key(before)
        return made, text

    made, text = session.with_engine(act)
    session.audit("rotate_key", key_id, owner=made.app, replaced_by=made.id)
    _tell(session, made, text)


@keys.command("revoke", epilog="\b\nExample:\n  roughneck keys revoke 3t9wz5k2m1qa")
@click.argument("key_id", metavar="ID", shell_complete=of_keys)
@pass_session
def revoke(session: Session, /, key_id: str) -> None:
    """Revoke a key: every gateway refuses it within 5 s."""
    if not session.with_engine(lambda engine: engine.directory.delete_key(key_id)):
        raise UnknownKey(f"there is no key {key_id}")
    session.audit("revoke_key", key_id)
    session.screen.say(f"{key_id} is revoked", {"id": key_id, "outcome": "revoked"})


def _tell(session: Session, record: ApiKey, text: str) -> None:
    """Print a key, and whose it is where that is in no script's way."""
    if not session.screen.as_json:
        whose = "every app" if record.app == EVERY_APP else record.app
        scopes = ", ".join(record.scopes)
        session.screen.note(f"key {record.id} of {whose}: {scopes}; shown this once")
    session.screen.say(text, KeyView.of(record, text))
