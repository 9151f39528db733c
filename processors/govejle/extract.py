"""From a page to an event: every source asked, the best word for each fact chosen and named."""

import logging
from datetime import date

import msgspec
import trafilatura

from processors.govejle.bombs import check_parsable
from processors.govejle.event import (
    Event,
    Facts,
    Source,
    Status,
    choose,
    event_key,
    event_of,
    provenance_of,
    slug,
)
from processors.govejle.jsonld import facts_from_jsonld
from processors.govejle.local_time import day_of, is_timed, render
from processors.govejle.opengraph import facts_from_opengraph
from processors.govejle.page import Page, parse_page
from processors.govejle.prose import facts_from_text

TEXT_MAX = 60_000  # characters of readable text that are kept
READABLE_MAX = 500_000  # characters of HTML that trafilatura is given: more takes it seconds,
READABLE_ELEMENTS_MAX = 10_000  # as do more elements, of which an event page has some hundreds
WARNINGS_MAX = 20

log = logging.getLogger(__name__)


class Extraction(msgspec.Struct, frozen=True):
    """What a page says of its event, with the source of every fact."""

    event: Event
    provenance: dict[str, Source]
    text_md: str
    image_url: str | None
    warnings: tuple[str, ...]
    canonical_url: str
    event_key: str


def extract(text: str, url: str, today: date) -> Extraction:
    """Read the page `text` that came from `url`. Takes up to a second: not for the event loop.

    `today` decides the year of dates that are written without one. Raises TooLarge for a page
    that would take minutes.
    """
    check_parsable(text)
    page = parse_page(text, url)
    from_jsonld, warnings = facts_from_jsonld(page)
    from_text = facts_from_text(page, today)
    told = [
        (Source.JSONLD, from_jsonld),
        (Source.OG, facts_from_opengraph(page)),
        (Source.TEXT, from_text),
    ]
    chosen = choose(told)
    warnings = [*page.warnings, *warnings, *disagreements(chosen.facts, from_text)]
    warnings += silences(chosen.facts)
    return Extraction(
        event=event_of(chosen.facts),
        provenance=provenance_of(chosen.provenance),
        text_md=readable(page),
        image_url=chosen.facts.image_url,
        warnings=tuple(warnings[:WARNINGS_MAX]),
        canonical_url=page.canonical_url,
        event_key=event_key(chosen.facts, page.canonical_url),
    )


def disagreements(chosen: Facts, text: Facts) -> list[str]:
    """Where markup and text contradict each other in what matters most."""
    found = []
    if text.status is Status.CANCELLED and chosen.status is not Status.CANCELLED:
        found.append(f"the text says cancelled, the markup {chosen.status}")
    if chosen.start is None or text.start is None:
        return found
    both_timed = is_timed(chosen.start) and is_timed(text.start)
    differs = day_of(chosen.start) != day_of(text.start)
    if differs or (both_timed and chosen.start != text.start):
        found.append(f"the text says {render(text.start)}, the markup {render(chosen.start)}")
    return found


def silences(chosen: Facts) -> list[str]:
    """What an event should have and this one does not state."""
    return [f"no {name} was found" for name in ("title", "start") if getattr(chosen, name) is None]


def contradictions(event: Event, known: dict[str, str]) -> list[str]:
    """Which of the facts the app knows already the page contradicts."""
    told = {name: value for name in known if (value := getattr(event, name, None)) is not None}
    return [
        f"{name}: the app knows {known[name][:80]!r}, the page says {str(value)[:80]!r}"
        for name, value in told.items()
        if slug(known[name]) != slug(str(value))
    ]


def readable(page: Page) -> str:
    """The page's readable part as Markdown; its plain lines where trafilatura finds none."""
    plain = "\n\n".join(page.lines)
    html = page.visible_html
    if len(html) > READABLE_MAX or html.count("</") > READABLE_ELEMENTS_MAX:
        return plain[:TEXT_MAX]
    try:
        markdown = trafilatura.extract(
            html,
            url=page.url,
            output_format="markdown",
            include_links=True,
            include_tables=True,
        )
    except Exception as error:  # a stranger's page may trip a parser that we do not own
        log.debug("trafilatura failed", extra={"url": page.url, "error": str(error)})
        markdown = None
    return (markdown or plain)[:TEXT_MAX]
