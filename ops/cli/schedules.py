"""`roughneck schedules`: work that is to be done again and again."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import click
import msgspec

from gateway.call import decode
from gateway.planning import job_of
from gateway.scheduling import inside_job, job_request, schedule_of, timing_of, triggered
from gateway.submission import Origin
from gateway.wire import CallbackTarget, JobAccepted, links_of
from gateway.wire_schedules import (
    InstantView,
    PreviewAnswer,
    PreviewRequest,
    ScheduleRequest,
    ScheduleView,
)
from ops.cli.completing import of_processors, of_schedules
from ops.cli.screen import Row, age_of, local
from ops.cli.session import Group, Session, app_option, pass_session
from ops.cli.watching import Watched
from ops.cli.work import catalog_of, payload_of
from ops.links import Engine
from streams.errors import Rejected
from streams.model import Priority
from streams.schedule import Misfire, Overlap, check, instants
from streams.schedules import Standing

APP = "cli"
PAGE = 200

name_argument = click.argument("name", metavar="NAME", shell_complete=of_schedules)
own_app = app_option(default=APP, show_default=True, help="Whose schedule it is.")
cron_option = click.option("--cron", metavar="LINE", help="Five fields; six with seconds in front.")
every_option = click.option("--every", "every_s", type=click.FloatRange(min=1), help="Seconds.")
zone_option = click.option("--zone", default="UTC", show_default=True, help="Europe/Copenhagen.")


class UnknownSchedule(Rejected):
    """The app has no schedule of that name."""

    code = "unknown_schedule"


@click.group(cls=Group)
def schedules() -> None:
    """Schedules: jobs by cron line or interval."""


@schedules.command("list", cls=Watched, epilog="\b\nExample:\n  roughneck schedules list --app web")
@app_option()
@pass_session
def list_schedules(session: Session, /, app: str | None) -> None:
    """The schedules, and when each is due."""

    async def act(engine: Engine) -> list[Standing]:
        page = await engine.schedules.page(app, "", PAGE)
        found = list(page.items)
        while page.cursor:
            page = await engine.schedules.page(app, page.cursor, PAGE)
            found += page.items
        return found

    views = [ScheduleView.of(standing) for standing in session.with_engine(act)]
    session.screen.show(views, [_row(view) for view in views], empty="there is no schedule")


@schedules.command("show", epilog="\b\nExample:\n  roughneck schedules show nightly --app web")
@name_argument
@own_app
@pass_session
def show(session: Session, /, name: str, app: str) -> None:
    """Everything about NAME."""
    _show(session, session.with_engine(lambda engine: _existing(engine, name, app)))


@schedules.command(
    "add",
    epilog="""\b
Examples:
  roughneck schedules add nightly echo @hi.json --cron '30 2 * * *' --zone Europe/Copenhagen
  roughneck schedules add pulse echo '{"message": "hi"}' --every 90 --overlap skip
  roughneck schedules add weekly govejle-newsletter @week.json --cron '0 6 * * MON' --replace""",
)
@name_argument
@click.argument("processor", shell_complete=of_processors)
@click.argument("payload", default="{}")
@own_app
@cron_option
@every_option
@zone_option
@click.option("--starts", "starts_at", metavar="TIME", help="RFC 3339: no tick before it.")
@click.option("--ends", "ends_at", metavar="TIME", help="RFC 3339: no tick from it on.")
@click.option("--jitter", "jitter_s", type=click.FloatRange(min=0), help="Seconds.")
@click.option("--misfire", type=click.Choice([str(one) for one in Misfire]), help="Missed ticks.")
@click.option(
    "--overlap",
    type=click.Choice([str(one) for one in Overlap]),
    help="While the job before has not ended.",
)
@click.option(
    "--priority", type=click.Choice([str(one) for one in Priority]), help="How urgent each job is."
)
@click.option(
    "--attempts", "attempts_max", type=click.IntRange(1, 100), help="Before a job is dead."
)
@click.option(
    "--job-timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that one attempt may take.",
)
@click.option("--expires", "expires_s", type=click.FloatRange(min=0), help="Seconds.")
@click.option("--callback", metavar="URL", help="Where to tell the app how each job ended.")
@click.option("--tag", "tags", multiple=True, help="A tag; repeat it.")
@click.option("--replace", is_flag=True, help="In place of the one of that name.")
@pass_session
def add(
    session: Session, /, name: str, processor: str, payload: str, app: str, **fields: Any
) -> None:
    """Make a job of PROCESSOR with PAYLOAD (JSON, @FILE or -) again and again."""
    replace = fields.pop("replace")
    request = _request(name, processor, payload, fields)

    async def act(engine: Engine) -> Standing:
        origin = Origin(app, "", await engine.schedules.now_ms())
        with inside_job():
            job = job_of(job_request(request), origin, await catalog_of(engine))
        schedule = schedule_of(name, request, origin, job)
        store = engine.schedules
        return await (store.put(schedule) if replace else store.create(schedule))

    standing = session.with_engine(act)
    session.audit("put_schedule" if replace else "create_schedule", name, of_app=app)
    _show(session, standing)


@schedules.command("remove", epilog="\b\nExample:\n  roughneck schedules remove nightly --app web")
@name_argument
@own_app
@pass_session
def remove(session: Session, /, name: str, app: str) -> None:
    """Forget NAME; jobs that it made stay."""
    if not session.with_engine(lambda engine: engine.schedules.remove(f"{app}|{name}")):
        raise UnknownSchedule(f"{app} has no schedule {name}")
    session.audit("delete_schedule", name, of_app=app)
    session.screen.say(f"{name} is removed", {"name": name, "outcome": "removed"})


@schedules.command("pause", epilog="\b\nExample:\n  roughneck schedules pause nightly --app web")
@name_argument
@own_app
@pass_session
def pause(session: Session, /, name: str, app: str) -> None:
    """Fire no more ticks of NAME; jobs that were made go on."""
    standing = session.with_engine(lambda engine: engine.schedules.pause(f"{app}|{name}"))
    _changed(session, "pause_schedule", standing, name, app)


@schedules.command("resume", epilog="\b\nExample:\n  roughneck schedules resume nightly --app web")
@name_argument
@own_app
@pass_session
def resume(session: Session, /, name: str, app: str) -> None:
    """Fire ticks of NAME again; those of the pause are not made up for."""
    standing = session.with_engine(lambda engine: engine.schedules.resume(f"{app}|{name}"))
    _changed(session, "resume_schedule", standing, name, app)


@schedules.command(
    "trigger",
    epilog="\b\nExample:\n  roughneck wait $(roughneck schedules trigger nightly --app web)",
)
@name_argument
@own_app
@pass_session
def trigger(session: Session, /, name: str, app: str) -> None:
    """Make the job of NAME now, beside its ticks; prints its id."""

    async def act(engine: Engine) -> JobAccepted:
        standing = await _existing(engine, name, app)
        job = triggered(standing.schedule, await engine.schedules.now_ms())
        (made,) = await engine.broker.submit([job])
        return JobAccepted(made.id, made.state, made.created, links_of(made.id))

    accepted = session.with_engine(act)
    session.audit("trigger_schedule", name, of_app=app, job=accepted.id)
    session.screen.say(accepted.id, accepted)


@schedules.command(
    "preview",
    epilog="\b\nExamples:\n  roughneck schedules preview nightly --app web\n"
    "  roughneck schedules preview --cron '30 2 * * *' --zone Europe/Copenhagen --count 5",
)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=of_schedules)
@own_app
@cron_option
@every_option
@zone_option
@click.option(
    "--count", default=10, show_default=True, type=click.IntRange(1, 1_000), help="How many."
)
@pass_session
def preview(session: Session, /, name: str | None, app: str, count: int, **fields: Any) -> None:
    """The next instants of NAME, or of a cron line or interval, in its zone and in UTC."""
    if bool(name) == bool(fields["cron"] or fields["every_s"]):
        raise click.UsageError("name a schedule, or give --cron or --every")
    now_ms = round(datetime.now(UTC).timestamp() * 1_000)
    if name:
        standing = session.with_engine(lambda engine: _existing(engine, name, app))
        timing = standing.schedule.timing
    else:
        timing = timing_of(decode(msgspec.json.encode(fields), PreviewRequest))
        check(timing, now_ms)
    coming = islice(instants(timing, now_ms), count)
    views = tuple(InstantView.of(instant_ms, timing.zone) for instant_ms in coming)
    rows: list[Row] = [
        {"LOCAL": f"{view.local:%a %Y-%m-%d %H:%M:%S %z}", "UTC": f"{view.at:%Y-%m-%d %H:%M:%S}"}
        for view in views
    ]
    session.screen.show(PreviewAnswer(timing.zone, views), rows, empty="no instant is left")


async def _existing(engine: Engine, name: str, app: str) -> Standing:
    standing = await engine.schedules.get(f"{app}|{name}")
    if standing is None:
        raise UnknownSchedule(f"{app} has no schedule {name}")
    return standing


def _request(name: str, processor: str, payload: str, fields: dict[str, Any]) -> ScheduleRequest:
    """The request that a gateway would be sent, checked as there."""
    callback = fields.pop("callback")
    job = {
        "processor": processor,
        "payload": payload_of(payload),
        "callback": CallbackTarget(callback) if callback else None,
        **{
            each: fields.pop(each)
            for each in ("priority", "expires_s", "tags", "attempts_max", "timeout_s")
        },
    }
    given = {each: value for each, value in fields.items() if value is not None}
    whole = {"name": name, "job": {each: v for each, v in job.items() if v is not None}, **given}
    return decode(msgspec.json.encode(whole), ScheduleRequest)


def _changed(
    session: Session, /, action: str, standing: Standing | None, name: str, app: str
) -> None:
    if standing is None:
        raise UnknownSchedule(f"{app} has no schedule {name}")
    session.audit(action, name, of_app=app)
    _show(session, standing)


def _show(session: Session, /, standing: Standing) -> None:
    view = ScheduleView.of(standing)
    payload = b"" if isinstance(view.job.payload, msgspec.UnsetType) else bytes(view.job.payload)
    late = timedelta(seconds=view.jitter_s)
    facts = {
        "schedule": view.name,
        "app": view.app,
        "when": _when(view),
        "from": local(view.starts_at),
        "until": local(view.ends_at),
        "jitter": f"{late.total_seconds():g} s" if late else "",
        "state": _state(view),
        "next": f"{view.next.local:%a %Y-%m-%d %H:%M:%S %z}" if view.next else "",
        "runs": local(view.runs_at),
        "last": local(view.last_at),
        "last job": view.last_job,
        "ticks": f"{view.fired} fired, {view.missed} missed, {view.skipped} skipped",
        "misfire": view.misfire,
        "overlap": view.overlap,
        "processor": view.job.processor,
        "payload": payload.decode(),
        "callback": view.job.callback.url if view.job.callback else "",
        "tags": " ".join(view.job.tags),
        "declared": "in the settings" if view.declared else "",
    }
    session.screen.card(view, facts)


def _row(view: ScheduleView) -> Row:
    return {
        "NAME": view.name,
        "APP": view.app,
        "WHEN": _when(view),
        "STATE": _state(view),
        "NEXT": age_of(view.runs_at),
        "LAST": age_of(view.last_at),
        "FIRED": view.fired,
        "MISSED": view.missed,
        "SKIPPED": view.skipped,
        "PROCESSOR": view.job.processor,
        "SETTINGS": view.declared,
    }


def _when(view: ScheduleView) -> str:
    return f"{view.cron} {view.zone}" if view.cron else f"every {view.every_s:g} s"


def _state(view: ScheduleView) -> str:
    if view.paused:
        return "paused"
    return "active" if view.next else "ended"
