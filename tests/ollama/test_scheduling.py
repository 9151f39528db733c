"""Which model is in memory, who waits for whom, and what a disconnect does."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import ollama
import pytest

from ops.sim_ollama import SimConfig
from tests.ollama.simulated import BIG, SMALL, Sim, Simulated, failure, small_models


async def resident(sim: Sim) -> list[dict[str, Any]]:
    runners: list[dict[str, Any]] = (await sim.state())["runners"]
    return runners


async def test_ps_lists_a_model_while_it_loads(sim: Sim) -> None:
    await sim.fault("load_hang")
    async with sim.client() as client, asyncio.TaskGroup() as group:
        loading = group.create_task(client.generate(SMALL, keep_alive="10m"))
        await sim.until(_phase("loading"), "a load began")
        (listed,) = (await client.ps()).models
        loading.cancel()
    assert (listed.model, listed.context_length) == (SMALL, 4_096)
    assert listed.expires_at is not None
    assert 500 < (listed.expires_at - datetime.now(UTC)).total_seconds() <= 600


async def test_the_same_options_load_once_and_others_load_again(sim: Sim) -> None:
    async with sim.client() as client:
        for num_ctx in (2_048, 2_048, 8_192, 8_192):
            await client.generate(SMALL, "x", options={"num_ctx": num_ctx, "temperature": 0.1})
        (listed,) = (await client.ps()).models
    log = await sim.log()
    assert (log["loads"], log["unloads"]) == ([SMALL, SMALL], [SMALL])
    assert listed.context_length == 8_192


async def test_load_duration_holds_the_load_and_the_swap(sim: Sim) -> None:
    async with sim.client() as client:
        await client.generate(SMALL)
        swapped = await client.generate(BIG, "x")
        again = await client.generate(BIG, "x")
    assert (swapped.load_duration or 0) >= 5.5e9  # half a second to unload, five to load
    assert (again.load_duration or 0) < 5e9
    assert [runner["model"] for runner in await resident(sim)] == [BIG]


async def test_two_models_stay_where_both_fit(simulated: Simulated) -> None:
    sim = simulated.start(
        SimConfig(small_models(), speed=50, max_loaded=3, memory_bytes=26_000_000_000)
    )
    async with sim.client() as client:
        for model in (SMALL, BIG, SMALL):
            await client.generate(model, "x")
        await client.generate("thinker:8b", "x", think=False)
    assert (await sim.log())["loads"] == [SMALL, BIG, "thinker:8b"]
    assert BIG not in {runner["model"] for runner in await resident(sim)}


async def test_a_model_larger_than_the_memory_is_an_error(simulated: Simulated) -> None:
    sim = simulated.start(SimConfig(small_models(), speed=50, memory_bytes=10_000_000_000))
    async with sim.client() as client:
        error = await failure(client.generate(BIG, "x"))
    assert isinstance(error, ollama.ResponseError)
    assert error.status_code == 500
    assert "requires more system memory (18.6 GiB)" in error.error


@pytest.mark.parametrize(
    ("keep_alive", "kept_s"), [(600, 600), ("10m", 600), ("1h30m", 5_400), (-1, -1), ("-1s", -1)]
)
async def test_keep_alive_is_a_number_or_a_go_duration(
    sim: Sim, keep_alive: Any, kept_s: float
) -> None:
    async with sim.client() as client:
        await client.generate(SMALL, "x", keep_alive=keep_alive)
    (runner,) = await resident(sim)
    assert runner["keep_alive_s"] == kept_s


async def test_keep_alive_runs_out_and_zero_unloads(sim: Sim) -> None:
    async with sim.client() as client:
        await client.generate(SMALL, "x", keep_alive=5)
        await sim.until(lambda seen: not seen["runners"], "keep_alive ran out")
        await client.generate(SMALL, "x", keep_alive=0)
        await sim.until(lambda seen: not seen["runners"], "unloaded at once")
        await client.generate(SMALL)
        answer = await client.generate(SMALL, keep_alive=0)
        await sim.until(lambda seen: not seen["runners"], "unloaded by an empty prompt")
    assert answer.done_reason == "unload"


async def test_a_model_being_evicted_is_listed_as_expired(simulated: Simulated) -> None:
    sim = simulated.start(SimConfig(small_models(), speed=50, unload_s=60))
    async with sim.client() as client:
        await client.generate(SMALL, "x", keep_alive=0)
        (listed,) = (await client.ps()).models
    assert listed.expires_at is not None
    assert listed.expires_at <= datetime.now(UTC)


async def test_one_more_than_the_pending_queue_holds_is_told_503(simulated: Simulated) -> None:
    sim = simulated.start(SimConfig(small_models(), speed=50, max_queue=1))
    await sim.fault("load_hang")
    async with sim.client() as client, asyncio.TaskGroup() as group:
        first = group.create_task(client.generate(SMALL, "x"))
        await sim.until(lambda seen: bool(seen["runners"]), "the first is loading")
        second = group.create_task(client.generate(BIG, "x"))
        await sim.until(lambda seen: seen["pending"] == 1, "the second waits")
        error = await failure(client.generate("thinker:8b", "x"))
        first.cancel()
        await second
    assert isinstance(error, ollama.ResponseError)
    assert error.status_code == 503
    assert error.error == "server busy, please try again.  maximum pending requests exceeded"


async def test_a_short_timeout_aborts_the_load_every_time(sim: Sim) -> None:
    await sim.fault("load_hang", times=2)
    async with sim.client(timeout=0.1) as client:
        for count in (1, 2):
            assert isinstance(await failure(client.generate(SMALL, "x")), httpx.ReadTimeout)
            seen = await sim.until(_aborted(count), "the load was aborted")
    assert seen["loads"] == []
    assert seen["runners"] == []
    assert [request["status"] for request in seen["requests"]] == [499, 499]


async def test_a_disconnect_while_generating_frees_the_slot_at_the_next_token(
    simulated: Simulated,
) -> None:
    sim = simulated.start(SimConfig(small_models(), speed=5, load_spread=0))
    async with sim.client() as client:
        await client.generate(SMALL)
        await sim.fault("slow_tokens", arg=250)  # a token every half second
        parts: Any = await client.chat(SMALL, [{"role": "user", "content": "x"}], stream=True)
        await anext(parts)
        await parts.aclose()
        seen = await sim.until(lambda seen: seen["running"] == 0, "the slot is free")
    assert seen["requests"][-1]["ending"] == "disconnected"
    assert seen["requests"][-1]["chunks"] <= 2
    assert seen["runners"][0]["refs"] == 0


async def test_one_request_at_a_time_per_runner(sim: Sim) -> None:
    async with sim.client() as client:
        await client.generate(SMALL)
        await sim.fault("slow_tokens", arg=50, times=3)  # so that all three have come meanwhile
        answers = await asyncio.gather(*(client.generate(SMALL, f"x{i}") for i in range(3)))
    waits = sorted(answer.load_duration or 0 for answer in answers)
    assert (await sim.log())["max_concurrency"] == 3
    assert len(waits) == 3
    assert (await resident(sim))[0]["refs"] == 0


async def test_a_model_used_again_while_evicted_stays_and_blocks_the_load(
    simulated: Simulated,
) -> None:
    sim = simulated.start(SimConfig(small_models(), speed=50, num_parallel=2))
    async with sim.client() as client, sim.client() as other:
        await client.generate(SMALL)
        await sim.fault("hang_mid", arg=2)
        async with asyncio.TaskGroup() as group:
            working = group.create_task(client.generate(SMALL, "x"))
            await sim.until(lambda seen: seen["running"] == 1, "the resident model works")
            stuck = group.create_task(other.generate(BIG, "x"))
            await sim.until(_phase("stopping"), "the eviction waits")
            await client.generate(SMALL, "late", keep_alive=-1)
            await sim.until(_phase("ready"), "the late request brought it back")
            working.cancel()
            await sim.until(lambda seen: not seen["runners"][0]["refs"], "and is idle")
            assert [runner["model"] for runner in await resident(sim)] == [SMALL]
            assert not stuck.done()
            stuck.cancel()
    assert (await sim.log())["loads"] == [SMALL]


def _aborted(count: int) -> Any:
    return lambda seen: seen["aborted_loads"] == count


def _phase(phase: str) -> Any:
    return lambda seen: [runner["phase"] for runner in seen["runners"]] == [phase]


async def test_a_crashed_runner_is_loaded_again(sim: Sim) -> None:
    await sim.fault("runner_crash", arg=2)
    async with sim.client() as client:
        error = await failure(client.generate(SMALL, "x"))
        await client.generate(SMALL, "x")
    assert isinstance(error, ollama.ResponseError)
    assert (await sim.log())["loads"] == [SMALL, SMALL]


async def test_memory_that_leaks_runs_out(sim: Sim) -> None:
    await sim.fault("leak", arg=6_000_000_000)
    async with sim.client() as client:
        await client.generate(SMALL, "x", keep_alive=0)
        await sim.until(lambda seen: not seen["runners"], "unloaded")
        error = await failure(client.generate(BIG, "x"))
    assert isinstance(error, ollama.ResponseError)
    assert "requires more system memory" in error.error


async def test_a_restart_loses_the_models_and_comes_back(sim: Sim) -> None:
    await sim.fault("restart", arg=0.2)
    async with sim.client() as client:
        error = await failure(client.generate(SMALL, "x"))
        assert isinstance(error, httpx.TransportError | ConnectionError)
        await _until_it_listens(client)
        assert (await client.ps()).models == []


async def _until_it_listens(client: ollama.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await client.list()
            except (ConnectionError, httpx.TransportError):
                await asyncio.sleep(0.02)
            else:
                return
