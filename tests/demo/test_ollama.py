"""Which Ollama the demo uses: a real one whose model works, never somebody's simulator."""

from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from ops.demo.loopback import LoopbackServer
from ops.demo.ollama import candidates, find_real
from ops.sim_ollama import SimConfig
from ops.sim_ollama.app import build


def as_real(app: ASGIApp) -> ASGIApp:
    """The simulator without the routes that give it away."""

    async def hidden(scope: Scope, receive: Receive, send: Send) -> None:
        own = str(scope.get("path", "")).startswith("/_sim")
        told: MutableMapping[str, Any] = {**scope, "path": "/nowhere"} if own else scope
        await app(told, receive, send)

    return hidden


@pytest.fixture
async def simulator() -> AsyncIterator[LoopbackServer]:
    async with LoopbackServer(build(SimConfig(speed=1_000))) as server:
        yield server


async def test_a_real_one_is_used_with_its_smallest_model_that_generates() -> None:
    async with LoopbackServer(as_real(build(SimConfig(speed=1_000)))) as server:
        found = await find_real(server.url)
    assert found is not None
    assert (found.url, found.model) == (server.url, "llama3.1:8b")


async def test_a_simulator_is_not_taken_for_a_real_one(simulator: LoopbackServer) -> None:
    assert await find_real(simulator.url) is None


async def test_nothing_there_is_no_ollama() -> None:
    server = LoopbackServer(build())
    async with server:
        url = server.url
    assert await find_real(url) is None


def test_models_that_embed_or_run_elsewhere_are_no_candidates() -> None:
    listed = [
        {"name": "large:70b", "size": 40},
        {"name": "nomic-embed-text", "size": 1, "details": {"family": "nomic-bert"}},
        {"name": "cloud:480b", "size": 2, "remote_host": "https://ollama.com"},
        {"name": "small:1b", "size": 3},
    ]
    assert candidates(listed) == ["small:1b", "large:70b"]
