"""Processors of etyde and cnc by the real client against the simulator: storms, sick models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.sim_ollama import SimConfig
from processors.builtin.cnc_error_classify import cnc_error_classify
from processors.builtin.cnc_pattern_name import cnc_pattern_name
from processors.builtin.etyde_session import etyde_session
from processors.dependencies.cache import Cache, Store
from processors.sdk import Retry
from processors.sdk.testing import run_processor
from tests.ollama.simulated import Sim, Simulated, asking, small_models
from tests.processors.shipped import SAMPLES

CHAT = {"route": "/api/chat"}


def given(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return found


def answers(name: str) -> tuple[str, ...]:
    file = SAMPLES / Path(name).parent / "answers" / f"{Path(name).name}.json"
    return tuple(map(json.dumps, json.loads(file.read_text())))


@pytest.fixture
def simulated() -> Iterator[Simulated]:
    with Simulated() as simulated:
        yield simulated


def sim_that_says(simulated: Simulated, name: str) -> Sim:
    models = small_models()
    return simulated.start(SimConfig(models, speed=200, load_spread=0, answers=answers(name)))


async def chats(sim: Sim) -> int:
    requests = (await sim.log())["requests"]
    return sum(one["route"] == "/api/chat" for one in requests)


async def test_a_storm_of_one_fingerprint_asks_the_model_once(
    simulated: Simulated, tmp_path: Path
) -> None:
    sim = sim_that_says(simulated, "cnc-error-classify/bearer-token")
    error, cache = given("cnc-error-classify/bearer-token"), Cache(Store(), "cnc-error-classify")
    known = {**error, "message": "connect ECONNREFUSED 10.0.0.7:5432", "stack": None}
    async with asking(sim, tmp_path, "wide") as ollama:
        for number in range(20):
            message = error["message"].replace("jens.holm", f"worker{number}")
            for payload in ({**error, "message": message}, known):
                ending = await run_processor(
                    cnc_error_classify, payload, ollama=ollama, cache=cache
                )
                assert ending.error is None
    assert await chats(sim) == 1


@pytest.mark.parametrize(("kind", "calls"), [("cut_json", 1), ("schema_ignored", 3)])
async def test_a_session_is_answered_whatever_the_model_writes(
    simulated: Simulated, tmp_path: Path, kind: str, calls: int
) -> None:
    sim = simulated.start(SimConfig(small_models(), speed=200, load_spread=0))
    await sim.fault(kind, match=CHAT, times=5)
    async with asking(sim, tmp_path, "wide") as ollama:
        ending = await run_processor(etyde_session, given("etyde-session/cello"), ollama=ollama)
    result: Any = ending.result
    assert (result["degraded"], result["total_minutes"]) == (True, 45)
    assert await chats(sim) == calls


async def test_a_model_that_breaks_is_another_attempt_and_no_plain_session(
    simulated: Simulated, tmp_path: Path
) -> None:
    sim = sim_that_says(simulated, "etyde-session/cello")
    await sim.fault("error_line", arg=3, match=CHAT, times=1)
    async with asking(sim, tmp_path, "wide") as ollama:
        broken = await run_processor(etyde_session, given("etyde-session/cello"), ollama=ollama)
    assert isinstance(broken.error, Retry)
    sim = sim_that_says(simulated, "etyde-session/cello")
    async with asking(sim, tmp_path, "wide") as ollama:
        mended = await run_processor(
            etyde_session, given("etyde-session/cello"), attempt=2, ollama=ollama
        )
    result: Any = mended.result
    assert result["degraded"] is False


async def test_counts_outlive_a_model_that_ignores_its_grammar(
    simulated: Simulated, tmp_path: Path
) -> None:
    sim = simulated.start(SimConfig(small_models(), speed=200, load_spread=0))
    await sim.fault("schema_ignored", match=CHAT, times=5)
    counted = given("cnc-pattern-name/deploy-storm")
    async with asking(sim, tmp_path, "wide") as ollama:
        ending = await run_processor(cnc_pattern_name, counted, ollama=ollama)
    result: Any = ending.result
    assert (result["degraded"], result["clusters"]) == (True, counted["clusters"])
