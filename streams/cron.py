"""When a cron line is due in a time zone, in whole seconds since the epoch.

The arithmetic of lines is cronsim's, on wall time; what a zone makes of wall time is decided here.
A line whose minute and hour are both given (neither begins with `*`) names times of the day: each
is due once. One that the clocks leap over is due when they have leapt, one that they show twice is
due the first time. Any other line speaks of every minute or hour: it is due whenever the clock on
the wall says so, twice in the hour that comes twice, and not at all in the one that does not come.
"""

from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from streams.errors import InvalidInput

LINE_MAX = 200  # characters
PROBE_S = 7 * 86_400  # no zone changes its offset twice within a week
EPOCH = datetime(1970, 1, 1)
SECOND = timedelta(seconds=1)


def due_times(line: str, zone: ZoneInfo, after_s: int) -> Iterator[int]:
    """When a line is due after a moment, in order. They do not depend on that moment."""
    *_, minute, hour, _, _, _ = line.split()
    if minute.startswith("*") or hour.startswith("*"):
        return _by_the_wall(line, zone, after_s)
    return _once_each(line, zone, after_s)


def check_line(line: str) -> None:
    """Raise InvalidInput for what is no cron line, and for one that is never due."""
    if len(line) > LINE_MAX:
        raise InvalidInput(f"a cron line has at most {LINE_MAX} characters", "$.cron")
    fields = line.split()
    if len(fields) not in (5, 6):
        raise InvalidInput("a cron line has five fields, or six with seconds in front", "$.cron")
    try:
        due = next(CronSim(line, EPOCH), None)
    except CronSimError as error:
        if not _is_line([*fields[:-2], "*", fields[-1]]):
            raise InvalidInput(f"not a cron line: {str(error).lower()}", "$.cron") from None
        due = None
    if due is None:
        raise InvalidInput("never due: no such day is in those months", "$.cron")


@cache
def zone_of(name: str) -> ZoneInfo:
    """A zone of the tzdata package, so the same on every machine. Raises InvalidInput."""
    if name not in _zone_names():
        raise InvalidInput("no time zone; one is `Europe/Copenhagen`", "$.zone")
    file = (resources.files("tzdata") / "zoneinfo").joinpath(*name.split("/"))
    with file.open("rb") as opened:
        return ZoneInfo.from_file(opened, key=name)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset((resources.files("tzdata") / "zones").read_text("utf-8").split())


def _is_line(fields: list[str]) -> bool:
    """Whether cronsim reads it. It refuses a day that a month lacks as if it could not."""
    try:
        CronSim(" ".join(fields), EPOCH)
    except CronSimError:
        return False
    return True


def _once_each(line: str, zone: ZoneInfo, after_s: int) -> Iterator[int]:
    last_s = after_s
    for wall_s in _walls(line, after_s + _offset(zone, after_s)):
        at_s = _moment(zone, wall_s)
        if at_s > last_s:  # several times that were leapt over are one moment
            yield at_s
            last_s = at_s


def _by_the_wall(line: str, zone: ZoneInfo, after_s: int) -> Iterator[int]:
    start_s: int | None = after_s + 1
    while start_s is not None:
        start_s = yield from _until_change(line, zone, start_s)


def _until_change(line: str, zone: ZoneInfo, start_s: int) -> Generator[int, None, int | None]:
    """The times from `start_s` on while the offset stays; then when it changed."""
    offset = _offset(zone, start_s)
    looked_s = start_s
    for wall_s in _walls(line, start_s + offset - 1):
        at_s = wall_s - offset
        changed_s = _first_change(zone, looked_s, at_s)
        if changed_s is not None:
            return changed_s
        yield at_s
        looked_s = at_s
    return None


def _walls(line: str, after_s: int) -> Iterator[int]:
    """The wall times of a line, as seconds since the epoch if the wall were in UTC."""
    for moment in CronSim(line, EPOCH + after_s * SECOND):
        yield (moment - EPOCH) // SECOND


def _moment(zone: ZoneInfo, wall_s: int) -> int:
    """When the wall shows this time, or showed it first, or has leapt over it."""
    wall = EPOCH + wall_s * SECOND
    before, after = (wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    assert before is not None
    assert after is not None
    first_s = wall_s - before // SECOND
    if _offset(zone, first_s) == before // SECOND:
        return first_s
    leapt_s = _first_change(zone, wall_s - after // SECOND, first_s)
    assert leapt_s is not None
    return leapt_s


def _first_change(zone: ZoneInfo, start_s: int, end_s: int) -> int | None:
    """The first second after `start_s`, up to `end_s`, with another offset; None for none."""
    was, low = _offset(zone, start_s), start_s
    while low < end_s:
        high = min(low + PROBE_S, end_s)
        if _offset(zone, high) != was:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, middle) == was else (low, middle)
            return high
        low = high
    return None


def _offset(zone: ZoneInfo, at_s: int) -> int:
    """Seconds that the wall is ahead of UTC."""
    ahead = datetime.fromtimestamp(at_s, UTC).astimezone(zone).utcoffset()
    assert ahead is not None
    return ahead // SECOND
