"""The facts of an event, each from the most trustworthy source that states it."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from processors.govejle.local_time import Local, day_of, is_timed, parse_iso, render

STATUS_PREFIX = re.compile(
    r"^\W*(?:aflyst|udsat|flyttet|udsolgt|ny dato)\b[\s:!–-]*", re.IGNORECASE
)
TRANSLITERATION = str.maketrans({"æ": "ae", "ø": "oe", "å": "aa"})
TOGETHER = (
    ("price_min_dkk", "price_max_dkk", "is_free"),
    ("venue_name", "address"),
)


class Source(StrEnum):
    """Where a fact stands, the most trustworthy first."""

    JSONLD = "jsonld"
    OG = "og"
    TEXT = "text"
    LLM = "llm"  # a model's reading of the text, borne out by a quote


class Status(StrEnum):
    """What has become of the event, as far as its page says so."""

    SCHEDULED = "scheduled"
    CANCELLED = "cancelled"
    RESCHEDULED = "rescheduled"
    POSTPONED = "postponed"
    MOVED_ONLINE = "moved_online"


class Facts(msgspec.Struct, frozen=True):
    """What one source says; None is silence."""

    title: str | None = None
    summary: str | None = None
    category: str | None = None
    start: Local | None = None
    end: Local | None = None
    previous_start: Local | None = None  # of a rescheduled event
    status: Status | None = None
    sold_out: bool | None = None
    venue_name: str | None = None
    address: str | None = None
    organizer: str | None = None
    performers: tuple[str, ...] | None = None
    price_min_dkk: float | None = None
    price_max_dkk: float | None = None
    is_free: bool | None = None
    ticket_url: str | None = None
    image_url: str | None = None


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event as the app is told of it. Times are local: a date, or a time with its offset."""

    title: str | None = None
    summary: str | None = None
    category: str | None = None
    start_local: str | None = None
    end_local: str | None = None
    previous_start_local: str | None = None
    status: Status | None = None
    sold_out: bool | None = None
    venue_name: str | None = None
    address: str | None = None
    organizer: str | None = None
    performers: tuple[str, ...] | None = None
    price_min_dkk: float | None = None
    price_max_dkk: float | None = None
    is_free: bool | None = None
    ticket_url: str | None = None
    audience: str | None = None  # everyone, families, children, young, adults, seniors


LOCAL_FIELDS = {
    "start": "start_local",
    "end": "end_local",
    "previous_start": "previous_start_local",
}

Told = Sequence[tuple[Source, Facts]]
Take = Callable[[Source, Facts, Iterable[str]], None]


class Chosen(msgspec.Struct, frozen=True):
    """The facts that were chosen, and the source of each that is not None."""

    facts: Facts
    provenance: Mapping[str, Source]


def choose(told: Told) -> Chosen:
    """For each fact the word of the first source that has one.

    Prices come from one source together, and so do place and address; an end comes with the
    start it belongs to. A date gets its time from a lesser source that names the same day.
    """
    sources: dict[str, Source] = {}
    values: dict[str, object] = {}

    def take(source: Source, facts: Facts, names: Iterable[str]) -> None:
        for name in names:
            value = getattr(facts, name)
            if value is not None and name not in values:
                values[name], sources[name] = value, source

    _choose_time(told, take)
    for group in TOGETHER:
        for source, facts in told:
            if any(getattr(facts, name) is not None for name in group):
                take(source, facts, group)
                break
    settled = {"start", "end", *(name for group in TOGETHER for name in group)}
    for source, facts in told:
        take(source, facts, (n for n in Facts.__struct_fields__ if n not in settled))
    return Chosen(msgspec.structs.replace(Facts(), **values), sources)


def _choose_time(told: Told, take: Take) -> None:
    starts = [(source, facts) for source, facts in told if facts.start is not None]
    if not starts:
        return
    first = starts[0][1].start
    assert first is not None  # chosen for it
    same_day = [pair for pair in starts if pair[1].start and day_of(pair[1].start) == day_of(first)]
    source, facts = next((p for p in same_day if is_timed(p[1].start)), same_day[0])
    take(source, facts, ["start"])
    for other, others in [(source, facts), *same_day]:
        if others.end is not None and not _before(others.end, facts.start):
            take(other, others, ["end"])


def _before(end: Local, start: Local | None) -> bool:
    if start is None or not (is_timed(end) and is_timed(start)):
        return start is not None and day_of(end) < day_of(start)
    return end < start


def event_of(facts: Facts) -> Event:
    """The facts as the app is told of them."""
    given = msgspec.structs.asdict(facts)
    given.pop("image_url")
    for name, public in LOCAL_FIELDS.items():
        given[public] = render(given.pop(name))
    return Event(**given)


def provenance_of(sources: Mapping[str, Source]) -> dict[str, Source]:
    """The source of each field of the event, and of `image_url`, under their public names."""
    return {LOCAL_FIELDS.get(name, name): source for name, source in sorted(sources.items())}


def facts_of(event: Event) -> Facts:
    """What identifies an event, as facts."""
    return Facts(
        title=event.title,
        start=parse_iso(event.start_local or ""),
        venue_name=event.venue_name,
    )


def event_key(facts: Facts, fallback: str) -> str:
    """The same key for the same event on several sites: title, day and place decide.

    Without title or day there is nothing to compare, and `fallback`, the page's URL, decides.
    """
    if facts.title and facts.start:
        parts = [slug(bare_title(facts.title)), day_of(facts.start).isoformat()]
        parts.append(slug(facts.venue_name or ""))
    else:
        parts = ["url", fallback]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def bare_title(title: str) -> str:
    """A title without `AFLYST:` and the like before it."""
    return STATUS_PREFIX.sub("", title).strip() or title.strip()


def slug(text: str) -> str:
    """Letters and digits only, lower case, ASCII."""
    plain = text.casefold().translate(TRANSLITERATION)
    plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "", plain)
