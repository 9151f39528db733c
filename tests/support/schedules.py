"""Schedules for tests, and moments of the wall."""

from datetime import datetime
from itertools import takewhile
from typing import Any

from streams.cron import zone_of
from streams.schedule import Schedule, Timing, instants
from tests.support.build import new_job

COPENHAGEN = "Europe/Copenhagen"


def schedule(name: str = "nightly", app: str = "etyde", **fields: Any) -> Schedule:
    """A schedule; fields of its timing (cron, every_ms, zone, ...) may be given directly."""
    timing = {each: fields.pop(each) for each in Timing.__struct_fields__ if each in fields}
    if not timing.keys() & {"cron", "every_ms"}:
        timing["every_ms"] = 60_000
    job = fields.pop("job", None) or new_job(b'{"n":1}', id="", app=app)
    return Schedule(app, name, Timing(**timing), job, **fields)


def moment(said: str, zone: str = COPENHAGEN) -> int:
    """Wall milliseconds of `2026-03-29 02:30` in a zone, or of a time with an offset."""
    when = datetime.fromisoformat(said)
    if when.tzinfo is None:
        when = when.replace(tzinfo=zone_of(zone))
    return round(when.timestamp() * 1_000)


def on_the_wall(instant_ms: int, zone: str = COPENHAGEN) -> str:
    """An instant as `2026-03-29 03:00 +0200`; with seconds where it has some."""
    when = datetime.fromtimestamp(instant_ms / 1_000, zone_of(zone))
    return when.strftime("%Y-%m-%d %H:%M:%S %z").replace(":00 ", " ")


def between(timing: Timing, first_ms: int, last_ms: int) -> list[int]:
    """The instants after the first moment up to the last."""
    return list(takewhile(lambda at: at <= last_ms, instants(timing, first_ms)))
