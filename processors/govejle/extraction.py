"""What a model says that a page says: taken only with a quote that stands in the page.

Prices and times are never taken on the model's word: the quote itself must name them.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from processors.govejle.danish import FREE, MONTHS, PAST_DAYS
from processors.govejle.event import TOGETHER, Event
from processors.govejle.local_time import Local, day_of, is_timed, localized, parse_iso, render

CATEGORIES = (  # as schema.org's types are called in `jsonld.EVENT_TYPES`, and `andet`
    *("andet", "børn", "comedy", "dans", "erhverv", "festival", "film", "foredrag", "konference"),
    *("kunst", "kursus", "litteratur", "mad", "marked", "musik", "scenekunst", "socialt", "sport"),
    *("teater", "teknologi", "udstilling"),
)
AUDIENCES = ("everyone", "families", "children", "young", "adults", "seniors")
FactName = Literal[
    "title",
    "summary",
    "category",
    "audience",
    "start_local",
    "end_local",
    "venue_name",
    "address",
    "price_min_dkk",
    "price_max_dkk",
    "is_free",
]
NAMES: tuple[FactName, ...] = get_args(FactName)

TEXT_MAX = 20_000  # characters that a model is shown: an event stands at the top of its page
TITLE_MAX, SUMMARY_MAX, PLACE_MAX, QUOTE_MIN = 200, 400, 160, 3
PRICE_MAX_DKK = 20_000
ENGLISH_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)
TO_MODELS = re.compile(
    r"\b(?:ignor(?:e|er)|disregard|forget|glem|se bort fra)\b.{0,40}"
    r"\b(?:instructions?|instrukser?|instruktioner|prompts?|regler)\b"
    r"|\byou are (?:now )?an? (?:ai|assistant|language model)\b"
    r"|\bdu er (?:nu )?en (?:ai|assistent|sprogmodel)\b"
    r"|^\s*(?:system|assistant)\s*:|<\|?im_start",
    re.IGNORECASE,
)


class Fact(msgspec.Struct, frozen=True):
    """One fact, with what shows it first."""

    field: Annotated[FactName, Meta(description="one of those that MISSING names")]
    quote: Annotated[
        str, Meta(description="the words of PAGE that say so, copied exactly", max_length=400)
    ]
    value: Annotated[str, Meta(description="the fact, as the rules say", max_length=400)]


class Facts(msgspec.Struct, frozen=True):
    """What a model found."""

    facts: Annotated[tuple[Fact, ...], Meta(max_length=16)]


class Accepted(msgspec.Struct, frozen=True):
    """The facts that hold, by field of the event, and why the others do not."""

    values: Mapping[str, Any]
    warnings: tuple[str, ...]


def missing_fields(event: Event) -> Sequence[str]:
    """What a model is asked for. Fields that belong together are asked for together, or not."""
    silent = [name for name in NAMES if getattr(event, name) is None]
    for group in TOGETHER:
        if any(getattr(event, name) is not None for name in group):
            silent = [name for name in silent if name not in group]
    if event.start_local is not None:  # an end on its own is as likely as not another event's
        silent = [name for name in silent if name != "end_local"]
    return silent


def shown_text(text: str) -> tuple[str, tuple[str, ...]]:
    """The part of a page that a model is shown, and a warning for what was left out."""
    lines = text.splitlines()
    kept = [line for line in lines if not TO_MODELS.search(line)]
    warnings = []
    if len(kept) < len(lines):
        warnings.append(f"{len(lines) - len(kept)} lines of the page speak to a model: left out")
    shown = "\n".join(kept).strip()
    if len(shown) > TEXT_MAX:
        warnings.append(f"only the first {TEXT_MAX} characters of {len(shown)} were read")
    return shown[:TEXT_MAX], tuple(warnings)


def accept(facts: Iterable[Fact], text: str, today: date, missing: Collection[str]) -> Accepted:
    """The facts whose quote stands in `text` and bears them out; the first of each field."""
    values: dict[str, Any] = {}
    warnings: list[str] = []
    page = plain(text)
    for fact in facts:
        if fact.field not in missing or fact.field in values:
            continue
        if len(plain(fact.quote)) < QUOTE_MIN or plain(fact.quote) not in page:
            warnings.append(f"{fact.field}: dropped, its quote is not on the page")
            continue
        value = read_value(fact, today)
        if value is None:
            warnings.append(
                f"{fact.field}: dropped, its quote does not bear out {fact.value[:60]!r}"
            )
            continue
        values[fact.field] = value
    return Accepted(consistent(values), tuple(warnings))


def read_value(fact: Fact, today: date) -> object | None:
    """The fact's value where its quote bears it out, else None."""
    text, quote = fact.value.strip(), plain(fact.quote)
    match fact.field:
        case "start_local" | "end_local":
            moment = parse_iso(text)
            return render(moment) if moment and names_moment(quote, moment, today) else None
        case "price_min_dkk" | "price_max_dkk":
            return price(text, quote)
        case "is_free":
            says_free = FREE.search(quote) or re.search(r"\bfree\b", quote)
            return True if text.lower() in ("true", "yes") and says_free else None
        case "category":
            return text if text in CATEGORIES else None
        case "audience":
            return text if text in AUDIENCES else None
        case "summary":
            return summary(text, quote)
        case _:
            limit = TITLE_MAX if fact.field == "title" else PLACE_MAX
            return text[:limit] if text and plain(text) in quote else None


def names_moment(quote: str, moment: Local, today: date) -> bool:
    """Whether a quote names day, month and time; a year that it leaves out is the next to come."""
    numbers = [int(number) for number in re.findall(r"\d+", quote)]
    day = day_of(moment)
    months = (MONTHS[day.month - 1], ENGLISH_MONTHS[day.month - 1])
    in_words = any(re.search(rf"\b{month[:3]}", quote) for month in months)
    in_digits = re.search(rf"\b0?{day.day}[./-]\s?0?{day.month}\b|-0?{day.month}-", quote)
    if day.day not in numbers or not (in_words or in_digits):
        return False
    years = [number for number in numbers if 1_990 <= number <= 2_100]
    soonest = today - timedelta(days=PAST_DAYS)
    if day.year not in years and (years or not soonest <= day < soonest + timedelta(days=365)):
        return False
    if not isinstance(moment, datetime):
        return True
    afternoon = moment.hour > 12 and "pm" in quote and moment.hour - 12 in numbers
    return (moment.hour in numbers or afternoon) and (not moment.minute or moment.minute in numbers)


def price(text: str, quote: str) -> float | None:
    """An amount in kroner that the quote names as one."""
    match = re.fullmatch(r"(\d{1,5})(?:[.,](\d{1,2}))?(?:\s*(?:kr\.?|dkk))?", text.lower())
    if match is None or int(match[1]) > PRICE_MAX_DKK or not re.search(r"kr|dkk|,-", quote):
        return None
    named = re.findall(r"\d+", quote.replace(".", ""))
    return float(f"{match[1]}.{match[2] or 0}") if match[1] in named else None


def summary(text: str, quote: str) -> str | None:
    """A summary in the model's words; it may say no number that its quote does not."""
    numbers = set(re.findall(r"\d+", text))
    is_borne_out = numbers <= set(re.findall(r"\d+", quote)) and not TO_MODELS.search(text)
    return text[:SUMMARY_MAX] if text and is_borne_out and "http" not in text else None


def consistent(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what contradicts itself: an end before the start, prices of what is free."""
    kept = dict(values)
    start, end = (parse_iso(kept.get(name, "")) for name in ("start_local", "end_local"))
    if end is not None and (start is None or _before(end, start)):
        kept.pop("end_local", None)
    low, high = kept.get("price_min_dkk"), kept.get("price_max_dkk")
    if low is not None and high is not None and low > high:
        kept["price_min_dkk"], kept["price_max_dkk"] = high, low
    if (low or high) and kept.get("is_free"):
        kept.pop("is_free")
    return kept


def plain(text: str) -> str:
    """Lower case, without Markdown's marks, one space between words: how quotes are compared."""
    return " ".join(re.sub(r"[*_`#>|\[\]\\]|\(https?://[^)\s]*\)", " ", text).casefold().split())


def _before(end: Local, start: Local) -> bool:
    if is_timed(end) and is_timed(start):
        return localized(end) < localized(start)  # type: ignore[arg-type]  # both bear a time
    return day_of(end) < day_of(start)
