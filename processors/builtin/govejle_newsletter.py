"""Writes an issue of the newsletter: the facts by template from the input, a model for the rest.

The model plans sections out of ids and titles, writes a hook for each event, section by section,
and then subject and lead out of what it wrote. It never writes a date, a place, a price or a link.
"""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec import Meta as Limits

from processors.builtin.govejle_extraction import ExtractionOut
from processors.builtin.govejle_page import PageOut
from processors.builtin.govejle_translation import TranslationOut
from processors.govejle.calendars import LANGUAGES
from processors.govejle.event import Event
from processors.govejle.issue import (
    Candidate,
    Dropped,
    Issue,
    Item,
    Section,
    chosen,
    one_line,
    without_last,
)
from processors.govejle.mail import HTML_MAX_BYTES, html_of, links_of, markdown_of, text_of
from processors.govejle.writing import (
    FRONT,
    PLAN,
    SECTION,
    SECTIONS_MAX,
    Front,
    front_check,
    plan_check,
    section_check,
)
from processors.sdk import (
    Context,
    Interview,
    Manifest,
    Meta,
    Rejected,
    ResourceClass,
    processor,
)

PROMPT_VERSION = "1"
EVENTS_MAX = 60

Name = Annotated[str, Limits(min_length=1, max_length=200)]


class NewsletterEvent(msgspec.Struct, forbid_unknown_fields=True):
    """An event as an app knows it. `start` and `end` are local: a date, or a time."""

    id: Name
    title: Name
    start: Annotated[str, Limits(max_length=40)]
    url: Annotated[str, Limits(pattern="^https?://", max_length=2_048)]
    venue: Annotated[str, Limits(max_length=200)] | None = None
    summary: Annotated[str, Limits(max_length=4_000)] | None = None
    category: Annotated[str, Limits(max_length=60)] | None = None
    end: Annotated[str, Limits(max_length=40)] | None = None
    price_min_dkk: float | None = None
    price_max_dkk: float | None = None
    is_free: bool | None = None
    image_url: Annotated[str, Limits(pattern="^https?://", max_length=2_048)] | None = None


class NewsletterIn(msgspec.Struct, forbid_unknown_fields=True):
    """What to write about: `events`, or what the stages of a flow found, by page."""

    issue_date: date
    language: Literal["da", "en", "de"] = "en"
    audience: Annotated[str, Limits(max_length=200)] = "families"
    tone: Annotated[str, Limits(max_length=200)] = "warm and plain"
    events: Annotated[tuple[NewsletterEvent, ...], Limits(max_length=EVENTS_MAX)] = ()
    sections: Annotated[tuple[Name, ...], Limits(max_length=SECTIONS_MAX)] = ()  # headings to use
    max_items: Annotated[int, Limits(ge=1, le=EVENTS_MAX)] = 20
    read: tuple[PageOut | None, ...] = ()  # pages as they were read
    enriched: tuple[ExtractionOut | None, ...] = ()  # the same, with what a model found
    translations: tuple[TranslationOut | None, ...] = ()


class NewsletterOut(msgspec.Struct):
    """The issue. The Markdown is what counts; HTML and text are made of it."""

    subject: str
    preheader: str
    markdown: str
    html: str
    text: str
    used_event_ids: tuple[str, ...]  # in the order in which they are told of
    dropped: tuple[Dropped, ...]
    meta: Meta


@processor(
    Manifest(
        name="govejle-newsletter",
        version="1.0.0",
        summary="Write an issue of the newsletter: Markdown, HTML for e-mail, plain text.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama",),
        model="gen",
        backoff_s=60,
        timeout_s=900,
        prompt_version=PROMPT_VERSION,
    )
)
async def govejle_newsletter(given: NewsletterIn, context: Context) -> NewsletterOut:
    """Choose, plan, write section by section, put it together."""
    candidates = candidates_of(given)
    items, dropped = chosen(candidates, given.issue_date, given.language, given.max_items)
    if not items:
        reasons = ", ".join(sorted({one.reason for one in dropped})) or "none came"
        raise Rejected(f"no event is left to write about: {reasons}")
    writer = Writer(given, context)
    sections = [await writer.section(*planned) for planned in await writer.plan(items)]
    front = await writer.front(sections)
    issue = Issue(
        given.issue_date,
        given.language,
        front.subject,
        front.preheader,
        front.lead,
        tuple(sections),
    )
    return finished(issue, dropped, writer.interview.meta)


class Writer:
    """The model's part of one issue."""

    def __init__(self, given: NewsletterIn, context: Context) -> None:
        """Nothing is asked yet."""
        self.interview = Interview(context, PROMPT_VERSION)
        self._given = given
        self._context = context
        self._voice = {
            "LANGUAGE": LANGUAGES[given.language],
            "AUDIENCE": given.audience,
            "TONE": given.tone,
        }

    async def plan(self, items: Sequence[Item]) -> list[tuple[str, list[Item]]]:
        """The sections' headings, and the events of each, the soonest first."""
        self._context.progress(0.05, "planning")
        headings = list(self._given.sections)
        events = [{"event_id": i.event_id, "title": i.title, "category": i.category} for i in items]
        data = {**self._voice, **({"HEADINGS": headings} if headings else {}), "EVENTS": events}
        plan = await self.interview.ask(PLAN, data, plan_check(items, headings))
        return [
            (one.heading, [item for item in items if item.event_id in one.event_ids])
            for one in plan.sections
        ]

    async def section(self, heading: str, items: Sequence[Item]) -> Section:
        """One section, written."""
        self._context.progress(None, f"writing {heading}")
        events = [
            {"event_id": i.event_id, "title": i.title, "facts": i.facts, "summary": i.summary}
            for i in items
        ]
        data = {"HEADING": heading, **self._voice, "EVENTS": events}
        written = await self.interview.ask(SECTION, data, section_check(items))
        hooks = {one.event_id: one_line(one.hook) for one in written.items}
        in_order = tuple(hooks[item.event_id] for item in items)
        return Section(one_line(heading), one_line(written.intro), tuple(items), in_order)

    async def front(self, sections: Sequence[Section]) -> Front:
        """Subject, preheader and lead."""
        self._context.progress(0.9, "subject and lead")
        digest = [
            {"heading": s.heading, "intro": s.intro, "titles": [item.title for item in s.items]}
            for s in sections
        ]
        data = {**self._voice, "DIGEST": digest}
        front = await self.interview.ask(FRONT, data, front_check(digest))
        return msgspec.structs.replace(front, subject=one_line(front.subject))


def candidates_of(given: NewsletterIn) -> list[Candidate]:
    """The events of the input, those of pages in the language of the issue where they have it."""
    told = [Candidate(one.id, event_of(one), one.url, one.image_url) for one in given.events]
    translated = {one.event_id: one for one in given.translations if one is not None}
    pages: dict[str, PageOut] = {}
    for page in (*given.read, *given.enriched):  # what a model added wins
        if page is not None:
            pages[page.event_id] = page
    for page in pages.values():
        event = page.event
        if (found := translated.get(page.event_id)) and found.target == given.language:
            texts = {name: found.fields.get(name) for name in ("title", "summary")}
            event = msgspec.structs.replace(event, **{k: v for k, v in texts.items() if v})
        told.append(
            Candidate(page.event_id, event, page.canonical_url, page.image_url, page.event_key)
        )
    return told


def event_of(one: NewsletterEvent) -> Event:
    """An app's event in the form that pages have."""
    return Event(
        title=one.title,
        summary=one.summary,
        category=one.category,
        start_local=one.start,
        end_local=one.end,
        venue_name=one.venue,
        price_min_dkk=one.price_min_dkk,
        price_max_dkk=one.price_max_dkk,
        is_free=one.is_free,
    )


def finished(issue: Issue, dropped: Sequence[Dropped], meta: Meta) -> NewsletterOut:
    """The issue in its three forms, as short as an e-mail must be."""
    left_out = list(dropped)
    while True:
        markdown = markdown_of(issue)
        html = html_of(markdown, issue)
        if len(html.encode()) <= HTML_MAX_BYTES or len(issue.items) == 1:
            break
        sections, last = without_last(issue.sections)
        issue = msgspec.structs.replace(issue, sections=sections)
        left_out.append(Dropped(last.event_id, "the mail would be too long"))
    urls = {item.url for item in issue.items}
    if links_of(html) != urls:  # a title that is Markdown, say: nothing may lead elsewhere
        raise Rejected(f"links would lead elsewhere: {sorted(links_of(html) ^ urls)[:3]}")
    return NewsletterOut(
        subject=issue.subject,
        preheader=issue.preheader,
        markdown=markdown,
        html=html,
        text=text_of(markdown),
        used_event_ids=tuple(item.event_id for item in issue.items),
        dropped=tuple(left_out),
        meta=meta,
    )
