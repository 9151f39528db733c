"""Names of weekdays and months, and how a day is written, in the languages of the newsletter."""

from datetime import date

import msgspec

LANGUAGES = {"da": "Danish", "en": "English", "de": "German"}


class Calendar(msgspec.Struct, frozen=True):
    """One language's words; Monday and January come first."""

    weekdays: tuple[str, ...]
    months: tuple[str, ...]
    to: str
    and_: str
    day: str  # how weekday, day and month stand together


def _calendar(weekdays: str, months: str, others: str, day: str) -> Calendar:
    to, and_ = others.split()
    return Calendar(tuple(weekdays.split()), tuple(months.split()), to, and_, day)


CALENDARS = {
    "da": _calendar(
        "mandag tirsdag onsdag torsdag fredag lørdag søndag",
        "januar februar marts april maj juni juli august september oktober november december",
        "til og",
        "{weekday} {day}. {month}",
    ),
    "en": _calendar(
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        "January February March April May June July August September October November December",
        "to and",
        "{weekday} {day} {month}",
    ),
    "de": _calendar(
        "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "bis und",
        "{weekday}, {day}. {month}",
    ),
}


def day_text(day: date, language: str) -> str:
    """`Friday 27 November`."""
    calendar = CALENDARS[language]
    return calendar.day.format(
        weekday=calendar.weekdays[day.weekday()],
        day=day.day,
        month=calendar.months[day.month - 1],
    )
