"""Dates, times and prices in Danish prose.

`fredag d. 12. juni kl. 19.30` is found by patterns of our own and put in the form that dateparser
reads; a year that is not written is the one in which the weekday fits, else the next to come.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

import dateparser  # type: ignore[import-untyped]  # ships no types
import msgspec

WEEKDAYS = ("mandag", "tirsdag", "onsdag", "torsdag", "fredag", "lørdag", "søndag")
MONTHS = [
    "januar",
    "februar",
    "marts",
    "april",
    "maj",
    "juni",
    "juli",
    "august",
    "september",
    "oktober",
    "november",
    "december",
]
PAST_DAYS = 60  # a date without a year may lie this far back
_WEEKDAY = rf"(?:(?P<weekday>{'|'.join(WEEKDAYS)}|man|tirs?|ons|tors?|fre|lør|søn)\.?,?\s+)?"
_MONTH = rf"(?P<month>{'|'.join(MONTHS)}|jan|feb|mar|apr|jun|jul|aug|sept?|okt|nov|dec)\b\.?"
DATE = re.compile(
    rf"\b{_WEEKDAY}(?:den\s+|d\.\s*)?"
    rf"(?:(?<!kl\.\s)(?<!kl\s)(?P<from_day>\d{{1,2}})\.?\s*(?:-|–|til|(?<=\.\s)og)\s*(?:{'|'.join(WEEKDAYS)})?\s*(?:den\s+|d\.\s*)?)?"
    rf"(?P<day>\d{{1,2}})\.?\s*{_MONTH}(?:\s*,?\s*(?P<year>(?:19|20)\d{{2}})\b)?"
    r"|\b(?P<nday>\d{1,2})[./-](?P<nmonth>\d{1,2})[./-](?P<nyear>(?:19|20)\d{2}|\d{2})\b"
    r"|\b(?P<iyear>20\d{2})-(?P<imonth>\d{2})-(?P<iday>\d{2})\b",
    re.IGNORECASE,
)
_HOUR = r"([01]?\d|2[0-4])(?:[.:]([0-5]\d))?"
_DASH = r"\s*(?:-|–|til)\s*"
TIME = re.compile(
    rf"\b(?:kl\.?|klokken)\s*{_HOUR}\b(?:{_DASH}(?:kl\.?\s*)?{_HOUR}\b)?"
    rf"|\b([01]?\d|2[0-3])[.:]([0-5]\d){_DASH}(?:kl\.?\s*)?([01]?\d|2[0-4])[.:]([0-5]\d)\b",
    re.IGNORECASE,
)
DOORS = re.compile(
    r"(?:dørene|dørerne|døre|indgang\w*|salget|billetsalg\w*|baren)\b[^.!?]{0,30}$", re.I
)
_AMOUNT = r"(\d{1,3}(?:\.\d{3})+|\d{1,5})(?:,(\d{2})|,-)?"
PRICE = re.compile(
    rf"\b(?:(?:kr\.?|dkk)\s*{_AMOUNT}|{_AMOUNT}\s*(?:kr\b\.?|kroner\b|dkk\b))|\b(\d{{1,5}}),-",
    re.IGNORECASE,
)
PRICE_WORD = re.compile(r"pris|billet|entr[eé]|adgang|ved døren|deltagelse|deltager", re.IGNORECASE)
PRICE_LABEL = re.compile(r"(?:pris(?:er)?|entr[eé]|billet(?:ter|pris(?:er)?)?)\W*", re.IGNORECASE)
ONLY_PRICE = re.compile(r"(?:fra|til|kr|dkk|kroner|[\d\s.,/–-])+", re.IGNORECASE)
SENTENCE_END = re.compile(r"(?<!kr)(?<!\d)[.!?]\s|(?<=kr)\.\s(?=[A-ZÆØÅ])|\s[|•·]\s")
NOT_THE_PRICE = re.compile(
    r"gebyr|garderobe|rabat|depositum|parkering|spar\b|spare|sparer|øl\b|menu|præmie|gevinst|støtte|"
    r"tilskud|doner|indsaml|mia|mio|million",
    re.IGNORECASE,
)
FREE = re.compile(
    r"\b(?:(?:gratis|fri)\s+(?:adgang|entr[eé])\b|(?:entr[eé]|adgang|pris|billetpris|billetter|billet)\s*"
    r"(?:er\s+)?[:–-]?\s*(?:er\s+)?gratis\b|gratis\s+(?:arrangement|koncert|at\s+deltage)\b|"
    r"det\s+er\s+gratis\b|(?:deltagelse|arrangementet|koncerten)\s+er\s+gratis\b|^\W*gratis\W*$)"
    r"(?!\s+(?:for|til)\s+(?:børn|unge|medlemmer|studerende|ledsager))",
    re.IGNORECASE,
)


class When(msgspec.Struct, frozen=True):
    """A day that a text names, with its times where it names those."""

    day: date
    start: time | None = None
    end: time | None = None
    last_day: date | None = None


class Prices(msgspec.Struct, frozen=True):
    """What a text says of the price, in kroner."""

    low: float | None = None
    high: float | None = None
    is_free: bool | None = None


class _Found(NamedTuple):
    day: date
    first_day: date | None
    begin: int
    end: int


def find_whens(text: str, today: date) -> list[When]:
    """Every day that `text` names, in order, each with the time that stands nearest behind it."""
    found = list(_dates(text, today))
    whens = []
    skip = -1
    for index, here in enumerate(found):
        if index == skip:
            continue
        following = found[index + 1] if index + 1 < len(found) else None
        last, stop = None, following.begin if following else len(text)
        if following and re.fullmatch(_DASH, text[here.end : following.begin]):
            last, skip = following.day, index + 1
            stop = found[index + 2].begin if index + 2 < len(found) else len(text)
        day = here.day
        if here.first_day is not None:
            day, last = here.first_day, here.day
        start, end = find_time(text[here.end : stop])
        last = last if last is not None and last > day else None
        whens.append(When(day, start, end, last))
    return whens


def find_time(text: str) -> tuple[time | None, time | None]:
    """The first time in `text` that is not that of the doors, and its end where it has one."""
    matches = list(TIME.finditer(text))
    shows = [match for match in matches if not DOORS.search(text[: match.start()])]
    for match in shows:
        hour, minute, end_hour, end_minute = (
            match.groups()[:4] if match[1] is not None else match.groups()[4:]
        )
        return _clock(hour, minute), _clock(end_hour, end_minute)
    return None, None


def find_prices(lines: Sequence[str]) -> Prices:
    """Lowest and highest price of admission; free only where a line says so.

    An amount counts where its sentence, the priced one before it, or a label speaks of price,
    ticket or admission, or where the line holds nothing else: coffee has a price too.
    """
    amounts = [
        amount
        for label, line in zip(["", *lines], lines, strict=False)
        for amount in _admission(line, priced=PRICE_LABEL.fullmatch(label) is not None)
    ]
    if amounts:
        return Prices(min(amounts), max(amounts), max(amounts) == 0)
    if any(FREE.search(line) for line in lines):
        return Prices(is_free=True)
    return Prices()


def normalise(phrase: str) -> str | None:
    """`fredag d. 12. juni 2026 kl. 19.30` as `12 juni 2026 19:30`; None without a date."""
    match = DATE.search(phrase)
    if match is None:
        return None
    start, _ = find_time(phrase[match.end() :])
    day, month, year = _parts(match)
    if not month:
        return None
    clock = f" {start:%H:%M}" if start is not None else ""
    return " ".join(filter(None, (day, month, year))) + clock


def parse_danish(phrase: str, today: date) -> datetime | None:
    """The day and time of one phrase; midnight where it names no time."""
    match = DATE.search(phrase)
    plain = normalise(phrase)
    if match is None or plain is None:
        return None
    _, _, year = _parts(match)
    if year:
        return _read(plain)
    weekday = _weekday(match["weekday"])
    day, month, _ = _parts(match)
    clock = plain[len(f"{day} {month}") :]
    candidates = [
        moment
        for each in range(today.year - 1, today.year + 8)
        if (moment := _read(f"{day} {month} {each}{clock}")) is not None
        and moment.date() >= today - timedelta(days=PAST_DAYS)
    ]
    fitting = [m for m in candidates[:7] if weekday is None or m.weekday() == weekday]
    return next(iter(fitting), None)


def _dates(text: str, today: date) -> Iterator[_Found]:
    for match in DATE.finditer(text):
        moment = parse_danish(match[0], _carried(text, match, today))
        if moment is None:
            continue
        first_day = None
        if match["from_day"] and 0 < int(match["from_day"]) < moment.day:
            first_day = moment.date().replace(day=int(match["from_day"]))
        yield _Found(moment.date(), first_day, match.start(), match.end())


def _carried(text: str, match: re.Match[str], today: date) -> date:
    """In `12. juni – 3. august 2026` the first date has the year of the second."""
    if match["month"] and not match["year"]:
        following = DATE.match(text, _after_dash(text, match.end()))
        if following and following["month"] and following["year"]:
            return date(int(following["year"]), 1, 1) + timedelta(days=PAST_DAYS)
    return today


def _after_dash(text: str, position: int) -> int:
    dash = re.compile(_DASH).match(text, position)
    return dash.end() if dash else len(text)


def _parts(match: re.Match[str]) -> tuple[str, str, str]:
    """Day, Danish month and year, as written out; the year may be empty, a wrong month is."""
    if match["day"]:
        month = next(name for name in MONTHS if name.startswith(match["month"].lower()[:3]))
        return match["day"], month, match["year"] or ""
    day, number, year = (
        (match["nday"], match["nmonth"], match["nyear"])
        if match["nday"]
        else (match["iday"], match["imonth"], match["iyear"])
    )
    month = MONTHS[int(number) - 1] if 1 <= int(number) <= 12 else ""
    return day, month, year if len(year) == 4 else f"20{year}"


def _weekday(name: str | None) -> int | None:
    if name is None:
        return None
    return next(i for i, day in enumerate(WEEKDAYS) if day.startswith(name.lower()[:3]))


def _read(plain: str) -> datetime | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dateparser's own, about formats that it tries
        moment: datetime | None = dateparser.parse(
            plain,
            languages=["da"],
            settings={"DATE_ORDER": "DMY", "STRICT_PARSING": True, "PARSERS": ["absolute-time"]},
        )
    return moment


def _clock(hour: str | None, minute: str | None) -> time | None:
    if hour is None:
        return None
    return time(int(hour) % 24, int(minute or 0))


def _admission(line: str, *, priced: bool) -> Iterator[float]:
    priced = priced or ONLY_PRICE.fullmatch(line) is not None
    for sentence in SENTENCE_END.split(line):
        found = list(_amounts(sentence))
        counts = priced or PRICE_WORD.search(sentence) is not None
        if counts and not NOT_THE_PRICE.search(sentence) and not FREE.search(sentence):
            yield from found
        priced = counts and bool(found)


def _amounts(sentence: str) -> Iterator[float]:
    for match in PRICE.finditer(sentence):
        whole = next(part for part in (match[1], match[3], match[5]) if part)
        cents = match[2] or match[4] or "0"
        yield float(whole.replace(".", "")) + int(cents) / 100
