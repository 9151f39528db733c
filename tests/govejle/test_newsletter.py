"""An issue whose facts are the input's, whatever the model writes around them."""

import json
import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

import processors.builtin
from processors.builtin.govejle_newsletter import NewsletterEvent, NewsletterIn, govejle_newsletter
from processors.dependencies.asking import Ask
from processors.govejle.links import ascii_url
from processors.govejle.mail import HTML_MAX_BYTES, links_of, plain, text_of
from processors.sdk import AnswerUnfit, Rejected
from processors.sdk.testing import Ending, ScriptedOllama, run_processor

SAMPLES = Path(processors.builtin.__file__).parent / "samples" / "govejle-newsletter"
Answers = Callable[[str, dict[str, Any]], Any]


def data_of(ask: Ask) -> dict[str, Any]:
    found = re.findall(r"<<<(\w+)\n(.*?)\n\1>>>", ask.turns[1].content, re.DOTALL)
    return {name: json.loads(text) if text[:1] in "[{" else text for name, text in found}


def form_of(ask: Ask) -> str:
    assert isinstance(ask.format, dict)
    names = ask.format["properties"]
    return "plan" if "sections" in names else "front" if "subject" in names else "section"


def write(form: str, data: dict[str, Any]) -> Any:
    """What a good model answers."""
    if form == "plan":
        ids = [event["event_id"] for event in data["EVENTS"]]
        headings = data.get("HEADINGS") or [
            "Today",
            "Soon",
            "This week",
            "Next week",
            "Later",
            "Still later",
        ]
        parts = [ids[start : start + 8] for start in range(0, len(ids), 8)]
        pairs = list(zip(headings, parts, strict=False))
        return {"sections": [{"heading": name, "event_ids": part} for name, part in pairs]}
    if form == "section":
        hooks = [
            {"event_id": e["event_id"], "hook": f"Go & see {e['title']}"} for e in data["EVENTS"]
        ]
        return {"intro": "Something for everyone.", "items": hooks}
    return {"lead": "Here we go.", "subject": "What is on in Vejle", "preheader": "And more"}


def model(answers: Answers = write) -> ScriptedOllama:
    def said(ask: Ask) -> str:
        return json.dumps(answers(form_of(ask), data_of(ask)))

    return ScriptedOllama(*[said] * 30)


async def run(payload: object, answers: Answers = write) -> tuple[Ending, ScriptedOllama]:
    scripted = model(answers)
    return await run_processor(govejle_newsletter, payload, ollama=scripted), scripted


def an_event(number: int = 1, **fields: Any) -> NewsletterEvent:
    given = {
        "id": f"e{number}",
        "title": f"Koncert {number}",
        "start": f"{date(2026, 11, 30) + timedelta(days=number)}T19:30:00+01:00",
        "url": f"https://x.example/{number}",
        **fields,
    }
    return NewsletterEvent(**given)


def an_issue(*events: NewsletterEvent, **fields: Any) -> NewsletterIn:
    return NewsletterIn(issue_date=date(2026, 11, 27), events=events, **fields)


async def test_the_sample_is_written_section_by_section() -> None:
    payload = json.loads((SAMPLES / "plain.json").read_bytes())
    ending, asked = await run(payload)
    result: Any = ending.result
    used = result["used_event_ids"]
    assert [form_of(ask) for ask in asked.asked] == [
        "plan",
        "section",
        "section",
        "section",
        "front",
    ]
    assert len(used) == len(set(used)) == 20
    assert len(result["dropped"]) == 14
    events = {event["id"]: event for event in payload["events"]}
    assert links_of(result["html"]) == {events[one]["url"] for one in used}
    for one in used:
        assert result["html"].count(f'href="{events[one]["url"]}"') == 1
        assert result["text"].count(events[one]["url"] + "\n") == 1
    starts = [events[one]["start"] for one in used[:8]]
    assert starts == sorted(starts)
    assert "Fredag 4. december, 20:30" in result["html"]
    assert len(result["html"].encode()) <= HTML_MAX_BYTES
    assert result["meta"]["calls"] == 5


async def test_headings_that_are_asked_for_are_kept_in_danish_too() -> None:
    ending, asked = await run((SAMPLES / "headings.json").read_bytes())
    result: Any = ending.result
    assert "## Musik og scene\n" in result["markdown"]
    assert "Fredag 27. november" in result["text"]
    assert data_of(asked.asked[0])["LANGUAGE"] == "Danish"


Spoil = Callable[[str, Any], Any]


def plan(change: Callable[[list[Any]], Any]) -> Spoil:
    def spoil(form: str, answer: Any) -> Any:
        if form == "plan":
            change(answer["sections"])
        return answer

    return spoil


def field(form: str, name: str, text: str) -> Spoil:
    def spoil(asked: str, answer: Any) -> Any:
        return {**answer, name: text} if asked == form else answer

    return spoil


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (plan(lambda s: s[0]["event_ids"].append("e99")), "e99 is no id of EVENTS"),
        (plan(lambda s: s[0]["event_ids"].append("e1")), "e1 stands twice"),
        (plan(lambda s: s[0]["event_ids"].pop()), "e2 is left out"),
        (plan(lambda s: s[0].update(heading="Den 24. december")), "numbers of its own: 24"),
        (field("section", "intro", "Kl. 20.15 går det løs"), "numbers of its own: 15, 20"),
        (field("section", "intro", "Se https://ond.example"), "intro has 'https://'"),
        (field("front", "lead", "<b>Kom</b>"), "lead has '<'"),
        (field("front", "subject", "x" * 61), r"length <= 60"),
        (field("front", "preheader", " "), "preheader is empty"),
    ],
)
async def test_what_a_model_may_not_write_is_sent_back_and_then_fails(
    spoil: Spoil, fault: str
) -> None:
    ending, asked = await run(
        an_issue(an_event(1), an_event(2)), lambda form, data: spoil(form, write(form, data))
    )
    assert isinstance(ending.error, AnswerUnfit)
    assert fault in str(ending.error)
    assert any(fault in ask.turns[-1].content for ask in asked.asked)


async def test_events_that_cannot_be_told_of_are_named_with_the_reason() -> None:
    events = [
        an_event(1),
        an_event(2, title="koncert 1", start="2026-12-01T19:30:00+01:00"),
        an_event(3, start="2026-11-20"),
        an_event(4, start="engang"),
        an_event(5, title=" "),
        an_event(6),
    ]
    ending, _ = await run(an_issue(*events, max_items=1))
    result: Any = ending.result
    assert {one["event_id"]: one["reason"] for one in result["dropped"]} == {
        "e2": "the same as e1",
        "e3": "past",
        "e4": "no start",
        "e5": "no title",
        "e6": "over 1 events",
    }
    ending, _ = await run(an_issue(an_event(3, start="2026-11-20")))
    assert isinstance(ending.error, Rejected)
    assert str(ending.error) == "no event is left to write about: past"


async def test_what_the_stages_of_a_flow_found_is_told_in_the_language_of_the_issue() -> None:
    def page(number: int, **event: Any) -> dict[str, Any]:
        return {
            "event_id": f"gv-{number}",
            "event": {"title": "Fest", "start_local": "2026-12-01", **event},
            "provenance": {},
            "text_md": "",
            "image_url": "https://x.example/billede.jpg",
            "warnings": [],
            "canonical_url": f"https://x.example/{number}",
            "event_key": f"k{number}",
        }

    translation = {
        "event_id": "gv-1",
        "target": "en",
        "fields": {"title": "Party", "summary": None},
        "protected_ok": True,
        "warnings": [],
        "meta": {},
    }
    given = {
        "issue_date": "2026-11-27",
        "read": [page(1), page(2), page(3, status="cancelled"), None],
        "enriched": [{**page(1, venue_name="Bygningen"), "meta": {}}, None],
        "translations": [translation, None],
    }
    ending, _ = await run(given)
    result: Any = ending.result
    assert result["used_event_ids"] == ["gv-1", "gv-2"]
    assert (
        "### [Party](<https://x.example/1>)\n\n**Tuesday 1 December** · Bygningen"
        in (result["markdown"])
    )
    assert 'alt="Party"' in result["html"]
    assert result["dropped"] == [{"event_id": "gv-3", "reason": "cancelled"}]


HOSTILE = (
    "[klik](https://ond.example) <script>alert(1)</script> **nu** `x` ](<https://ond.example>)"
)


async def test_titles_and_summaries_are_text_whatever_they_hold() -> None:
    def answers(form: str, data: dict[str, Any]) -> Any:
        hooks = [{"event_id": "e1", "hook": "Go."}]
        return {"intro": "Nice.", "items": hooks} if form == "section" else write(form, data)

    event = an_event(1, title=HOSTILE, summary=f"# {HOSTILE}")
    ending, _ = await run(an_issue(event), answers)
    result: Any = ending.result
    assert links_of(result["html"]) == {"https://x.example/1"}
    assert LexborHTMLParser(result["html"]).css_first("script") is None
    assert HOSTILE in result["text"]


async def test_a_mail_that_is_too_long_loses_its_last_events_and_says_so() -> None:
    long = {"summary": "ord " * 60, "url": "https://x.example/" + "y" * 1_900}
    events = [an_event(n, **{**long, "url": f"{long['url']}{n}"}) for n in range(1, 46)]
    ending, _ = await run(an_issue(*events, max_items=45))
    result: Any = ending.result
    assert len(result["html"].encode()) <= HTML_MAX_BYTES
    late = [one["event_id"] for one in result["dropped"]]
    assert late[0] == "e45"
    assert len(late) + len(result["used_event_ids"]) == 45


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://x.dk/børn?a=1&b=ø", "https://x.dk/b%C3%B8rn?a=1&b=%C3%B8"),
        ("https://økolariet.dk/a", "https://xn--kolariet-44a.dk/a"),
        ("https://x.dk:8080/a_(b)*c*?q=[1]#d|e", "https://x.dk:8080/a_(b)*c*?q=%5B1%5D#d%7Ce"),
        ("https://x.dk/it's%20\"a\\b`c`", "https://x.dk/it%27s%20%22a%5Cb%60c%60"),
        ("https://x.dk/&amp;x<b>", "https://x.dk/&amp%3Bx%3Cb%3E"),
        ("https://user:pass@x.dk/", "https://x.dk/"),
    ],
)
async def test_a_link_is_the_same_in_markdown_html_and_text(url: str, told: str) -> None:
    ending, _ = await run(an_issue(an_event(1, url=url, image_url=url)))
    result: Any = ending.result
    assert links_of(result["html"]) == {told}
    assert f"(<{told}>)" in result["markdown"]
    assert f"{told}\n" in result["text"]
    picture = LexborHTMLParser(result["html"]).css_first("img")
    assert picture.attributes["src"] == told


@given(st.text(min_size=1, max_size=30))
def test_no_url_leaves_its_brackets(text: str) -> None:
    found = ascii_url(f"https://x.dk/{text}")
    assert found is None or (found.isascii() and not set(found) & set("<>\"' \n\\"))
    assert found is None or ascii_url(found) == found


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=60))
def test_escaped_text_reads_as_it_was(text: str) -> None:
    line = " ".join(text.split())
    assert text_of(plain(text)) == line + "\n"
