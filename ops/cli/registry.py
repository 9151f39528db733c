"""`roughneck workers` and `roughneck processors`: who works, and what can be done."""

import click
import msgspec

from gateway.wire_registry import ProcessorView
from ops.cli.completing import of_processors
from ops.cli.rehearsal import new, run
from ops.cli.screen import Row, age, duration, local
from ops.cli.session import Group, Session, pass_session
from ops.cli.watching import Watched
from streams.directory import SILENT_S, WorkerCard
from streams.errors import UnknownProcessor


@click.command(cls=Watched, epilog="\b\nExample:\n  roughneck workers --watch")
@pass_session
def workers(session: Session, /) -> None:
    """The workers that announced themselves within the last minute."""
    found = session.with_engine(lambda engine: engine.directory.workers())
    session.screen.show(found, [_worker_row(card) for card in found], empty="no worker lives")


@click.group(cls=Group)
def processors() -> None:
    """Processors: try one here, begin a new one, list what workers published."""


processors.add_command(run)
processors.add_command(new)


@processors.command("list", epilog="\b\nExample:\n  roughneck processors list")
@pass_session
def list_processors(session: Session, /) -> None:
    """All of them."""
    cards = session.with_engine(lambda engine: engine.directory.processors())
    views = [ProcessorView.of(cards[name]) for name in sorted(cards)]
    rows = [
        {
            "NAME": view.name,
            "VERSION": view.version,
            "CLASS": view.resource_class,
            "MODEL": view.model,
            "ATTEMPTS": view.attempts_max,
            "TIMEOUT": duration(view.timeout_s * 1_000),
            "SUMMARY": view.summary,
        }
        for view in views
    ]
    session.screen.show(views, rows, empty="no worker ever published a processor")


@processors.command("show", epilog="\b\nExample:\n  roughneck processors show ask")
@click.argument("name", shell_complete=of_processors)
@pass_session
def show(session: Session, /, name: str) -> None:
    """One processor, with the JSON Schema of its input."""
    card = session.with_engine(lambda engine: engine.directory.processors()).get(name)
    if card is None:
        raise UnknownProcessor(f"no worker ever published a processor {name!r}")
    view = ProcessorView.of(card)
    schema = msgspec.json.format(bytes(view.input_schema), indent=2).decode()
    facts = {
        "name": view.name,
        "version": view.version,
        "summary": view.summary,
        "class": view.resource_class,
        "model": view.model,
        "attempts": view.attempts_max,
        "timeout": f"{view.timeout_s:g} s",
        "dependencies": ", ".join(view.dependencies),
        "published": local(view.published_at),
        "input": schema,
    }
    session.screen.card(view, facts)


@processors.command("forget", epilog="\b\nExample:\n  roughneck processors forget old-one")
@click.argument("name", shell_complete=of_processors)
@pass_session
def forget(session: Session, /, name: str) -> None:
    """Remove a processor that no worker has any more; submits of it are refused then."""
    if not session.with_engine(lambda engine: engine.directory.forget_processor(name)):
        raise UnknownProcessor(f"no worker ever published a processor {name!r}")
    session.audit("forget_processor", name)
    session.screen.say(f"{name} is forgotten", {"name": name, "outcome": "forgotten"})


def _worker_row(card: WorkerCard) -> Row:
    slots = [f"{name} {card.running.get(name, 0)}/{card.slots[name]}" for name in card.slots]
    state = "draining" if card.draining else "ok" if card.healthy else "failing"
    if card.silent_s >= SILENT_S:
        state = "silent"
    return {
        "ID": card.id,
        "STATE": state,
        "HOST": card.host,
        "PID": card.pid,
        "VERSION": card.version,
        "SLOTS": ", ".join(slots),
        "RESIDENT": card.resident,
        "STARTED": age(card.started_ms),
        "SEEN": duration(card.silent_s * 1_000),
    }
