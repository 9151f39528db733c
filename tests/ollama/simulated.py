"""What the tests of this folder build with: a running simulator, attempts, providers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
import ollama

from ops.sim_ollama import ModelSpec, SimConfig, SimServer
from processors.builtin.ask import ask
from processors.dependencies.ollama import AttemptOllama, ModelAlias, OllamaProvider, OllamaSettings
from processors.sdk.declaration import declared
from processors.sdk.testing import FakeAttempt, fake_attempt
from streams.clock import Clock, SystemClock

WAIT_S = 30.0
BIG, SMALL, THINKER = "big:32b", "small:8b", "thinker:8b"


def small_models() -> dict[str, ModelSpec]:
    """Two models that do not fit together, one that thinks, one that embeds."""
    both = ("completion", "tools")
    return {
        BIG: ModelSpec(20_000_000_000, "big", "32B", load_s=5, tokens_per_s=100),
        SMALL: ModelSpec(5_000_000_000, "small", "8B", load_s=5, tokens_per_s=100),
        THINKER: ModelSpec(
            5_000_000_000, "thinker", "8B", capabilities=(*both, "thinking"), load_s=1
        ),
        "embed:latest": ModelSpec(
            300_000_000, "bert", "137M", capabilities=("embedding",), load_s=1
        ),
    }


class Sim:
    """A simulator's own routes, as a test uses them."""

    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[ollama.AsyncClient]:
        client = ollama.AsyncClient(self.url, trust_env=False, **options)
        try:
            yield client
        finally:
            await client.close()  # type: ignore[no-untyped-call]  # untyped in ollama 0.6

    async def fault(self, kind: str, **fields: Any) -> None:
        await self._call("POST", "/_sim/faults", json=[{"kind": kind, **fields}])

    async def ordered(self) -> list[dict[str, Any]]:
        """The faults that have not struck anybody yet."""
        found: list[dict[str, Any]] = (await self._call("GET", "/_sim/faults"))["faults"]
        return found

    async def log(self) -> dict[str, Any]:
        return await self._call("GET", "/_sim/log")

    async def state(self) -> dict[str, Any]:
        return await self._call("GET", "/_sim/state")

    async def until(self, is_so: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The state and the log together, once `is_so` holds of them."""
        limit = time.monotonic() + WAIT_S
        while time.monotonic() < limit:
            seen = {**await self.state(), **await self.log()}
            if is_so(seen):
                return seen
            await asyncio.sleep(0.005)
        raise AssertionError(f"never happened: {what}; last seen {seen}")

    async def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            response = await http.request(method, path, **options)
            response.raise_for_status()
            body: dict[str, Any] = response.json()
            return body


class Simulated:
    """Simulators in threads, stopped together."""

    def __init__(self) -> None:
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def start(self, config: SimConfig) -> Sim:
        return Sim(self._running.enter_context(SimServer(config=config).in_thread()))


class ModelAttempt(FakeAttempt):
    """An attempt at `ask` in the lane of a model, which measures its untimed time."""

    def __init__(self, model: str = "small", attempt: int = 1) -> None:
        processor = declared(ask)
        assert processor is not None
        base = fake_attempt(processor, {"prompt": "x"}, attempt=attempt)
        lane = msgspec.structs.replace(base.lease.lane, model=model)
        super().__init__(msgspec.structs.replace(base.lease, lane=lane), base.payload)
        self.untimed_s = 0.0

    @contextmanager
    def untimed(self) -> Iterator[None]:  # type: ignore[override]  # measures, where the base has nothing to do
        began = time.monotonic()
        try:
            yield
        finally:
            self.untimed_s += time.monotonic() - began


class MovedClock(SystemClock):
    """The machine's clocks, moved ahead by hand."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


def settings_for(sim: Sim, directory: Path, **fields: Any) -> OllamaSettings:
    aliases = {
        "small": ModelAlias(SMALL, num_ctx=2_048),
        "wide": ModelAlias(SMALL, num_ctx=8_192),
        "big": ModelAlias(BIG, num_ctx=2_048),
        "thinker": ModelAlias(THINKER, num_ctx=2_048),
        "absent": ModelAlias("absent:1b"),
    }
    return OllamaSettings(url=sim.url, runtime_dir=str(directory), models=aliases, **fields)


@asynccontextmanager
async def provided(
    settings: OllamaSettings, clock: Clock | None = None
) -> AsyncIterator[OllamaProvider]:
    """An open provider."""
    provider = OllamaProvider(settings, clock)
    await provider.open()
    try:
        yield provider
    finally:
        await provider.close()


@asynccontextmanager
async def asking(
    sim: Sim, directory: Path, model: str = "small", **fields: Any
) -> AsyncIterator[AttemptOllama]:
    """The model of one attempt."""
    async with provided(settings_for(sim, directory, **fields)) as provider:
        yield provider.inject(ModelAttempt(model))


async def failure(doing: Awaitable[object]) -> Exception:
    """The exception that `doing` ends with."""
    try:
        await doing
    except Exception as error:
        return error
    raise AssertionError("it did not fail")
