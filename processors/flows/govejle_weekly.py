"""The week's newsletter: each page is fetched and read, each event translated, then all written up.

A page that cannot be had costs the newsletter that page and nothing else.
"""

from datetime import date
from typing import Annotated, Literal

import msgspec

from processors.builtin.govejle_page import PageIn
from processors.sdk import Each, NamedFlow, OnFailure, Stage


class WeeklyIn(msgspec.Struct, forbid_unknown_fields=True):
    """Which pages the issue is made of, and for whom."""

    issue_date: date
    pages: Annotated[tuple[PageIn, ...], msgspec.Meta(min_length=1, max_length=60)]
    language: Literal["da", "en", "de"] = "en"
    audience: Annotated[str, msgspec.Meta(max_length=200)] = "families"
    max_items: Annotated[int, msgspec.Meta(ge=1, le=60)] = 20  # events of the issue
    tone: Annotated[str, msgspec.Meta(max_length=200)] = "warm and plain"


FLOW = NamedFlow(
    name="govejle-weekly",
    version="1.0.0",
    summary="From the week's pages to a newsletter in one language.",
    input=WeeklyIn,
    stages=(
        # On io: the page, and what its markup says of the event.
        Stage(
            "fetch",
            "govejle-page",
            each=Each(path="/pages"),
            on_failure=OnFailure.CONTINUE,
        ),
        # On ollama: what only the prose says.
        Stage("extract", "govejle-extraction", each=Each("fetch"), on_failure=OnFailure.CONTINUE),
        Stage(
            "translate",
            "govejle-translation",
            each=Each("extract"),
            payload={
                "event_id": {"$item": "/event_id"},
                "source": "da",
                "target": {"$input": "/language"},
                "fields": {
                    "title": {"$item": "/event/title"},
                    "summary": {"$item": "/event/summary"},
                },
                "protect": {"$item": "/event/performers"},
            },
            on_failure=OnFailure.CONTINUE,
        ),
        Stage(
            "newsletter",
            "govejle-newsletter",
            payload={
                "issue_date": {"$input": "/issue_date"},
                "language": {"$input": "/language"},
                "audience": {"$input": "/audience"},
                "tone": {"$input": "/tone"},
                "max_items": {"$input": "/max_items"},
                "read": {"$result": "fetch"},
                "enriched": {"$result": "extract"},
                "translations": {"$result": "translate"},
            },
        ),
    ),
)
