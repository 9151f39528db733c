"""`roughneck classes`: the three resource classes, their lanes, and how much may run at once."""

import click

from gateway.wire_control import RateLimit
from ops.cli.screen import Row, duration
from ops.cli.session import Group, Session, pass_session
from ops.cli.watching import Watched
from streams.inspector import ClassView
from streams.learned import Offness
from streams.model import Rate, ResourceClass

NAME = click.argument("name", metavar="CLASS", type=click.Choice([str(n) for n in ResourceClass]))
NO_LIMIT = "none"
PERIOD = click.FloatRange(0.001, 86_400)


@click.group(cls=Group)
def classes() -> None:
    """Resource classes: their lanes, pause, resume, limits."""


@classes.command("list", cls=Watched, epilog="\b\nExample:\n  roughneck classes list --watch")
@pass_session
def list_classes(session: Session, /) -> None:
    """The classes and their pools."""
    views = session.with_engine(lambda engine: engine.inspector.classes())
    session.screen.show(views, [_row(view) for view in views])


@classes.command("lanes", cls=Watched, epilog="\b\nExample:\n  roughneck classes lanes -o json")
@pass_session
def lanes(session: Session, /) -> None:
    """Every lane that has entries, the oldest first."""
    views = session.with_engine(lambda engine: engine.inspector.classes())
    found = sorted(
        (lane for view in views for lane in view.lanes), key=lambda lane: -lane.oldest_age_ms
    )
    rows = [
        {
            "CLASS": view.lane.resource_class,
            "APP": view.lane.app,
            "PRIORITY": view.lane.priority,
            "PROCESSOR": view.lane.processor,
            "MODEL": view.lane.model,
            "WAITING": view.waiting,
            "ACTIVE": view.active,
            "OLDEST": duration(view.oldest_age_ms),
        }
        for view in found
    ]
    session.screen.show(found, rows, empty="no lane has entries")


@classes.command("pause", epilog="\b\nExample:\n  roughneck classes pause ollama")
@NAME
@pass_session
def pause(session: Session, /, name: str) -> None:
    """Start no more jobs of CLASS; what runs goes on."""
    changed = session.with_engine(lambda engine: engine.broker.pause(ResourceClass(name)))
    session.audit("pause_class", name)
    _say(session, name, f"class {name} is paused" if changed else f"{name} was paused already")


@classes.command("resume", epilog="\b\nExample:\n  roughneck classes resume ollama")
@NAME
@pass_session
def resume(session: Session, /, name: str) -> None:
    """Start jobs of CLASS again."""
    changed = session.with_engine(lambda engine: engine.broker.resume(ResourceClass(name)))
    session.audit("resume_class", name)
    _say(session, name, f"class {name} goes on" if changed else f"{name} was not paused")


@classes.command(
    "limit",
    epilog="\b\nExamples:\n  roughneck classes limit io 50\n"
    "  roughneck classes limit io none --app web\n"
    "  roughneck classes limit ollama 1 --pool ollama@mac-studio",
)
@NAME
@click.argument("total", metavar="N|none")
@click.option("--app", metavar="NAME", help="Limit one app within the class.")
@click.option("--pool", metavar="POOL", help="Limit one pool of the class.")
@pass_session
def limit(session: Session, /, name: str, total: str, app: str | None, pool: str | None) -> None:
    """Let at most N jobs of CLASS run at once over all workers."""
    if app and pool:
        raise click.UsageError("--app and --pool exclude each other")
    if pool and pool.partition("@")[0] != name:
        raise click.UsageError(f"{pool} is no pool of class {name}")
    count = _count(total)
    resource_class = ResourceClass(name)
    if app:
        session.with_engine(lambda engine: engine.broker.set_app_limit(resource_class, app, count))
    else:
        session.with_engine(lambda engine: engine.broker.set_limit(pool or name, count))
    session.audit("limit_class", name, owner=app, pool=pool, limit=total)
    whose = f"{name} of app {app}" if app else pool or name
    _say(session, name, f"{whose}: {'no limit' if count is None else f'at most {count}'}")


@classes.command(
    "rate",
    epilog="\b\nExamples:\n  roughneck classes rate io 60 --per 60\n"
    "  roughneck classes rate io 5 --app web --burst 20\n  roughneck classes rate io none",
)
@NAME
@click.argument("jobs", metavar="N|none")
@click.option("--per", "per_s", default=1.0, show_default=True, type=PERIOD, help="Seconds.")
@click.option("--burst", type=click.IntRange(min=1), help="At once after a rest; default: 1 s.")
@click.option("--app", metavar="NAME", help="Limit one app within the class.")
@pass_session
def rate(
    session: Session,
    /,
    name: str,
    jobs: str,
    per_s: float,
    burst: int | None,
    app: str | None,
) -> None:
    """Let at most N attempts of CLASS start in a time over all workers."""
    count = _count(jobs)
    wanted = None if count is None else RateLimit(count, per_s, burst).rate
    resource_class = ResourceClass(name)
    session.with_engine(lambda engine: engine.control.set_rate(resource_class, wanted, app))
    session.audit("limit_class", name, owner=app, rate=jobs, per_s=per_s, burst=burst)
    whose = f"{name} of app {app}" if app else name
    _say(session, name, f"{whose}: {_pace(wanted)}")


def _pace(rate: Rate | None) -> str:
    if rate is None:
        return "no rate"
    return f"at most {rate.jobs} in {rate.per_ms / 1_000:g} s, {rate.burst} at once"


def _count(total: str) -> int | None:
    if total == NO_LIMIT:
        return None
    if not total.isdecimal():
        raise click.UsageError(f"{total!r} is neither a number nor `{NO_LIMIT}`")
    return int(total)


def _say(session: Session, name: str, sentence: str) -> None:
    session.screen.say(sentence, {"class": name, "outcome": sentence})


def _off(offness: Offness | None) -> str:
    if offness is None:
        return ""
    return f"{duration(offness.off_ms)} of {duration(offness.wait_ms)}"


def _row(view: ClassView) -> Row:
    pools = [
        f"{pool} {at.leases}/{'∞' if at.limit is None else at.limit}"
        for pool, at in sorted(view.pools.items())
    ]
    return {
        "CLASS": view.name,
        "STATE": "paused" if view.paused else "open",
        "WAITING": view.waiting,
        "ACTIVE": view.active,
        "DELAYED": view.delayed,
        "OLDEST": duration(view.oldest_age_ms),
        "LANES": len(view.lanes),
        "POOLS": ", ".join(pools),
        "RATE": _pace(view.rate) if view.rate else "",
        "ESTIMATES OFF": _off(view.offness),
    }
