"""What a job says while it runs, over HTTP: live, from the beginning, resumed, the same for all."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from gateway.settings import GatewaySettings
from ops.sim_ollama import SimConfig
from processors.builtin.ask import ask
from processors.dependencies.ollama import OllamaProvider
from processors.sdk.declaration import declared
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from streams.attempt import Attempt
from streams.broker import Broker
from streams.model import ResourceClass
from tests.http.edge import KEYS, card, echo
from tests.http.listening import Heard, listening
from tests.http.served import Served
from tests.ollama.simulated import Sim, Simulated, settings_for, small_models
from tests.support.plain_worker import plain_worker
from tests.support.waiting import until

SETTINGS = GatewaySettings(port=0, stop_s=5.0)


def told(heard: list[Heard]) -> str:
    return "".join(one.data["text"] for one in heard if one.kind == "text")


class Talker:
    """A processor that says what it is told to, until it is told to end."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.go = asyncio.Event()
        self.fails = 0

    async def run(self, attempt: Attempt) -> bytes:
        self.attempts.append(attempt)
        await self.go.wait()
        if len(self.attempts) <= self.fails:
            raise RuntimeError("it broke")
        return b'"done"'

    async def attempt(self, number: int = 1) -> Attempt:
        await until(lambda: len(self.attempts) == number, what=f"attempt {number}")
        return self.attempts[-1]


@pytest.fixture
async def served(redis: Redis, redis_url: str) -> AsyncIterator[Served]:
    async with Redis.from_url(redis_url) as reading, Served(redis, reading, SETTINGS) as served:
        yield served


@pytest.fixture
async def talker(redis: Redis, redis_url: str) -> AsyncIterator[Talker]:
    talker = Talker()
    async with plain_worker(Broker(redis, KEYS), redis_url, talker.run):
        yield talker
        talker.go.set()


async def submitted(served: Served, **fields: object) -> str:
    async with served.client() as http:
        reply = await http.post("/v1/jobs", json=echo(**fields))
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


async def test_everybody_reads_the_same_from_the_beginning(served: Served, talker: Talker) -> None:
    job_id = await submitted(served)
    path = f"/v1/jobs/{job_id}/stream"
    attempt = await talker.attempt()
    async with listening(served, path) as early:
        attempt.emit("Hej ")
        assert (await early.until("text")).data == {"attempt": 1, "at": 0, "text": "Hej "}
        async with listening(served, path) as late:
            assert (await late.until("text")).data["text"] == "Hej "
            attempt.emit("på dig: æøå 😀")
            seen = await late.until("text")
            talker.go.set()
            ends = [(await each.rest())[-1] for each in (early, late)]
        assert told(early.heard) == told(late.heard) == "Hej på dig: æøå 😀"
    assert [(one.kind, one.data["state"]) for one in ends] == [("end", "succeeded")] * 2
    async with listening(served, path, last_event_id=late.heard[1].id) as resumed:
        assert told(await resumed.rest()) == seen.data["text"]
    async with listening(served, path, last_event_id=ends[0].id) as again:
        assert again.response.status_code == 204


async def test_the_last_words_come_before_the_end(served: Served, talker: Talker) -> None:
    job_id = await submitted(served)
    attempt = await talker.attempt()
    async with listening(served, f"/v1/jobs/{job_id}/stream") as stream:
        for number in range(200):
            attempt.emit(f"{number} ")
        talker.go.set()
        heard = await stream.rest()
    assert told(heard) == "".join(f"{number} " for number in range(200))
    assert heard[-1].kind == "end"


async def test_a_new_attempt_begins_anew_before_the_viewers_eyes(
    served: Served, talker: Talker
) -> None:
    talker.fails = 1
    await served.stores.directory.publish_processor(card(backoff_ms=1, backoff_max_ms=1))
    await served.parts.processors.look_again()
    job_id = await submitted(served)
    attempt = await talker.attempt()
    async with listening(served, f"/v1/jobs/{job_id}/stream") as stream:
        attempt.emit("wrong")
        await stream.until("text")
        talker.go.set()
        talker.go = asyncio.Event()
        second = await talker.attempt(2)
        second.emit("right")
        begun = await stream.until("begin")
        assert begun.data == {"attempt": 2}
        assert (await stream.until("text")).data == {"attempt": 2, "at": 0, "text": "right"}
        talker.go.set()
        assert (await stream.rest())[-1].kind == "end"


async def test_a_job_that_says_nothing_has_an_end(served: Served, talker: Talker) -> None:
    job_id = await submitted(served)
    talker.go.set()
    async with listening(served, f"/v1/jobs/{job_id}/stream") as stream:
        assert [one.kind for one in await stream.rest()] == ["end"]


async def test_an_app_hears_only_its_own(served: Served, talker: Talker) -> None:
    job_id = await submitted(served)
    async with listening(served, f"/v1/jobs/{job_id}/stream", key="other") as stream:
        assert stream.response.status_code == 404


# ---------------------------------------------------------------- a real processor, a real client


@pytest.fixture
def sim() -> Iterator[Sim]:
    with Simulated() as simulated:
        yield simulated.start(SimConfig(models=small_models(), speed=20, load_spread=0))


async def test_an_answer_is_read_while_it_is_made_and_a_cancel_stops_the_model_within_a_second(
    served: Served, redis: Redis, redis_url: str, sim: Sim, tmp_path: Path
) -> None:
    """A question whose answer takes long: the model is cut off in the middle of it."""
    processor = declared(ask)
    assert processor is not None
    provider = OllamaProvider(settings_for(sim, tmp_path))
    schema = msgspec.Raw(processor.input_schema)
    published = card("ask", resource_class=ResourceClass.OLLAMA, model="small", input_schema=schema)
    await served.stores.directory.publish_processor(published)
    await served.parts.processors.look_again()
    async with Host(Registry([processor]), [provider]) as host:
        broker = Broker(redis, KEYS)
        await sim.fault("slow_tokens", arg=200, match={"route": "/api/chat"})
        has = (provider.host, ["small"])
        slots = {ResourceClass.OLLAMA: 1}
        async with plain_worker(broker, redis_url, host.run, slots=slots, ollama=has):
            job_id = await submitted(
                served, processor="ask", payload={"prompt": "Fortæl om fjorden", "max_tokens": 1000}
            )
            async with listening(served, f"/v1/jobs/{job_id}/stream") as stream:
                await stream.until("text")
                await stream.until("text")
                assert (await sim.state())["running"] == 1
                async with served.client() as http, httpx.AsyncClient(base_url=sim.url) as at_sim:
                    began = time.monotonic()
                    reply = await http.post(f"/v1/jobs/{job_id}:cancel")
                    assert reply.status_code == 202
                    while (await at_sim.get("/_sim/state")).json()["running"]:
                        assert time.monotonic() - began < 1.0, "the model still runs"
                    stopped_s = time.monotonic() - began
                    end = await stream.until("end")
                    confirmed_s = time.monotonic() - began
            assert end.data["state"] == "cancelled"
    log = await sim.log()
    assert log["requests"][-1]["route"] == "/api/chat"
    assert log["requests"][-1]["ending"] == "disconnected"
    assert confirmed_s < 1.0
    print(f"stopped after {stopped_s:.3f} s, confirmed after {confirmed_s:.3f} s")
