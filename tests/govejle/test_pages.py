"""What is read from each sample page, whole: the golden files are the claim."""

import json
from datetime import date
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import processors.builtin
from processors.govejle.extract import TEXT_MAX, Extraction, contradictions, extract

SAMPLES = Path(processors.builtin.__file__).parent / "samples" / "govejle-page"
PAGES = sorted((SAMPLES / "pages").glob("*.html"))
GOLDEN = Path(__file__).parent / "golden"
TODAY = date(2026, 11, 23)


def read(text: str, url: str = "https://vejle.example/det-sker/side") -> Extraction:
    return extract(text, url, TODAY)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_sample_page_is_read_as_its_golden_file_says(page: Path) -> None:
    found = read(page.read_text("utf-8"), f"https://{page.stem}.example/det-sker/{page.stem}")
    golden = json.loads((GOLDEN / f"{page.stem}.json").read_text("utf-8"))
    assert json.loads(msgspec.json.encode(found)) == golden


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fact_has_a_source_and_every_source_a_fact(page: Path) -> None:
    found = read(page.read_text("utf-8"))
    facts = {**msgspec.structs.asdict(found.event), "image_url": found.image_url}
    assert {name for name, value in facts.items() if value is not None} == set(found.provenance)


def test_what_a_page_hides_or_orders_is_not_obeyed() -> None:
    page = (SAMPLES / "pages" / "spinderihallerne-hostile.html").read_text("utf-8")
    found = read(page)
    assert (found.event.title, found.event.price_min_dkk) == ("Åbent værksted", 60)
    assert "Hackerspace" not in found.text_md
    assert "Pris: 99999" not in found.text_md


def test_an_empty_page_says_nothing_and_so_do_we() -> None:
    found = read("")
    assert found.provenance == {}
    assert found.warnings == ("no title was found", "no start was found")
    assert found.canonical_url == "https://vejle.example/det-sker/side"


def test_markup_and_text_that_disagree_are_reported() -> None:
    times = '"startDate":"2027-02-05T20:00","eventStatus":"EventScheduled"'
    markup = '{"@type":"Event","name":"Fest",' + times + "}"
    found = read(
        f'<script type="application/ld+json">{markup}</script>'
        "<h1>AFLYST: Fest</h1><p>Fredag d. 5. februar 2027 kl. 21.00</p>"
    )
    assert found.event.start_local == "2027-02-05T20:00:00+01:00"
    assert found.warnings == (
        "the text says cancelled, the markup scheduled",
        "the text says 2027-02-05T21:00:00+01:00, the markup 2027-02-05T20:00:00+01:00",
    )


def test_a_day_in_the_markup_gets_its_time_from_the_text() -> None:
    markup = '{"@type":"Event","name":"Fest","startDate":"2027-02-05"}'
    found = read(
        f'<script type="application/ld+json">{markup}</script><p>Fredag d. 5. februar kl. 20-23</p>'
    )
    assert found.event.start_local == "2027-02-05T20:00:00+01:00"
    assert found.event.end_local == "2027-02-05T23:00:00+01:00"
    assert found.provenance["start_local"] == "text"


def test_a_time_is_not_made_up() -> None:
    found = read("<h1>Marked</h1><p>Lørdag d. 5. juni 2027 på Økolariet</p>")
    assert found.event.start_local == "2027-06-05"
    assert found.event.price_min_dkk is None
    assert found.event.is_free is None


def test_one_event_has_one_key_on_two_sites() -> None:
    day = "<p>Fredag d. 5. februar 2027 kl. 20.00 på Bygningen</p>"
    first = read(f"<h1>Gormsgade</h1>{day}", "https://a.example/x")
    second = read(f"<h1>AFLYST: GORMSGADE!</h1>{day}", "https://b.example/y")
    other = read(f"<h1>Gorms gæster</h1>{day}", "https://a.example/x")
    assert first.event_key == second.event_key != other.event_key


def test_what_the_app_knows_is_compared_and_not_copied() -> None:
    event = read("<h1>Gormsgade</h1>").event
    assert contradictions(event, {"title": "gormsgade", "venue_name": "Bygningen"}) == []
    (warning,) = contradictions(event, {"title": "Andet"})
    assert warning == "title: the app knows 'Andet', the page says 'Gormsgade'"


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 20_000 + "x",
        "<p>" + "<b>" * 5_000 + "x",
        "<h1>" + "A" * 500_000,
        "<p>" + "Vej 1, " * 50_000 + "</p>",
        "<p>" + "AAAA BBBB " * 20_000 + "</p>",
        "<p>x</p>" * 50_000,
        '<script type="application/ld+json">' + "[" * 100_000 + "</script>",
        '<script type="application/ld+json">' + "[{}," * 50_000 + "</script>",
        '<script type="application/ld+json">{"@type":"Event","location":{"@id":"a"}}</script>',
        '<script type="application/ld+json">{"@id":"a","@type":"Event","url":{"@id":"a"}}</script>',
    ],
    ids=range(10),
)
def test_a_hostile_page_raises_nothing(html: str) -> None:
    assert len(read(html).text_md) <= TEXT_MAX


def test_a_page_of_very_many_elements_is_read_without_the_slow_parser(monkeypatch) -> None:
    monkeypatch.setattr("trafilatura.extract", lambda *_, **__: pytest.fail("it takes seconds"))
    assert read("<p>x</p>" * 50_000).text_md.startswith("x")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20)
    | st.sampled_from(["2027-02-05", "2027-02-05T20:00Z", "150", "Event", "https://x.example/"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip
FIELDS = [
    "name",
    "description",
    "startDate",
    "endDate",
    "previousStartDate",
    "eventStatus",
    "location",
    "organizer",
    "performer",
    "image",
    "offers",
    "price",
    "priceCurrency",
    "isAccessibleForFree",
    "url",
    "@id",
]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
@settings(max_examples=60, deadline=None)
def test_no_jsonld_raises(fields: dict[str, object]) -> None:
    event = json.dumps({"@type": "MusicEvent", **fields}).replace("<", "\\u003c")
    found = read(f'<script type="application/ld+json">{event}</script>')
    msgspec.json.encode(found)


@given(st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_no_html_raises(text: str) -> None:
    read(text)
