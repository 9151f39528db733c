"""What processors see of Ollama: one answer, or one error of a small set."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ops.sim_ollama import SimConfig
from processors.dependencies.asking import Ask
from processors.dependencies.ollama import ModelAlias, OllamaProvider, OllamaSettings
from processors.dependencies.ollama_errors import (
    AskRefused,
    Degenerate,
    HostAway,
    HostBroke,
    HostStalled,
    LoadFailed,
    LoadRefused,
    ModelBroke,
    ModelMissing,
    PromptTooLong,
)
from processors.dependencies.ollama_settings import host_identity
from streams.errors import ConfigError, Rejected, Retry, Unavailable
from tests.ollama.simulated import (
    BIG,
    SMALL,
    THINKER,
    ModelAttempt,
    MovedClock,
    Sim,
    Simulated,
    asking,
    failure,
    provided,
    settings_for,
    small_models,
)

QUESTION = Ask.of("Hvad er klokken?", "Svar kort.")
SHORT: dict[str, Any] = {"first_token_timeout_s": 1, "idle_timeout_s": 1}
PROBE = {"route": "/api/generate"}
CHAT = {"route": "/api/chat"}


async def test_an_answer_comes_in_pieces_with_its_usage(sim: Sim, tmp_path: Path) -> None:
    async with asking(sim, tmp_path) as ollama, ollama.stream(QUESTION) as answering:
        pieces = [piece async for piece in answering]
        answer = answering.answer
    assert len(pieces) > 5
    assert answer.text == "".join(pieces)
    assert (answer.model, answer.done_reason) == (SMALL, "stop")
    assert answer.usage.completion_tokens == len(pieces)
    assert answer.usage.prompt_tokens == 7
    assert answer.usage.tokens_per_s == pytest.approx(100)
    assert answer.usage.load_s > 0


async def test_loading_is_a_step_of_its_own_outside_the_jobs_time(sim: Sim, tmp_path: Path) -> None:
    async with provided(settings_for(sim, tmp_path)) as provider:
        first, second = ModelAttempt(), ModelAttempt()
        cold = await provider.inject(first).ask(QUESTION)
        warm = await provider.inject(second).ask(QUESTION)
    assert [step.note for step in first.steps] == [f"loading {SMALL}"]
    assert [line.message for line in first.lines] == ["model loaded"]
    assert first.untimed_s > cold.usage.load_s >= 5 / 50
    assert (second.steps, second.lines, warm.usage.load_s) == ([], [], 0)
    assert [r["ending"] for r in (await sim.log())["requests"]] == ["load", "stop"] * 2


async def test_the_load_time_options_are_always_the_alias_own(sim: Sim, tmp_path: Path) -> None:
    async with provided(settings_for(sim, tmp_path)) as provider:
        greedy = Ask.of("x", options={"num_ctx": 99_999, "top_k": 5})
        await provider.inject(ModelAttempt("small")).ask(greedy)
        assert [one.num_ctx for one in await provider.residents()] == [2_048]
        assert await provider.resident() == "small"
        await provider.inject(ModelAttempt("wide")).ask(QUESTION)
        assert await provider.resident() == "wide"
    assert (await sim.log())["loads"] == [SMALL, SMALL]


async def test_a_provider_tells_what_the_host_has(sim: Sim, tmp_path: Path) -> None:
    async with provided(settings_for(sim, tmp_path, host="mac")) as provider:
        await provider.check()
        assert await provider.version() == "0.33.0"
        assert await provider.models() == ("small", "wide", "big", "thinker")
        assert BIG in await provider.tags()
        assert await provider.resident() == ""
        assert provider.pool == "ollama@mac"


async def test_thoughts_are_kept_apart_from_the_text(sim: Sim, tmp_path: Path) -> None:
    async with asking(sim, tmp_path, "thinker") as ollama:
        loud = await ollama.ask(QUESTION)
        quiet = await ollama.ask(Ask.of("Hvad er klokken?", think=False))
    assert loud.model == THINKER
    assert loud.thinking
    assert loud.thinking not in loud.text
    assert quiet.thinking == ""


async def test_another_attempt_gets_another_seed(sim: Sim, tmp_path: Path) -> None:
    async with provided(settings_for(sim, tmp_path)) as provider:
        cold = Ask.of("Fortæl", temperature=0)
        first = await provider.inject(ModelAttempt(attempt=1)).ask(cold)
        again = await provider.inject(ModelAttempt(attempt=1)).ask(cold)
        second = await provider.inject(ModelAttempt(attempt=2)).ask(cold)
    assert first.text == again.text != second.text


async def test_an_answer_that_is_cut_says_so(sim: Sim, tmp_path: Path) -> None:
    async with asking(sim, tmp_path) as ollama:
        answer = await ollama.ask(Ask.of("Fortæl", max_tokens=4))
    assert (answer.done_reason, answer.usage.completion_tokens) == ("length", 4)


@pytest.mark.parametrize(
    ("fault", "expected", "says", "uses_attempt"),
    [
        ({"kind": "error_line", "arg": 3}, ModelBroke, "while running the model", True),
        ({"kind": "runner_crash", "arg": 3}, ModelBroke, "signal: killed", True),
        ({"kind": "http", "arg": 500, "text": "unexpectedly stopped"}, ModelBroke, "stopped", True),
        ({"kind": "reset_mid", "arg": 3}, ModelBroke, "connection to Ollama broke", True),
        ({"kind": "hang_mid", "arg": 3}, ModelBroke, "went quiet", True),
        ({"kind": "hang_before_headers"}, ModelBroke, "went quiet", True),
        ({"kind": "no_done", "arg": 3}, Degenerate, "without an end", True),
        ({"kind": "garbage_line", "arg": 3}, Degenerate, "no JSON", True),
        ({"kind": "blank_line", "arg": 3}, Degenerate, "no JSON", True),
        ({"kind": "busy_503"}, HostAway, "somebody else", False),
        ({"kind": "list_body", "arg": 502}, HostAway, "not Ollama", False),
        ({"kind": "not_found"}, ModelMissing, "not found", None),
        ({"kind": "http", "arg": 400, "text": "bad grammar"}, AskRefused, "bad grammar", None),
    ],
)
async def test_a_fault_while_answering_becomes_one_error(
    sim: Sim, tmp_path: Path, fault: dict[str, Any], expected: type, says: str, uses_attempt: Any
) -> None:
    await sim.fault(match=CHAT, **fault)
    async with asking(sim, tmp_path, **SHORT) as ollama:
        error = await failure(ollama.ask(QUESTION))
        after = await ollama.ask(QUESTION)
    assert type(error) is expected
    assert says in str(error)
    assert getattr(error, "uses_attempt", None) is uses_attempt
    assert after.done_reason == "stop"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [({"kind": "hang_mid", "arg": 3}, HostStalled), ({"kind": "reset_mid", "arg": 3}, HostBroke)],
)
async def test_a_host_that_fails_the_probe_as_well_is_to_blame_itself(
    sim: Sim, tmp_path: Path, fault: dict[str, Any], expected: type
) -> None:
    async with asking(sim, tmp_path, probe_timeout_s=0.3, **SHORT) as ollama:
        await ollama.ask(QUESTION)
        await sim.fault(match=CHAT, **fault)
        await sim.fault("hang_before_headers", match=PROBE, times=0)
        error = await failure(ollama.ask(QUESTION))
    assert type(error) is expected
    assert isinstance(error, Retry)
    assert not error.uses_attempt


@pytest.mark.parametrize(
    ("fault", "expected", "says"),
    [
        ({"kind": "load_fail", "text": "out-of-memory during startup"}, LoadRefused, "out-of-mem"),
        ({"kind": "load_hang"}, LoadFailed, "not loaded in time"),
        ({"kind": "busy_503"}, HostAway, "somebody else"),
        ({"kind": "not_found"}, ModelMissing, "not found"),
    ],
)
async def test_a_fault_while_loading_uses_no_attempt(
    sim: Sim, tmp_path: Path, fault: dict[str, Any], expected: type, says: str
) -> None:
    await sim.fault(**fault)
    async with asking(sim, tmp_path, load_timeout_s=1.5) as ollama:
        error = await failure(ollama.ask(QUESTION))
    assert type(error) is expected
    assert says in str(error)
    assert isinstance(error, Rejected) or not getattr(error, "uses_attempt", True)


async def test_a_load_that_runs_out_of_time_is_given_up(sim: Sim, tmp_path: Path) -> None:
    await sim.fault("load_hang")
    async with asking(sim, tmp_path, load_timeout_s=0.3) as ollama:
        await failure(ollama.ask(QUESTION))
        seen = await sim.until(lambda seen: seen["running"] == 0, "the load was aborted")
    assert seen["aborted_loads"] == 1


async def test_nobody_listening_is_a_host_that_is_away(tmp_path: Path) -> None:
    settings = OllamaSettings(
        url="http://127.0.0.1:9", runtime_dir=str(tmp_path), models={"small": ModelAlias(SMALL)}
    )
    async with provided(settings) as provider:
        error = await failure(provider.inject(ModelAttempt()).ask(QUESTION))
        unreachable = await failure(provider.check())
    assert isinstance(error, HostAway)
    assert not error.uses_attempt
    assert isinstance(unreachable, Unavailable)
    assert "http://127.0.0.1:9" in str(unreachable)


async def test_an_unknown_alias_and_a_prompt_too_long_are_rejected_unasked(
    sim: Sim, tmp_path: Path
) -> None:
    async with provided(settings_for(sim, tmp_path)) as provider:
        unknown = await failure(provider.inject(ModelAttempt("nix")).ask(QUESTION))
        small = provider.inject(ModelAttempt())
        long = Ask.of("x" * 2_151, max_tokens=1_024)  # 717 tokens, 70 % of 1,024 is 716
        too_long = await failure(small.ask(long))
        greedy = await failure(small.ask(Ask.of("x" * 30, max_tokens=2_048)))
        await small.ask(Ask.of("x" * 2_148, max_tokens=1_024))
    assert isinstance(unknown, ModelMissing)
    assert "the settings know absent, big, small" in str(unknown)
    assert isinstance(too_long, PromptTooLong)
    assert "about 717 tokens" in str(too_long)
    assert isinstance(greedy, PromptTooLong)
    assert len((await sim.log())["requests"]) == 2


async def test_leaving_early_stops_the_model_and_frees_the_host(
    simulated: Simulated, tmp_path: Path
) -> None:
    sim = simulated.start(SimConfig(small_models(), speed=20, load_spread=0))
    await sim.fault("slow_tokens", arg=100, match=CHAT)
    async with asking(sim, tmp_path) as ollama:
        async with ollama.stream(QUESTION) as answering:
            async for _ in answering:
                break
        seen = await sim.until(lambda seen: seen["running"] == 0, "the model stopped")
        assert seen["requests"][-1]["ending"] == "disconnected"
        assert (await ollama.ask(QUESTION)).done_reason == "stop"


async def test_cancelling_an_attempt_stops_the_model(simulated: Simulated, tmp_path: Path) -> None:
    sim = simulated.start(SimConfig(small_models(), speed=20, load_spread=0))
    await sim.fault("hang_mid", arg=2, match=CHAT)
    async with asking(sim, tmp_path) as ollama, asyncio.TaskGroup() as group:
        doing = group.create_task(ollama.ask(QUESTION))
        await sim.until(
            lambda seen: bool(seen["requests"]) and seen["requests"][-1]["chunks"] == 2, "it speaks"
        )
        doing.cancel()
        seen = await sim.until(lambda seen: seen["running"] == 0, "the model stopped")
    assert doing.cancelled()
    assert seen["requests"][-1]["ending"] == "disconnected"


async def test_three_failures_open_the_breaker_and_a_probe_closes_it(
    sim: Sim, tmp_path: Path
) -> None:
    clock = MovedClock()
    async with provided(settings_for(sim, tmp_path), clock) as provider:
        ollama = provider.inject(ModelAttempt())
        await sim.fault("load_fail", times=3)
        for _ in range(3):
            assert isinstance(await failure(ollama.ask(QUESTION)), LoadFailed)
        asked = len((await sim.log())["requests"])
        shut = await failure(ollama.ask(QUESTION))
        assert len((await sim.log())["requests"]) == asked
        clock.ahead_s = 60
        answer = await ollama.ask(QUESTION)
    assert isinstance(shut, HostAway)
    assert not shut.uses_attempt
    assert 25 < (shut.after_s or 0) <= 30
    assert answer.done_reason == "stop"


async def test_a_failed_probe_keeps_the_breaker_open_for_longer(sim: Sim, tmp_path: Path) -> None:
    clock = MovedClock()
    async with provided(settings_for(sim, tmp_path), clock) as provider:
        ollama = provider.inject(ModelAttempt())
        await sim.fault("load_fail", times=4)
        for _ in range(3):
            await failure(ollama.ask(QUESTION))
        clock.ahead_s = 60
        error = await failure(ollama.ask(QUESTION))
    assert isinstance(error, HostAway)
    assert error.after_s == pytest.approx(60)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"url": "http://10.8.0.2:11434"}, "not on this machine"),
        ({"url": "http://mac.local:11434", "exclusive": True}, "needs a name"),
        ({"url": "ollama:11434"}, "must be an http URL"),
        ({"url": "http://127.0.0.1:nix"}, "ollama.url"),
        ({"host": "Mac Studio"}, "ollama.host"),
    ],
)
def test_a_host_that_may_not_be_used_is_a_config_error(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        OllamaProvider(OllamaSettings(**fields))


def test_a_host_is_known_by_name_or_by_machine_and_port() -> None:
    ours = host_identity(OllamaSettings(url="http://localhost:11500"))
    assert ours == host_identity(OllamaSettings(url="http://127.0.0.1:11500"))
    assert ours != host_identity(OllamaSettings())
    assert ours.endswith("-11500")
    far = OllamaSettings(url="http://10.8.0.2:11434", exclusive=True, host="mac")
    assert host_identity(far) == "mac"
