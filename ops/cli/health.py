"""`roughneck health`, `settings` and `version`."""

import click

from ops.cli.session import Command, Session, pass_session
from ops.links import Engine
from ops.safety import Concern, ServerReport, Severity, concerns, survey
from ops.settings import VERSION, hide_password, rows
from streams.directory import WorkerCard
from streams.errors import Unavailable
from streams.inspector import ClassView

OK, FAILING = "ok", "failing"


@click.command(cls=Command, epilog="\b\nExample:\n  roughneck health -o json")
@pass_session
def health(session: Session, /) -> None:
    """Whether Redis answers and is safe, and whether a worker serves each class (exit 3 if not)."""

    async def act(
        engine: Engine,
    ) -> tuple[ServerReport, list[WorkerCard], list[ClassView], list[str]]:
        return (
            await survey(engine.redis),
            await engine.directory.workers(),
            await engine.inspector.classes(),
            await engine.inspector.audit(),
        )

    report, workers, classes, faults = session.with_engine(act)
    checks = [
        (
            "redis",
            OK,
            f"{report.label} at {hide_password(session.settings.redis.url) or 'embedded'}",
        ),
        *[_concern(one) for one in concerns(report)],
        _workers(workers),
        *_unserved(workers, classes),
        ("counters", FAILING if faults else OK, "; ".join(faults) or "agree with the streams"),
    ]
    items = [{"check": name, "status": status, "detail": text} for name, status, text in checks]
    session.screen.show(items, [{k.upper(): v for k, v in item.items()} for item in items])
    failing = [name for name, status, _ in checks if status == FAILING]
    if failing:
        raise Unavailable(f"failing: {', '.join(failing)}")


@click.command(cls=Command, epilog="\b\nExample:\n  roughneck settings --changed")
@click.option("--changed", is_flag=True, help="Only what differs from its default.")
@pass_session
def settings(session: Session, /, *, changed: bool) -> None:
    """Every setting with its value; secrets are hidden."""
    found = [row for row in rows(session.settings) if not changed or row.value != row.default]
    items = {row.name: row.value for row in found}
    table = [{"SETTING": row.name, "VALUE": row.value, "DEFAULT": row.default} for row in found]
    session.screen.show(items, table, empty="everything has its default")


@click.command(cls=Command, epilog="\b\nExample:\n  roughneck version")
@pass_session
def version(session: Session, /) -> None:
    """Print the version."""
    session.screen.say(VERSION, {"version": VERSION})


def _concern(concern: Concern) -> tuple[str, str, str]:
    bad = concern.severity is Severity.REFUSED
    return ("redis", FAILING if bad else str(concern.severity), concern.sentence)


def _unserved(cards: list[WorkerCard], classes: list[ClassView]) -> list[tuple[str, str, str]]:
    """A class with jobs that nobody serves, with who fell silent."""
    served = {name for card in _able(cards) for name in card.slots}
    found = []
    for view in classes:
        if (view.waiting or view.active) and view.name not in served:
            lost = [card for card in cards if view.name in card.slots and not card.healthy]
            who = "".join(f"; {card.id}: silent for {card.silent_s:.0f} s" for card in lost)
            jobs = f"{view.waiting} wait, {view.active} active"
            found.append(("workers", FAILING, f"no worker serves {view.name}: {jobs}{who}"))
    return found


def _able(cards: list[WorkerCard]) -> list[WorkerCard]:
    return [card for card in cards if card.healthy and not card.draining]


def _workers(cards: list[WorkerCard]) -> tuple[str, str, str]:
    able = _able(cards)
    served = sorted({name for card in able for name in card.slots})
    if not able:
        return ("workers", FAILING, "no healthy worker lives")
    return ("workers", OK, f"{len(able)} for {', '.join(served)}")
