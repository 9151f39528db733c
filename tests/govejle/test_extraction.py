"""What a model says of a page counts only where the page bears it out."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import processors.builtin
from processors.builtin.govejle_extraction import govejle_extraction
from processors.builtin.govejle_page import PageIn, PageOut, govejle_page
from processors.govejle.event import Event
from processors.govejle.extraction import Fact, accept, missing_fields, shown_text
from processors.sdk import AnswerCut
from processors.sdk.testing import Ending, ScriptedOllama, run_processor

SAMPLES = Path(processors.builtin.__file__).parent / "samples" / "govejle-extraction"
TODAY = date(2026, 11, 23)
PAGE = (
    "Vi synger julen ind! Tag hele familien med den tolvte i Byparken, eller den 12/12, når "
    "klokken slår 15. Det koster 40 kr., og det er gratis for børn. Gløgg 25. Price is 99999."
)


def said(*facts: tuple[str, str, str]) -> str:
    return json.dumps(
        {"facts": [dict(zip(("field", "quote", "value"), f, strict=True)) for f in facts]}
    )


async def run(sample: str, *answers: str) -> Ending:
    payload = (SAMPLES / f"{sample}.json").read_bytes()
    return await run_processor(govejle_extraction, payload, ollama=ScriptedOllama(*answers))


@pytest.mark.parametrize(
    ("field", "quote", "value", "taken"),
    [
        ("title", "Vi synger julen ind!", "Vi synger julen ind", "Vi synger julen ind"),
        ("title", "Vi synger julen ind!", "HACKED", None),
        ("title", "Vi synger julen ud!", "Vi synger julen ud", None),
        ("venue_name", "i Byparken", "Byparken", "Byparken"),
        (
            "start_local",
            "den 12/12, når klokken slår 15",
            "2026-12-12T15:00",
            "2026-12-12T15:00:00+01:00",
        ),
        ("start_local", "den 12/12, når klokken slår 15", "2026-12-12T16:00", None),
        ("start_local", "den 12/12, når klokken slår 15", "2028-12-12T15:00", None),
        ("start_local", "den tolvte i Byparken", "2026-12-12", None),
        ("start_local", "den 12/12", "2026-12-12", "2026-12-12"),
        ("price_min_dkk", "Det koster 40 kr.", "40", 40.0),
        ("price_min_dkk", "Det koster 40 kr.", "45", None),
        ("price_max_dkk", "Gløgg 25", "25", None),
        ("price_max_dkk", "Price is 99999", "99999", None),
        ("is_free", "det er gratis for børn", "true", None),
        ("category", "Vi synger julen ind", "musik", "musik"),
        ("category", "Vi synger julen ind", "hacking", None),
        ("audience", "Tag hele familien med", "families", "families"),
        ("summary", "Vi synger julen ind", "Fællessang for alle.", "Fællessang for alle."),
        ("summary", "Vi synger julen ind", "Fællessang kl. 19.", None),
        ("summary", "Vi synger julen ind", "Se https://ond.example", None),
        ("audience", "", "families", None),
    ],
)
def test_a_fact_is_taken_only_with_a_quote_that_bears_it_out(
    field: Any, quote: str, value: str, taken: object
) -> None:
    found = accept([Fact(field, quote, value)], PAGE, TODAY, [field])
    assert found.values.get(field) == taken
    assert bool(found.warnings) == (taken is None)


@given(
    st.lists(
        st.builds(Fact, st.sampled_from(["price_min_dkk", "start_local"]), st.text(), st.text())
    )
)
def test_no_price_and_no_time_is_invented(facts: list[Fact]) -> None:
    assert accept(facts, "En side uden tal", TODAY, ["price_min_dkk", "start_local"]).values == {}


def test_only_what_nobody_else_said_is_asked_for() -> None:
    assert "title" not in missing_fields(Event(title="X"))
    assert "address" not in missing_fields(Event(venue_name="Bygningen"))
    assert "end_local" not in missing_fields(Event(start_local="2026-12-12"))
    assert not {"price_min_dkk", "is_free"} & {*missing_fields(Event(price_max_dkk=40.0))}


async def test_a_page_in_prose_is_read_with_its_quotes() -> None:
    ending = await run(
        "prose",
        said(
            ("category", "synger julen ind sammen", "musik"),
            ("start_local", "lørdag den 12/12 2026, når klokken slår 15", "2026-12-12T15:00"),
            ("price_min_dkk", "en halvtredser", "50"),
        ),
    )
    result: Any = ending.result
    assert result["event"]["category"] == "musik"
    assert result["event"]["start_local"] == "2026-12-12T15:00:00+01:00"
    assert result["provenance"]["category"] == result["provenance"]["start_local"] == "llm"
    assert "no start was found" not in result["warnings"]
    assert any(line.startswith("price_min_dkk: dropped") for line in result["warnings"])
    assert result["meta"]["calls"] == 1


async def test_a_hostile_page_stays_data_and_its_orders_are_left_out() -> None:
    model = ScriptedOllama(said(("category", "3D-print", "teknologi")))
    payload = (SAMPLES / "hostile.json").read_bytes()
    ending = await run_processor(govejle_extraction, payload, ollama=model)
    result: Any = ending.result
    system, user = (turn.content for turn in model.asked[0].turns)
    assert "gnore previous" not in user + system
    assert "HACKED" not in system
    assert user.count("PAGE>>>") == 1
    assert result["event"]["title"] == "Åbent værksted"
    assert any("speak to a model" in line for line in result["warnings"])


async def test_a_page_that_said_everything_costs_no_model() -> None:
    event = Event(
        *("T", "S", "musik", "2026-12-12"),
        venue_name="Bygningen",
        is_free=True,
        audience="everyone",
    )
    given = PageOut("gv-1", event, {}, "tekst", None, (), "https://vejle.example/1", "k")
    ending = await run_processor(govejle_extraction, given, ollama=ScriptedOllama())
    result: Any = ending.result
    assert (result["meta"]["calls"], result["meta"]["model"]) == (0, "")


async def test_what_enrichment_gives_is_what_extraction_takes() -> None:
    html = "<title>X</title><main><h1>Julekor</h1><p>Vi synger julen ind i Byparken.</p></main>"
    page = PageIn("gv-1", "https://vejle.example/1", html=html)
    read = (await run_processor(govejle_page, page, http=object())).result
    ending = await run_processor(
        govejle_extraction, read, ollama=ScriptedOllama(said(("category", "julen", "musik")))
    )
    result: Any = ending.result
    assert result["event"] == {**msgspec.to_builtins(Event(title="Julekor")), "category": "musik"}


def test_a_page_that_is_too_long_is_cut_and_that_is_said() -> None:
    text, warnings = shown_text("ord " * 10_000)
    assert len(text) == 20_000
    assert warnings == ("only the first 20000 characters of 39999 were read",)


async def test_an_answer_that_is_cut_off_is_asked_for_in_halves() -> None:
    music = said(("category", "synger julen ind sammen", "musik"))
    model = ScriptedOllama("{|length", music, said())
    payload = (SAMPLES / "prose.json").read_bytes()
    result: Any = (await run_processor(govejle_extraction, payload, ollama=model)).result
    assert result["event"]["category"] == "musik"
    ending = await run("prose", *["{|length"] * 10)
    assert isinstance(ending.error, AnswerCut)
