"""Local times of Vejle: a date where the page gives no more, else a time with its offset."""

import re
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
YEAR_MIN, YEAR_MAX = 1990, 2100
SHORT_PARTS = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(.*)")

Local = date | datetime  # a datetime bears Copenhagen's offset


def parse_iso(text: str) -> Local | None:
    """An ISO 8601 date or time as it stands in markup; without an offset it is Copenhagen's.

    Midnight is taken for a date without a time: that is what it means in event markup.
    """
    match = SHORT_PARTS.fullmatch(text.strip())
    if match is not None:
        text = f"{match[1]}-{match[2]:0>2}-{match[3]:0>2}{match[4]}"
    try:
        moment = datetime.fromisoformat(text.strip())
        if not YEAR_MIN <= moment.year <= YEAR_MAX:
            return None
        moment = localized(moment)
    except (ValueError, OverflowError):
        return None
    return moment.date() if moment.time() == time() else moment


def localized(moment: datetime) -> datetime:
    """`moment` in Copenhagen; one that the clock skips in spring is moved on by the hour."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=COPENHAGEN).astimezone(UTC)
    return moment.astimezone(COPENHAGEN)


def at(day: date, clock: time | None) -> Local:
    """The local time of `clock` on `day`, or the day where there is no clock time."""
    return day if clock is None else localized(datetime.combine(day, clock))


def day_of(local: Local) -> date:
    """The date alone."""
    return local.date() if isinstance(local, datetime) else local


def is_timed(local: Local | None) -> bool:
    """Whether a time of day is known."""
    return isinstance(local, datetime)


def render(local: Local | None) -> str | None:
    """`2026-06-12` or `2026-06-12T19:30:00+02:00`."""
    return None if local is None else local.isoformat()
