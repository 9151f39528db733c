"""schema.org as sites write it."""

import json
from typing import Any

import pytest

from processors.govejle.event import Facts, Status
from processors.govejle.jsonld import amount, facts_from_jsonld
from processors.govejle.local_time import parse_iso, render
from processors.govejle.page import parse_page

DKK = {"priceCurrency": "DKK"}
URL = "https://vejle.example/det-sker/fest"


def facts(*documents: Any, body: str = "") -> tuple[Facts, list[str]]:
    scripts = "".join(
        f'<script type="application/ld+json">{json.dumps(document)}</script>'
        for document in documents
    )
    return facts_from_jsonld(parse_page(scripts + body, URL))


def event(**fields: Any) -> dict[str, Any]:
    return {"@type": "Event", "name": "Fest", **fields}


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("2027-02-05T20:00", "2027-02-05T20:00:00+01:00"),
        ("2027-06-05T20:00", "2027-06-05T20:00:00+02:00"),
        ("2027-06-05 20:00", "2027-06-05T20:00:00+02:00"),
        ("2027-06-05T18:00:00Z", "2027-06-05T20:00:00+02:00"),
        ("2027-06-05T14:00:00-04:00", "2027-06-05T20:00:00+02:00"),
        ("2027-6-5T20:00", "2027-06-05T20:00:00+02:00"),
        ("2027-06-05", "2027-06-05"),
        ("2027-06-05T00:00:00", "2027-06-05"),
        ("2027-03-28T02:30", "2027-03-28T03:30:00+02:00"),
        ("2026-10-25T02:30", "2026-10-25T02:30:00+02:00"),
        ("0001-01-01T00:00:00", None),
        ("9999-12-31T23:59:59", None),
        ("fredag", None),
        ("", None),
    ],
)
def test_a_time_without_an_offset_is_copenhagens(text: str, local: str | None) -> None:
    assert render(parse_iso(text)) == local


@pytest.mark.parametrize(
    "wrap",
    [
        lambda e: e,
        lambda e: [e],
        lambda e: {"@graph": [{"@type": "WebPage"}, e]},
        lambda e: {"@type": "WebPage", "mainEntity": e},
        lambda e: {"@type": "ItemList", "itemListElement": [{"item": e}]},
        lambda e: {**e, "@type": ["Thing", "https://schema.org/MusicEvent"]},
        lambda e: {**e, "@type": "schema:TheaterEvent"},
    ],
)
def test_an_event_is_found_wherever_it_stands(wrap: Any) -> None:
    found, warnings = facts(wrap(event(startDate="2027-02-05")))
    assert (found.title, warnings) == ("Fest", [])


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ("https://schema.org/EventCancelled", Status.CANCELLED),
        ("http://schema.org/EventRescheduled", Status.RESCHEDULED),
        ("EventPostponed", Status.POSTPONED),
        (["https://schema.org/EventMovedOnline"], Status.MOVED_ONLINE),
        ("nonsense", None),
    ],
)
def test_the_status_is_kept(status: Any, meant: Status | None) -> None:
    assert facts(event(eventStatus=status))[0].status is meant


@pytest.mark.parametrize(
    ("offers", "low", "high", "free"),
    [
        ({"price": "150.00", "priceCurrency": "DKK"}, 150, 150, False),
        ({"price": 0, "priceCurrency": "DKK"}, 0, 0, True),
        ({"price": 0}, 0, 0, True),
        ([{**DKK, "price": 95}, {**DKK, "price": "1.250"}], 95, 1250, False),
        ({"lowPrice": 95, "highPrice": "195,50", "priceCurrency": "dkk"}, 95, 195.5, False),
        ({"priceSpecification": {"price": 80, "priceCurrency": "DKK"}}, 80, 80, False),
        ({"price": 20, "priceCurrency": "EUR"}, None, None, None),
        ({"price": 150}, None, None, None),
        ({"price": "fra 150", "priceCurrency": "DKK"}, None, None, None),
        ({"price": True, "priceCurrency": "DKK"}, None, None, None),
        ("gratis", None, None, None),
    ],
)  # fmt: skip
def test_a_price_is_in_kroner_or_left_out(
    offers: Any, low: float | None, high: float | None, free: bool | None
) -> None:
    found, _ = facts(event(offers=offers))
    assert (found.price_min_dkk, found.price_max_dkk, found.is_free) == (low, high, free)


@pytest.mark.parametrize(
    ("value", "kroner"),
    [
        ("150,-", 150),
        ("kr. 95", 95),
        ("95.5", 95.5),
        ("1.250", 1250),
        ("1.25", 1.25),
        ("-5", None),
        ("1e3", None),
    ],
)
def test_amounts_are_read_as_danes_write_them(value: str, kroner: float | None) -> None:
    assert amount(value) == kroner


def test_references_are_followed_and_sold_out_is_all_sold_out() -> None:
    found, _ = facts(
        {
            "@graph": [
                {"@type": "Place", "@id": "#p", "name": "Bygningen", "address": {"@id": "#a"}},
                {"@type": "PostalAddress", "@id": "#a", "streetAddress": "Vej 1"},
                event(location={"@id": "#p"}, offers=[{"availability": "https://schema.org/SoldOut"}]),
            ]
        }
    )  # fmt: skip
    assert (found.venue_name, found.address, found.sold_out) == ("Bygningen", "Vej 1", True)


def test_of_several_events_the_pages_own_is_taken() -> None:
    others = [event(name="Andet"), event(name="Tredje")]
    by_url, _ = facts([*others, event(name="Min", url=URL + "/")])
    by_name, _ = facts([*others, event(name="Min")], body="<h1>MIN</h1>")
    by_chance, warnings = facts(others)
    assert [by_url.title, by_name.title, by_chance.title] == ["Min", "Min", "Andet"]
    assert warnings == ["the page holds 2 events, the first was taken"]


def test_an_unreadable_date_is_reported() -> None:
    found, warnings = facts(event(startDate="snart"))
    assert (found.start, warnings) == (None, ["startDate is not a date: snart"])


@pytest.mark.parametrize(
    ("head", "canonical"),
    [
        ("", "https://vejle.example/det-sker/fest?id=7"),
        ('<link rel="canonical" href="/fest?utm_source=x&id=7#top">', "https://vejle.example/fest?id=7"),
        ('<link rel="canonical" href="https://www.vejle.example/fest">', "https://www.vejle.example/fest"),
        ('<link rel="canonical" href="https://other.example/fest">', "https://vejle.example/det-sker/fest?id=7"),
        ('<link rel="canonical" href="/">', "https://vejle.example/det-sker/fest?id=7"),
        ('<link rel="canonical" href="javascript:alert(1)">', "https://vejle.example/det-sker/fest?id=7"),
        ('<meta property="og:url" content="/og?fbclid=1">', "https://vejle.example/og"),
    ],
)  # fmt: skip
def test_a_page_is_known_by_one_url(head: str, canonical: str) -> None:
    assert parse_page(head, URL + "?id=7&utm_medium=mail").canonical_url == canonical
