"""Fetches an event's page and reads the event from it: JSON-LD, OpenGraph, Danish text.

What the page does not say stays empty, and every fact names its source. What is in prose too free
for patterns is left to `govejle-extraction`; `govejle-enrichment` is a flow of both.
"""

import asyncio
from datetime import UTC, date, datetime
from typing import Annotated

import msgspec

from processors.dependencies.http import Http
from processors.govejle.event import Event, Source
from processors.govejle.extract import contradictions, extract
from processors.govejle.local_time import COPENHAGEN
from processors.sdk import Context, Manifest, ResourceClass, processor


class PageIn(msgspec.Struct, forbid_unknown_fields=True):
    """Which page to read. With `html` nothing is fetched, and `url` only names the page."""

    event_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    url: Annotated[str, msgspec.Meta(pattern="^https?://", max_length=2_048)]
    html: Annotated[str, msgspec.Meta(max_length=2_000_000)] | None = None
    known: dict[str, str] = {}  # facts the app has, by name: compared, never copied
    fetched_at: datetime | None = None  # when `html` was fetched: decides the year of dates


class PageOut(msgspec.Struct, forbid_unknown_fields=True):
    """The event of a page. Every field of it that is not null has its source in `provenance`."""

    event_id: str
    event: Event
    provenance: dict[str, Source]
    text_md: str
    image_url: str | None
    warnings: tuple[str, ...]
    canonical_url: str
    event_key: str  # the same for the same event on several sites


@processor(
    Manifest(
        name="govejle-page",
        version="1.0.0",
        summary="Read the event from its web page, with the source of every fact.",
        resource_class=ResourceClass.IO,
        dependencies=("http",),
        attempts_max=4,
        backoff_s=30,
        timeout_s=60,
    )
)
async def govejle_page(given: PageIn, context: Context) -> PageOut:
    """Fetch unless the page came along, then extract in a thread: parsing takes its time."""
    url, html, fetched_at = given.url, given.html, given.fetched_at
    if html is None:
        context.progress(0.1, "fetching")
        fetched = await context.need("http", Http).get(url)
        url, html = fetched.url, fetched.text
        fetched_at = datetime.fromtimestamp(fetched.fetched_ms / 1_000, UTC)
    context.progress(0.6, "reading")
    today = local_day(fetched_at or datetime.fromtimestamp(context.submitted_ms / 1_000, UTC))
    found = await asyncio.to_thread(extract, html, url, today)
    return PageOut(
        event_id=given.event_id,
        event=found.event,
        provenance=found.provenance,
        text_md=found.text_md,
        image_url=found.image_url,
        warnings=(*found.warnings, *contradictions(found.event, given.known)),
        canonical_url=found.canonical_url,
        event_key=found.event_key,
    )


def local_day(moment: datetime) -> date:
    """The day in Vejle; a moment without an offset is local already."""
    return (moment.astimezone(COPENHAGEN) if moment.tzinfo else moment).date()
