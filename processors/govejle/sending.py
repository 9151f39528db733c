"""When an issue is sent: a local wall time made an instant, past clock changes and quiet hours."""

from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec


class Why(StrEnum):
    """What decided the time, the last that had a say."""

    AS_ASKED = "as_asked"
    GAP = "dst_gap"  # the clock skips the time: the first valid one after it
    FOLD = "dst_fold"  # the clock shows the time twice: the first of the two
    NOT_BEFORE = "not_before"
    QUIET_HOURS = "quiet_hours"


Clock = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class QuietHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is sent from `start` until `end`, local time; past midnight where end is earlier."""

    start: Clock
    end: Clock


class Sending(msgspec.Struct, frozen=True):
    """The instant, and what stood in the way of the time that was asked for."""

    at: datetime  # UTC
    why: Why
    conflicts: tuple[str, ...]


def sending_time(
    asked: datetime, zone: ZoneInfo, not_before: datetime | None, quiet: QuietHours | None
) -> Sending:
    """The first instant at or after the local time `asked` at which the issue may be sent."""
    at, why, conflicts = first_valid(asked, zone)
    if not_before is not None:
        earliest = instant(not_before, zone)
        if at < earliest:
            conflicts.append(f"not before {shown(earliest, zone)}")
            at, why = earliest, Why.NOT_BEFORE
    if quiet is not None and (end := quiet_until(at.astimezone(zone), quiet)) is not None:
        conflicts.append(f"{shown(at, zone)} lies in the quiet hours")
        at, why = first_valid(end, zone)[0], Why.QUIET_HOURS
    return Sending(at, why, tuple(conflicts))


def first_valid(local: datetime, zone: ZoneInfo) -> tuple[datetime, Why, list[str]]:
    """The instant of a wall time: after a gap where the clock skips it, the first of a fold."""
    first = local.replace(tzinfo=zone, fold=0)
    second = local.replace(tzinfo=zone, fold=1)
    at = first.astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) != local:
        # PEP 495: in a gap, fold=0 reads the time with the offset from before the change; what
        # `second` reads is as much earlier as the gap is long. The gap begins when they meet.
        at = gap_end(second.astimezone(UTC), at, zone)
        return at, Why.GAP, [f"the clock skips {local:%H:%M}: {shown(at, zone)} is next"]
    if first.utcoffset() != second.utcoffset():
        return at, Why.FOLD, [f"the clock shows {local:%H:%M} twice: the first one counts"]
    return at, Why.AS_ASKED, []


def gap_end(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The instant between two at which the zone's offset changes, to the second."""
    old = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


def quiet_until(local: datetime, quiet: QuietHours) -> datetime | None:
    """The wall time at which the quiet hours around `local` end; None outside of them."""
    start, end = time.fromisoformat(quiet.start), time.fromisoformat(quiet.end)
    clock = local.time()
    is_quiet = start <= clock < end if start <= end else clock >= start or clock < end
    if not is_quiet:
        return None
    days = 1 if end <= start <= clock else 0
    return datetime.combine(local.date() + timedelta(days=days), end)


def instant(moment: datetime, zone: ZoneInfo) -> datetime:
    """`moment` in UTC; one without an offset is the zone's wall time."""
    return moment.astimezone(UTC) if moment.tzinfo else first_valid(moment, zone)[0]


def shown(at: datetime, zone: ZoneInfo) -> str:
    """`2026-10-25 02:30 +02:00`."""
    return at.astimezone(zone).isoformat(" ", "minutes")
