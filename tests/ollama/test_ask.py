"""The processor `ask` against the simulator."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.sim_ollama import SimConfig
from processors.builtin.ask import ask
from processors.dependencies.asking import Ask
from processors.dependencies.ollama_errors import PromptTooLong
from processors.sdk.testing import Ending, run_processor
from streams.attempt import Attempt
from streams.errors import InvalidInput, Retry
from streams.telemetry import Telemetry
from tests.ollama.simulated import (
    SMALL,
    ModelAttempt,
    Sim,
    Simulated,
    asking,
    failure,
    provided,
    settings_for,
    small_models,
)

SAMPLES = Path(ask.__code__.co_filename).parent / "samples" / "ask"
CHAT = {"route": "/api/chat"}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def run(sim: Sim, directory: Path, payload: dict[str, Any]) -> Ending:
    async with asking(sim, directory) as ollama:
        return await run_processor(ask, payload, ollama=ollama)


async def result(sim: Sim, directory: Path, payload: dict[str, Any]) -> dict[str, Any]:
    given = (await run(sim, directory, payload)).result
    assert isinstance(given, dict)
    return given


async def test_an_answer_comes_with_model_and_usage(sim: Sim, tmp_path: Path) -> None:
    ending = await run(sim, tmp_path, {"prompt": "Hvad er en fjord?"})
    answer: Any = ending.result
    assert answer["answer"].startswith("Du spørger: »Hvad er en fjord?«")
    assert (answer["model"], answer["done_reason"]) == (SMALL, "stop")
    assert answer["usage"]["completion_tokens"] > 10
    assert answer["usage"]["tokens_per_s"] == pytest.approx(100)
    assert ending.progress


async def test_a_load_longer_than_the_jobs_time_does_not_use_it_up(
    simulated: Simulated, tmp_path: Path
) -> None:
    """Through the engine's own attempt: half a second for the job, one for the load."""
    sim = simulated.start(SimConfig(small_models(), speed=5, load_spread=0))
    await sim.fault("slow_tokens", arg=0.1)
    lease = msgspec.structs.replace(ModelAttempt().lease, timeout_ms=500)
    attempt = Attempt(lease, Telemetry(), lambda *_: None)
    async with provided(settings_for(sim, tmp_path)) as provider:
        with attempt.limit():
            answer = await provider.inject(attempt).ask(Ask.of("x", max_tokens=5))
    assert answer.usage.load_s >= 1
    assert answer.usage.completion_tokens == 5


async def test_an_answer_longer_than_the_jobs_time_is_stopped(sim: Sim, tmp_path: Path) -> None:
    await sim.fault("hang_mid", arg=2, match=CHAT)
    lease = msgspec.structs.replace(ModelAttempt().lease, timeout_ms=300)
    attempt = Attempt(lease, Telemetry(), lambda *_: None)
    async with provided(settings_for(sim, tmp_path)) as provider:
        with pytest.raises(TimeoutError), attempt.limit():
            await provider.inject(attempt).ask(Ask.of("x"))
        seen = await sim.until(lambda seen: seen["running"] == 0, "the model stopped")
    assert seen["requests"][-1]["ending"] == "disconnected"


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("*.json")))
async def test_the_samples_are_answered(sim: Sim, tmp_path: Path, sample: str) -> None:
    answer = await result(sim, tmp_path, json.loads((SAMPLES / sample).read_text("utf-8")))
    assert answer["answer"]


async def test_progress_is_said_at_most_twice_a_second(sim: Sim, tmp_path: Path) -> None:
    await sim.fault("slow_tokens", arg=2, match=CHAT)
    ending = await run(sim, tmp_path, {"prompt": "Hvad er en fjord?"})
    assert 1 <= len(ending.progress) <= 4


async def test_a_schema_is_held_to(sim: Sim, tmp_path: Path) -> None:
    answer = await result(sim, tmp_path, {"prompt": "x", "format": SCHEMA})
    assert isinstance(answer["parsed"]["n"], int)
    await sim.fault("schema_ignored", match=CHAT)
    ignored = (await run(sim, tmp_path, {"prompt": "x", "format": SCHEMA})).error
    assert isinstance(ignored, Retry)
    assert "not JSON" in str(ignored)
    assert ignored.uses_attempt


async def test_an_answer_that_misses_the_schema_is_tried_again(sim: Sim, tmp_path: Path) -> None:
    """The simulator never sees `not`, as a grammar would not."""
    strict = {**SCHEMA, "not": {"required": ["n"]}}
    error = (await run(sim, tmp_path, {"prompt": "x", "format": strict})).error
    assert isinstance(error, Retry)
    assert "does not fit the schema" in str(error)


async def test_a_cut_answer_is_reported_and_not_parsed(sim: Sim, tmp_path: Path) -> None:
    await sim.fault("cut_json", match=CHAT)
    answer = await result(sim, tmp_path, {"prompt": "x", "format": SCHEMA})
    assert (answer["done_reason"], answer["parsed"]) == ("length", None)
    assert answer["answer"].startswith("{")


async def test_a_prompt_that_would_be_truncated_is_rejected(sim: Sim, tmp_path: Path) -> None:
    error = (await run(sim, tmp_path, {"prompt": "ord " * 2_000})).error
    assert isinstance(error, PromptTooLong)
    assert (await sim.log())["requests"] == []


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({}, "$"),
        ({"prompt": ""}, "$.prompt"),
        ({"prompt": 5}, "$.prompt"),
        ({"prompt": "x", "temperature": 3}, "$.temperature"),
        ({"prompt": "x", "max_tokens": 0}, "$.max_tokens"),
        ({"prompt": "x", "format": "xml"}, "$.format"),
        ({"prompt": "x", "format": {"type": "soup"}}, "$.format"),
        ({"prompt": "x", "format": {"$ref": "http://127.0.0.1:9/schema"}}, "$.format"),
    ],
)
async def test_bad_input_is_named_by_its_path(
    sim: Sim, tmp_path: Path, payload: dict[str, Any], path: str
) -> None:
    error = await failure(result(sim, tmp_path, payload))
    assert isinstance(error, InvalidInput)
    assert error.path == path


async def test_json_is_asked_for_without_thoughts_and_its_origin_is_told(
    sim: Sim, tmp_path: Path
) -> None:
    async with asking(sim, tmp_path, "thinker") as ollama:
        thought = await ollama.ask(Ask.of("x", seed=7))
        silent = await ollama.ask(Ask.of("x", format=SCHEMA, seed=7, options={"top_k": 1}))
    assert thought.thinking
    assert not silent.thinking
    assert silent.digest == thought.digest != ""
    assert silent.options["seed"] == 7
    assert silent.options["top_k"] == 1
    assert silent.options["num_ctx"] == 2_048
