"""What cannot be worked on is named for what it is, through the real client and the simulator."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import processors.builtin
from ops.sim_ollama import SimConfig
from processors.builtin.govejle_extraction import govejle_extraction
from processors.builtin.govejle_newsletter import govejle_newsletter
from processors.builtin.govejle_page import PageIn, govejle_page
from processors.builtin.govejle_translation import govejle_translation
from processors.dependencies.ollama_errors import PromptTooLong
from processors.sdk import AnswerUnfit
from processors.sdk.testing import Ending, run_processor
from streams.errors import InvalidInput, TooLarge
from tests.ollama.simulated import Sim, Simulated, asking, small_models

SAMPLES = Path(processors.builtin.__file__).parent / "samples"
CHAT = {"route": "/api/chat"}


@pytest.fixture
def sim() -> Iterator[Sim]:
    with Simulated() as simulated:
        yield simulated.start(SimConfig(models=small_models(), speed=200, load_spread=0))


async def run(sim: Sim, folder: Path, processor: Any, sample: str, model: str = "wide") -> Ending:
    async with asking(sim, folder, model) as ollama:
        payload = (SAMPLES / sample).read_bytes()
        return await run_processor(processor, payload, ollama=ollama, timeout_s=30)


async def test_an_answer_without_the_grammar_is_mended(sim: Sim, tmp_path: Path) -> None:
    await sim.fault("schema_ignored", match=CHAT)
    ending = await run(sim, tmp_path, govejle_newsletter, "govejle-newsletter/headings.json")
    result: Any = ending.result
    assert (result["meta"]["repairs"], result["meta"]["refusals"]) == (1, 1)
    assert "answer not used" in [line.message for line in ending.lines]
    assert len(result["used_event_ids"]) == 6


async def test_a_model_that_never_keeps_to_the_form_fails_with_its_words_kept(
    sim: Sim, tmp_path: Path
) -> None:
    await sim.fault("schema_ignored", match=CHAT, times=0)
    ending = await run(sim, tmp_path, govejle_extraction, "govejle-extraction/prose.json")
    assert isinstance(ending.error, AnswerUnfit)
    assert str(ending.error).startswith("facts: JSON is malformed")
    kept = [line.fields["answer"] for line in ending.lines if line.message == "answer not used"]
    assert len(kept) == 3
    assert all(str(one) for one in kept)


async def test_json_that_is_cut_short_is_asked_for_in_halves(sim: Sim, tmp_path: Path) -> None:
    await sim.fault("cut_json", match=CHAT)
    ending = await run(sim, tmp_path, govejle_translation, "govejle-translation/event.json")
    result: Any = ending.result
    assert result["meta"]["calls"] >= 3
    assert result["protected_ok"]


async def test_a_stream_without_an_end_is_asked_anew(sim: Sim, tmp_path: Path) -> None:
    await sim.fault("no_done", match=CHAT, arg=2)
    ending = await run(sim, tmp_path, govejle_extraction, "govejle-extraction/hostile.json")
    assert ending.result


async def test_a_context_that_is_too_small_is_said_to_be(sim: Sim, tmp_path: Path) -> None:
    ending = await run(sim, tmp_path, govejle_newsletter, "govejle-newsletter/plain.json", "small")
    assert isinstance(ending.error, PromptTooLong)
    assert "context of 2048" in str(ending.error)


async def test_a_page_that_is_too_large_is_refused_with_its_field() -> None:
    given = {"event_id": "1", "url": "https://x.example/", "html": "x" * 2_000_001}
    ending = await run_processor(govejle_page, given, http=object())
    assert isinstance(ending.error, InvalidInput)
    assert "$.html" in str(ending.error)


@pytest.mark.parametrize(
    ("bomb", "said"),
    [
        ("<div>" * 300_000, "more than 20000 deep"),
        ("<p>a" * 400_000, "more than 100000 elements"),
        ("<table><tr><td>" * 60_000, "more than 20000 deep"),
        ('<script type="application/ld+json">' + "[" * 500_000, ""),
        ("<a href='" + "x" * 1_900_000, ""),
        ("<div>" * 9_000, ""),
    ],
    ids=["deep", "wide", "tables", "markup", "attribute", "hardly"],
)
async def test_a_bomb_of_html_is_refused_or_read_and_takes_nobody_down(
    bomb: str, said: str
) -> None:
    html = f"<title>Fest</title><main><h1>Fest</h1><p>Fredag d. 5. februar 2027</p>{bomb}"
    given = PageIn("1", "https://x.example/", html=html[:2_000_000])
    ending = await run_processor(govejle_page, given, http=object(), timeout_s=60)
    if said:
        assert isinstance(ending.error, TooLarge)
        assert said in str(ending.error)
    else:
        result: Any = ending.result
        assert result["event"]["title"] == "Fest"
