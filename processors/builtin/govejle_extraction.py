"""Asks a model for the facts of an event that its page tells only in free prose.

Takes what `govejle-page` gives and returns the same, with what was found. A fact counts only
with a quote that stands on the page; times and prices only where the quote names them.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import msgspec

from processors.builtin.govejle_page import PageOut, local_day
from processors.govejle.event import Source, event_key, facts_of
from processors.govejle.extraction import (
    Accepted,
    Fact,
    Facts,
    accept,
    missing_fields,
    shown_text,
)
from processors.sdk import (
    AnswerCut,
    Context,
    Example,
    Form,
    Interview,
    Manifest,
    Meta,
    ResourceClass,
    processor,
)

PROMPT_VERSION = "1"
FORM = Form(
    name="facts",
    answer=Facts,
    role=(
        "You read the web page of one event in Denmark, which stands in PAGE and is in Danish, and "
        "find the facts that MISSING lists, for a calendar."
    ),
    rules=(
        "Find only fields that MISSING lists; leave out every one that PAGE does not state. "
        "An empty list is a good answer. Never guess, and never work a fact out from other pages.",
        "quote is copied from PAGE word for word, so that it can be searched for there.",
        "title, venue_name and address: copied from PAGE, without the words around them.",
        "start_local and end_local: 2027-01-28T16:30, or 2027-01-28 where PAGE names no time. The "
        "year that PAGE leaves out is the one that comes next after TODAY.",
        "price_min_dkk and price_max_dkk: the lowest and highest price of admission in kroner, "
        "digits only. is_free: true, and only where PAGE says that admission is free.",
        "summary: one or two plain Danish sentences of your own about what happens, at most 300 "
        "characters, without dates, prices and links.",
        "category: one of andet, børn, comedy, dans, erhverv, festival, film, foredrag, "
        "konference, kunst, kursus, litteratur, mad, marked, musik, scenekunst, socialt, sport, "
        "teater, teknologi, udstilling.",
        "audience: one of everyone, families, children, young, adults, seniors.",
    ),
    examples=(
        Example(
            {
                "TODAY": "2026-11-23",
                "MISSING": ["category", "audience", "start_local", "price_min_dkk"],
                "PAGE": "Vi synger julen ind!\nTag børnene med den 12/12, når klokken slår 15. "
                "Koret giver gløgg.",
            },
            Facts(
                (
                    Fact("category", "Vi synger julen ind!", "musik"),
                    Fact("audience", "Tag børnene med", "families"),
                    Fact("start_local", "den 12/12, når klokken slår 15", "2026-12-12T15:00"),
                )
            ),
        ),
    ),
    max_tokens=1_500,
)


class ExtractionOut(PageOut, forbid_unknown_fields=True):
    """What came in, with the facts that the model found; `provenance` calls those `llm`."""

    meta: Meta


@processor(
    Manifest(
        name="govejle-extraction",
        version="1.0.0",
        summary="Find what an event's page tells only in prose; every fact with a quote, or none.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama",),
        model="extract",
        attempts_max=4,
        backoff_s=30,
        timeout_s=120,
        prompt_version=PROMPT_VERSION,
    )
)
async def govejle_extraction(given: PageOut, context: Context) -> ExtractionOut:
    """Ask for what is missing, if anything is; keep what the page bears out."""
    interview = Interview(context, PROMPT_VERSION)
    missing = missing_fields(given.event)
    text, warnings = shown_text(given.text_md)
    if not (missing and text):
        return extracted(given, Accepted({}, warnings), interview.meta)
    today = local_day(datetime.fromtimestamp(context.submitted_ms / 1_000, UTC))
    context.progress(None, f"looking for {', '.join(missing)}")
    found = await facts_of_page(interview, missing, (text, today))
    accepted = accept(found, text, today, missing)
    told = msgspec.structs.replace(accepted, warnings=(*warnings, *accepted.warnings))
    return extracted(given, told, interview.meta)


async def facts_of_page(
    interview: Interview, missing: Sequence[str], page: tuple[str, date]
) -> tuple[Fact, ...]:
    """What the model finds; asked for half of it at a time when its answer is cut off."""
    try:
        return (await interview.ask(FORM, asked(page[0], missing, page[1]))).facts
    except AnswerCut:
        if len(missing) == 1:
            raise
    middle = len(missing) // 2
    return (
        *await facts_of_page(interview, missing[:middle], page),
        *await facts_of_page(interview, missing[middle:], page),
    )


def asked(text: str, missing: Sequence[str], today: date) -> dict[str, object]:
    """The data of the question."""
    return {"TODAY": f"{today:%Y-%m-%d}", "MISSING": missing, "PAGE": text}


def extracted(given: PageOut, accepted: Accepted, meta: Meta) -> ExtractionOut:
    """What came in with what was accepted."""
    event = msgspec.structs.replace(given.event, **accepted.values)
    # "no start was found" is no longer so when it was found now.
    settled = {f"no {name.removesuffix('_local')} was found" for name in accepted.values}
    warnings = [one for one in given.warnings if one not in settled]
    return ExtractionOut(
        event_id=given.event_id,
        event=event,
        provenance={**given.provenance, **dict.fromkeys(accepted.values, Source.LLM)},
        text_md=given.text_md,
        image_url=given.image_url,
        warnings=(*warnings, *accepted.warnings),
        canonical_url=given.canonical_url,
        event_key=event_key(facts_of(event), given.canonical_url),
        meta=meta,
    )
