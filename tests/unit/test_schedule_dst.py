"""Ten cron lines in Europe/Copenhagen over 2026 and 2027, beside croniter's arithmetic.

Twice. On wall time without a zone croniter must agree with all that our rule makes of it; the
clocks of these two years are spelled out here, so that no zone database is asked. With a zone
croniter has rules of its own: every difference stands in the table, with its reason.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from croniter import croniter

from streams.cron import zone_of
from streams.schedule import Timing
from tests.support.schedules import COPENHAGEN, between, moment

FIRST, LAST = moment("2026-01-01 00:00") - 1, moment("2028-01-01 00:00") - 1
HOUR = timedelta(hours=1)
EPOCH = datetime(1970, 1, 1)
# Wall time of each leap (02:00 becomes 03:00) and of each return (03:00 becomes 02:00).
LEAPS = (datetime(2026, 3, 29, 2), datetime(2027, 3, 28, 2))
RETURNS = (datetime(2026, 10, 25, 3), datetime(2027, 10, 31, 3))

GAP = "croniter is due as long after the leap as the time lies behind it; here, when it is made"
STALE = "croniter reckons the first time after a change with the offset before it"
BOTH = "the same, and in spring with both"
AGAIN = "in autumn croniter leaves out what comes again, and is off for the next time"
TABLE = [
    (
        "30 2 * * *",
        (GAP, STALE),
        "29/3 03:00, 26/10 02:30, 28/3 03:00, 1/11 02:30",
        "29/3 03:30, 26/10 03:30, 28/3 03:30, 1/11 03:30",
    ),
    ("0 3 * * *", (STALE,), "25/10 03:00, 31/10 03:00", "25/10 04:00, 31/10 04:00"),
    ("0 0-4 * 3,10 *", (AGAIN,), "25/10 03:00, 31/10 03:00", ""),
    ("0 * * 3,10 *", (AGAIN,), "25/10 02:00, 25/10 03:00, 31/10 02:00, 31/10 03:00", ""),
    (
        "*/20 1-3 * 3,10 *",
        (AGAIN, STALE),
        "25/10 02:00, 25/10 02:20, 25/10 02:40, 25/10 03:00, 25/10 03:20, 25/10 03:40, "
        "31/10 02:00, 31/10 02:20, 31/10 02:40, 31/10 03:00, 31/10 03:20, 31/10 03:40",
        "25/10 04:00, 31/10 04:00",
    ),
    (
        "0 6 * * 1",
        (STALE, BOTH),
        "26/10 06:00, 1/11 06:00",
        "30/3 05:00, 26/10 07:00, 29/3 05:00, 1/11 07:00",
    ),
    (
        "0 12 13 * 5",
        (STALE, BOTH),
        "30/10 12:00, 5/11 12:00",
        "3/4 11:00, 30/10 13:00, 2/4 11:00, 5/11 13:00",
    ),
    (
        "0 8 * * 1#1",
        (STALE, BOTH),
        "2/11 08:00, 1/11 08:00",
        "6/4 07:00, 2/11 09:00, 5/4 07:00, 1/11 09:00",
    ),
    (
        "15 30 2 * * *",
        (GAP, STALE),
        "29/3 03:00, 26/10 02:30:15, 28/3 03:00, 1/11 02:30:15",
        "29/3 03:30:15, 26/10 03:30:15, 28/3 03:30:15, 1/11 03:30:15",
    ),
    ("30 2 29 3 *", (GAP,), "29/3 03:00", "29/3 03:30"),
]


def clocks(wall: datetime) -> list[datetime]:
    """When (UTC) the wall in Copenhagen shows a time: never, once or twice."""
    summer = any(a <= wall < b for a, b in zip(LEAPS, RETURNS, strict=True))
    if any(leap <= wall < leap + HOUR for leap in LEAPS):
        return []
    if any(end - HOUR <= wall < end for end in RETURNS):
        return [wall - 2 * HOUR, wall - HOUR]
    return [wall - (2 if summer else 1) * HOUR]


def walls(line: str) -> Iterator[datetime]:
    found = croniter(line, datetime(2025, 12, 31, 23, 59, 59), second_at_beginning=True)
    while (wall := found.get_next(datetime)).year < 2028:
        yield wall


def by_the_rule(line: str) -> set[int]:
    """What is documented, done to croniter's wall times."""
    minute, hour = line.split()[-5:-3]
    every = minute[0] == "*" or hour[0] == "*"
    found = set()
    for wall in walls(line):
        shown = clocks(wall)
        if not every:
            leapt = [leap - HOUR for leap in LEAPS if leap <= wall < leap + HOUR]
            shown = shown[:1] or leapt
        found |= {(at - EPOCH) // timedelta(milliseconds=1) for at in shown}
    return found


def by_croniter(line: str) -> set[int]:
    start = datetime.fromtimestamp(FIRST // 1_000, zone_of(COPENHAGEN))
    times = croniter(line, start, second_at_beginning=True)
    found = set()
    while (at_ms := round(times.get_next(datetime).timestamp() * 1_000)) <= LAST:
        found.add(at_ms)
    return found


def said(instants: set[int]) -> str:
    """The instants as `29/3 03:00` on the wall, first those of 2026."""
    whens = [datetime.fromtimestamp(at / 1_000, zone_of(COPENHAGEN)) for at in sorted(instants)]
    short = (f"{when.day}/{when.month} {when:%H:%M:%S}".removesuffix(":00") for when in whens)
    return ", ".join(short)


@pytest.mark.parametrize(("line", "reasons", "ours", "croniters"), TABLE)
def test_two_years_in_copenhagen(
    line: str, reasons: tuple[str, ...], ours: str, croniters: str
) -> None:
    found = set(between(Timing(cron=line, zone=COPENHAGEN), FIRST, LAST))
    assert said(found ^ by_the_rule(line)) == ""
    theirs = by_croniter(line)
    assert said(found - theirs) == ours, reasons
    assert said(theirs - found) == croniters, reasons
