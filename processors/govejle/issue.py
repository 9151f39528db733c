"""An issue of the newsletter: which events are in it, and the facts that are told of each. Pure."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

import msgspec

from processors.govejle.calendars import day_text
from processors.govejle.event import Event, Status, bare_title, slug
from processors.govejle.links import ascii_url
from processors.govejle.local_time import Local, day_of, parse_iso

GONE = (Status.CANCELLED, Status.POSTPONED)
SUMMARY_MAX = 260
LABELS = {
    "da": {"free": "Gratis", "sold_out": "Udsolgt", "and": "til"},
    "en": {"free": "Free", "sold_out": "Sold out", "and": "to"},
    "de": {"free": "Eintritt frei", "sold_out": "Ausverkauft", "and": "bis"},
}


class Candidate(msgspec.Struct, frozen=True):
    """An event that may be told of, with the page that its link leads to."""

    event_id: str
    event: Event
    url: str
    image_url: str | None = None
    key: str = ""  # the same for the same event on several sites


class Item(msgspec.Struct, frozen=True):
    """An event of the issue: everything that is said of it, but for the model's hook."""

    event_id: str
    title: str
    start: Local
    facts: str  # when, where, how much, in the issue's language
    url: str
    summary: str
    category: str
    image_url: str | None


class Dropped(msgspec.Struct, frozen=True):
    """An event that is not in the issue."""

    event_id: str
    reason: str


class Section(msgspec.Struct, frozen=True):
    """A part of the issue: its events, and what the model wrote."""

    heading: str
    intro: str
    items: tuple[Item, ...]
    hooks: tuple[str, ...]  # of each item


class Issue(msgspec.Struct, frozen=True):
    """A whole issue."""

    issue_date: date
    language: str
    subject: str
    preheader: str
    lead: str
    sections: tuple[Section, ...]

    @property
    def items(self) -> list[Item]:
        """The events in the order in which they are told of."""
        return [item for section in self.sections for item in section.items]


def chosen(
    candidates: Iterable[Candidate], issue_date: date, language: str, items_max: int
) -> tuple[list[Item], list[Dropped]]:
    """The events of the issue, the soonest first, and why the others are not in it."""
    items: list[Item] = []
    dropped: list[Dropped] = []
    seen: dict[str, str] = {}
    for one in candidates:
        reason = unfit(one, issue_date)
        key = one.key or key_of(one)
        if not reason and (key in seen or one.event_id in seen.values()):
            reason = f"the same as {seen.get(key, one.event_id)}"
        if reason:
            dropped.append(Dropped(one.event_id, reason))
            continue
        seen[key] = one.event_id
        items.append(item_of(one, language))
    items.sort(key=lambda item: (day_of(item.start), str(item.start), item.event_id))
    dropped += [Dropped(item.event_id, f"over {items_max} events") for item in items[items_max:]]
    return items[:items_max], dropped


def unfit(one: Candidate, issue_date: date) -> str:
    """Why an event cannot be told of, or nothing."""
    event = one.event
    if event.status in GONE:
        return str(event.status)
    if not (event.title or "").strip():
        return "no title"
    start, end = parse_iso(event.start_local or ""), parse_iso(event.end_local or "")
    if start is None:
        return "no start"
    if day_of(end or start) < issue_date:
        return "past"
    return "" if ascii_url(one.url) else "no link"


def key_of(one: Candidate) -> str:
    """What makes two events the same where nobody said it: title and start."""
    return f"{slug(bare_title(one.event.title or ''))} {one.event.start_local}"


def item_of(one: Candidate, language: str) -> Item:
    """A fit candidate as it is told of."""
    event = one.event
    start = parse_iso(event.start_local or "")
    assert start is not None  # it is fit
    return Item(
        event_id=one.event_id,
        title=one_line(event.title or ""),
        start=start,
        facts=facts_line(event, language),
        url=ascii_url(one.url) or "",
        summary=shortened(one_line(event.summary or "")),
        category=event.category or "",
        image_url=ascii_url(one.image_url or ""),
    )


def facts_line(event: Event, language: str) -> str:
    """`Friday 27 November, 19:30 · Bygningen · 150 kr.`"""
    labels = LABELS[language]
    start, end = parse_iso(event.start_local or ""), parse_iso(event.end_local or "")
    assert start is not None  # the caller has looked
    parts = [when_text(start, end, language), one_line(event.venue_name or "")]
    parts.append(labels["free"] if event.is_free else price_text(event))
    parts.append(labels["sold_out"] if event.sold_out else "")
    line = " · ".join(part for part in parts if part)
    return line[:1].upper() + line[1:]


def when_text(start: Local, end: Local | None, language: str) -> str:
    """Day and time, with an end where it says something."""
    text = day_text(day_of(start), language)
    if isinstance(start, datetime):
        text += f", {start:%H:%M}"
    if end is None:
        return text
    if day_of(end) == day_of(start) or (isinstance(end, datetime) and end.hour < 6):
        both = isinstance(end, datetime) and isinstance(start, datetime)
        return f"{text}–{end:%H:%M}" if both else text
    return f"{day_text(day_of(start), language)} – {day_text(day_of(end), language)}"


def price_text(event: Event) -> str:
    """`75–150 kr.`, or nothing."""
    low, high = event.price_min_dkk, event.price_max_dkk
    known = [price for price in (low, high) if price]
    if not known:
        return ""
    return "–".join(f"{price:g}" for price in dict.fromkeys(known)) + " kr."


def shortened(text: str) -> str:
    """The first sentences that fit."""
    if len(text) <= SUMMARY_MAX:
        return text
    cut = max(text.rfind(mark, 0, SUMMARY_MAX) for mark in (". ", "! ", "? "))
    return text[: cut + 1] if cut > 0 else text[:SUMMARY_MAX].rsplit(" ", 1)[0] + " …"


def one_line(text: str) -> str:
    """Without line ends and doubled spaces."""
    return " ".join(text.split())


def without_last(sections: Sequence[Section]) -> tuple[tuple[Section, ...], Item]:
    """The sections without the event that is furthest away, and that event."""
    items = [item for section in sections for item in section.items]
    last = max(items, key=lambda item: (day_of(item.start), str(item.start)))
    kept = []
    for section in sections:
        pairs = zip(section.items, section.hooks, strict=True)
        left = [pair for pair in pairs if pair[0] is not last]
        if left:
            told, hooks = zip(*left, strict=True)
            kept.append(msgspec.structs.replace(section, items=told, hooks=hooks))
    return tuple(kept), last
