"""A host or a model that fails again and again: who is left alone, what is restarted, what ends."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.chores import OllamaWatch
from ops.sim_ollama import SimConfig
from processors.dependencies.asking import Ask
from processors.dependencies.ollama import FREE_TRIES
from processors.dependencies.ollama_errors import HostAway, HostBroke, LoadFailed, LoadRefused
from processors.dependencies.ollama_restart import Restarter
from streams.errors import Unavailable
from tests.ollama.simulated import (
    SMALL,
    ModelAttempt,
    MovedClock,
    Sim,
    Simulated,
    failure,
    provided,
    settings_for,
    small_models,
)

QUESTION = Ask.of("Hvad er klokken?", "Svar kort.")
RESET = (
    "import sys, urllib.request as u; "
    "u.urlopen(u.Request(sys.argv[1] + '/_sim/reset', method='POST'))"
)


class Listed:
    """A worker's part that the watch writes."""

    def __init__(self) -> None:
        self.models: list[str] = ["small"]
        self.resident = ""


def tried(times: int, model: str = "small") -> ModelAttempt:
    """The attempt of a job of which so many have ended free."""
    attempt = ModelAttempt(model)
    attempt.lease = msgspec.structs.replace(attempt.lease, attempt=times + 1, failures=0)
    return attempt


async def test_a_model_that_does_not_load_is_left_alone_and_others_go_on(
    sim: Sim, tmp_path: Path
) -> None:
    clock = MovedClock()
    async with provided(settings_for(sim, tmp_path), clock) as provider:
        await sim.fault("load_fail", match={"model": "big:32b"}, times=0)
        for _ in range(3):
            assert isinstance(
                await failure(provider.inject(ModelAttempt("big")).ask(QUESTION)), LoadRefused
            )
        assert await provider.models() == ("small", "wide", "thinker")
        assert (await provider.survey()).resting == ("big",)
        asked = len((await sim.log())["requests"])
        shut = await failure(provider.inject(ModelAttempt("big")).ask(QUESTION))
        assert isinstance(shut, HostAway)
        assert "failed to load several times" in str(shut)
        assert len((await sim.log())["requests"]) == asked
        assert (await provider.inject(ModelAttempt("small")).ask(QUESTION)).done_reason == "stop"
        clock.ahead_s = 40
        assert "big" in await provider.models()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "load_fail", "times": 0}, LoadRefused),
        ({"kind": "load_hang", "times": 0}, LoadFailed),
    ],
)
async def test_a_job_has_so_many_free_tries_and_no_more(
    sim: Sim, tmp_path: Path, fault: dict[str, Any], expected: type[Exception]
) -> None:
    """Else one whose model can never load would be tried for ever."""
    await sim.fault(**fault)
    async with provided(settings_for(sim, tmp_path, load_timeout_s=0.2)) as provider:
        free = await failure(provider.inject(tried(FREE_TRIES - 1)).ask(QUESTION))
        used = await failure(provider.inject(tried(FREE_TRIES)).ask(QUESTION))
    assert type(free) is type(used) is expected
    assert [free.uses_attempt, used.uses_attempt] == [False, True]  # type: ignore[attr-defined]


async def test_a_host_that_is_away_costs_nothing_however_often(sim: Sim, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(settings_for(sim, tmp_path), url="http://127.0.0.1:9")
    async with provided(settings) as provider:
        away = await failure(provider.inject(tried(100)).ask(QUESTION))
    assert isinstance(away, HostAway)
    assert not away.uses_attempt


async def test_a_host_that_hangs_is_restarted_once_in_a_while(sim: Sim, tmp_path: Path) -> None:
    """The unload that never ends holds up every other model; a restart ends it (ollama#17408)."""
    command = (sys.executable, "-c", RESET, sim.url)
    given = {"load_timeout_s": 0.3, "probe_timeout_s": 2.0, "restart_command": command}
    clock = MovedClock()
    async with provided(settings_for(sim, tmp_path, **given), clock) as provider:
        await provider.inject(ModelAttempt("small")).ask(QUESTION)
        await sim.fault("stuck_stopping", match={"route": "/api/generate"})
        for _ in range(3):
            assert isinstance(
                await failure(provider.inject(ModelAttempt("big")).ask(QUESTION)), LoadFailed
            )
        assert (await sim.state())["runners"] == []  # it was restarted
        assert await provider.models() == ()
        assert "left alone" in (await provider.survey()).trouble
        clock.ahead_s = 40
        assert "big" in await provider.models()
        assert (await provider.inject(ModelAttempt("big")).ask(QUESTION)).done_reason == "stop"


async def test_two_workers_do_not_restart_it_twice(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    command = (sys.executable, "-c", f"open({str(noted)!r}, 'a').write('x'); raise SystemExit(3)")
    one, other = (Restarter(command, 60, tmp_path / "run" / "stamp") for _ in range(2))
    assert await one.restart("it hangs") is False
    assert await other.restart("it hangs") is False
    assert noted.read_text() == "x"
    assert await Restarter((), 0, tmp_path / "none").restart("x") is False
    assert await Restarter(("/nowhere",), 0, tmp_path / "none").restart("x") is False


async def test_while_a_host_is_away_no_job_of_its_is_taken(sim: Sim, tmp_path: Path) -> None:
    async with provided(settings_for(sim, tmp_path, host="mac")) as provider:
        worker: Any = Listed()
        watch = OllamaWatch(provider, worker)
        await watch.tick()
        assert worker.models == ["small", "wide", "big", "thinker"]
        assert (watch.host.name, watch.host.version) == ("mac", "0.33.0")
        await sim.fault("http", arg=502, match={"route": "/api/tags"})
        with pytest.raises(Unavailable):
            await watch.tick()
        assert (worker.models, "server error" in watch.host.trouble) == ([], True)
        await watch.tick()
        assert (len(worker.models), watch.host.trouble) == (4, "")
        await provider.inject(ModelAttempt("wide")).ask(QUESTION)
        assert worker.resident == "wide"  # told at once


async def test_a_server_that_dies_in_each_answer_is_the_requests_matter_in_the_end(
    sim: Sim, tmp_path: Path
) -> None:
    async with provided(settings_for(sim, tmp_path)) as provider:
        await provider.inject(ModelAttempt()).ask(QUESTION)
        for attempt, uses in ((tried(0), False), (tried(FREE_TRIES), True)):
            await sim.fault("reset_mid", arg=2, match={"route": "/api/chat"})
            await sim.fault("http", arg=500, match={"route": "/api/generate", "nth": 2})
            error = await failure(provider.inject(attempt).ask(QUESTION))
            assert isinstance(error, HostBroke)
            assert error.uses_attempt is uses


async def test_a_prompt_that_was_longer_than_estimated_is_told(
    simulated: Simulated, tmp_path: Path
) -> None:
    """Three bytes are taken for a token; a model that makes more of them may drop some unseen."""
    sim = simulated.start(SimConfig(small_models(), speed=100, bytes_per_token=1))
    async with provided(settings_for(sim, tmp_path)) as provider:
        long, short = ModelAttempt(), ModelAttempt()
        await provider.inject(long).ask(Ask.of("x" * 600, max_tokens=1_500))
        await provider.inject(short).ask(Ask.of("x" * 500, max_tokens=1_500))
    said = [
        [line.message for line in one.lines if line.level == "warning"] for one in (long, short)
    ]
    assert said == [["the prompt may have been cut"], []]


async def test_nothing_is_dropped_where_the_client_forbids_it(sim: Sim) -> None:
    async with sim.client() as client:
        given = {"model": SMALL, "messages": [{"role": "user", "content": "x" * 999}]}
        asked = {**given, "options": {"num_ctx": 100}, "shift": False, "stream": False}
        answer = await client._client.post("/api/chat", json=asked)
    assert (answer.status_code, "context size" in answer.json()["error"]) == (400, True)


async def test_a_load_goes_on_when_its_job_is_stopped(simulated: Simulated, tmp_path: Path) -> None:
    """Else it would begin anew for the next; the host is nobody else's meanwhile."""
    sim = simulated.start(SimConfig(small_models(), speed=10, load_spread=0))
    async with provided(settings_for(sim, tmp_path)) as provider:
        async with asyncio.TaskGroup() as group:
            doing = group.create_task(provider.inject(ModelAttempt("big")).ask(QUESTION))
            await sim.until(lambda seen: bool(seen["runners"]), "it loads")
            doing.cancel()
        answer = await provider.inject(ModelAttempt("big")).ask(QUESTION)
        log = await sim.log()
    assert (answer.done_reason, answer.usage.swaps) == ("stop", 0)
    assert (log["loads"], log["aborted_loads"]) == (["big:32b"], 0)
    assert log["max_concurrency"] == 1


async def test_a_worker_that_stops_breaks_a_load_off(simulated: Simulated, tmp_path: Path) -> None:
    sim = simulated.start(SimConfig(small_models(), speed=1, load_spread=0))
    async with provided(settings_for(sim, tmp_path)) as provider, asyncio.TaskGroup() as group:
        doing = group.create_task(provider.inject(ModelAttempt("big")).ask(QUESTION))
        await sim.until(lambda seen: bool(seen["runners"]), "it loads")
        doing.cancel()
    await sim.until(lambda seen: seen["aborted_loads"] == 1, "the load is given up")
