"""Facts from the lines that a visitor reads: heading, dates, prices, place, `AFLYST`."""

import re
from collections.abc import Sequence
from datetime import date

from processors.govejle.danish import DATE, WEEKDAYS, When, find_prices, find_whens
from processors.govejle.event import Facts, Status, bare_title
from processors.govejle.local_time import Local, at
from processors.govejle.opengraph import without_site
from processors.govejle.page import Page

VENUES = (  # names only: what else is known of them is not on the page
    "Bygningen",
    "Spinderihallerne",
    "Økolariet",
    "Vejle Musikteater",
    "Vejle Bibliotek",
    "Vejle Kunstmuseum",
    "Vejlemuseerne",
    "DGI Huset Vejle",
    "Kongernes Jelling",
    "Gormshallen",
    "Fængslet i Vejle",
    "Vejle Stadion",
    "Sankt Nicolai Kirke",
    "Bølgen",
    "Mungo Park Kolding",
    "Fjordenhus",
    "Give-Egnens Museum",
    "Egtved Kulturhus",
)
LABELLED_PLACE = re.compile(r"^(?:sted|hvor|spillested|lokation|location)\s*:\s*(.{2,120})$", re.I)
LABELLED_TIME = re.compile(r"^(?:hvornår|dato|tid|tidspunkt|spilletid)\b\s*:?", re.IGNORECASE)
NAMED_PLACE = re.compile(rf"\b(?:på|i|ved|hos|til)\s+({'|'.join(map(re.escape, VENUES))})\b")
STREET = (
    r"[A-ZÆØÅ][\wé.'-]*(?:\s+[A-ZÆØÅ]?[\wé.'-]+){0,3}?\s+\d{1,3}\s?[A-Z]?"
    r"(?:,\s*(?:\d{1,2}\.\s*(?:sal|tv|th)|st)\.?)?"
)
ADDRESS = re.compile(rf"({STREET}),?\s+(\d{{4}})\s+([A-ZÆØÅ][a-zæøåé]+(?:\s(?:Ø|V|N|S|C|Øst))?)\b")
CANCELLED = re.compile(
    r"^\W*AFLYST\b|\b(?:koncerten|forestillingen|arrangementet|foredraget|eventet|showet)\s+"
    r"er\s+(?:desværre\s+)?aflyst\b|\ber\s+desværre\s+aflyst\b",
    re.IGNORECASE,
)
RESCHEDULED = re.compile(
    r"^\W*(?:FLYTTET|NY DATO)\b|\ber\s+flyttet\s+til\s+(?:en\s+)?ny\s+dato", re.I
)
POSTPONED = re.compile(r"^\W*UDSAT\b|\ber\s+(?:desværre\s+)?udskudt\b", re.IGNORECASE)
SOLD_OUT = re.compile(r"^\W*(?:alt\s+)?udsolgt\b", re.IGNORECASE)
SUMMARY_MIN, SUMMARY_MAX = 60, 400
RELATED = re.compile(
    r"^(?:andre|flere|relaterede|kommende|lignende)\s+(?:arrangementer|begivenheder|events|koncerter)",
    re.IGNORECASE,
)


def facts_from_text(page: Page, today: date) -> Facts:
    """What the page's own lines say, up to where they begin to speak of other events."""
    lines = own_lines(page.lines)
    when = the_when(lines, today)
    prices = find_prices(lines)
    venue_name, address = place_of(lines)
    heading = page.heading or without_site(page.title, page.metas.get("og:site_name", ""))
    return Facts(
        title=bare_title(heading) or None,
        summary=page.metas.get("description") or summary_of(lines),
        start=at(when.day, when.start) if when else None,
        end=end_of(when) if when else None,
        status=status_of([page.heading, *lines]),
        sold_out=True if any(map(SOLD_OUT.search, [page.heading, *lines])) else None,
        venue_name=venue_name,
        address=address,
        price_min_dkk=prices.low,
        price_max_dkk=prices.high,
        is_free=prices.is_free,
    )


def own_lines(lines: Sequence[str]) -> list[str]:
    """The lines before a list of other events."""
    for index, line in enumerate(lines):
        if RELATED.match(line):
            return list(lines[:index])
    return list(lines)


def the_when(lines: Sequence[str], today: date) -> When | None:
    """The event's day: under a label, else the first that has a time, else the first."""
    whens: list[When] = []
    for index, line in enumerate(lines):
        labelled = LABELLED_TIME.match(line)
        text = line
        if labelled and len(line) <= labelled.end() + 1 and index + 1 < len(lines):
            text = lines[index + 1]
        found = find_whens(with_time(text, lines, index), today)
        if labelled and found:
            return found[0]
        whens += found
    return next((when for when in whens if when.start is not None), next(iter(whens), None))


def with_time(line: str, lines: Sequence[str], index: int) -> str:
    """A line, with a short one behind it that only gives the time: `12. juni` / `kl. 19.30`."""
    following = lines[index + 1] if index + 1 < len(lines) else ""
    is_time = re.match(r"(?:tid\w*\s*:?\s*)?(?:kl\.?|klokken)\s*\d", following, re.IGNORECASE)
    names_a_day = any(day in following.lower() for day in WEEKDAYS)
    return f"{line} {following}" if is_time and not names_a_day and len(line) < 80 else line


def end_of(when: When) -> Local | None:
    """The end, where the text names one; an end before the start is after midnight."""
    if when.end is not None and when.start is not None:
        day = when.last_day or when.day
        if when.last_day is None and when.end <= when.start:
            day = date.fromordinal(day.toordinal() + 1)
        return at(day, when.end)
    return when.last_day


def status_of(lines: Sequence[str]) -> Status | None:
    """What the text says has become of the event."""
    patterns = (
        (CANCELLED, Status.CANCELLED),
        (RESCHEDULED, Status.RESCHEDULED),
        (POSTPONED, Status.POSTPONED),
    )
    return next((s for pattern, s in patterns if any(map(pattern.search, lines))), None)


def place_of(lines: Sequence[str]) -> tuple[str | None, str | None]:
    """Name and address of the place: under a label, else a known name after a preposition."""
    address = next((address_in(line) for line in lines if ADDRESS.search(line)), None)
    for index, line in enumerate(lines):
        label = re.fullmatch(r"(?:sted|hvor|spillested|lokation)\s*:?", line, re.IGNORECASE)
        text = f"Sted: {lines[index + 1]}" if label and index + 1 < len(lines) else line
        if match := LABELLED_PLACE.match(text):
            return place_name(match[1]), address
    named = next((m[1] for line in lines if (m := NAMED_PLACE.search(line))), None)
    return named, address


def place_name(text: str) -> str | None:
    """The name in `Bygningen, Ved Anlæget 14B, 7100 Vejle`."""
    match = ADDRESS.search(text)
    name = text[: match.start()] if match else text.split(",")[0]
    return name.strip(" ,.–-") or None


def address_in(line: str) -> str:
    """`Street 1, 7100 Vejle` as the line has it."""
    match = ADDRESS.search(line)
    assert match is not None  # the caller has searched
    return f"{match[1]}, {match[2]} {match[3]}"


def summary_of(lines: Sequence[str]) -> str | None:
    """The first real paragraph, cut at a sentence."""
    paragraphs = (line for line in lines if len(line) >= SUMMARY_MIN and not DATE.search(line))
    paragraph = next(paragraphs, None)
    if paragraph is None or len(paragraph) <= SUMMARY_MAX:
        return paragraph
    cut = paragraph.rfind(". ", 0, SUMMARY_MAX)
    return paragraph[: cut + 1] if cut > 0 else paragraph[:SUMMARY_MAX].rsplit(" ", 1)[0] + " …"
