"""A processor whose results are kept: the same question costs the GPU nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from processors.dependencies.ollama import OllamaProvider
from processors.sdk import Ask, Context, Manifest, processor
from processors.sdk import ResourceClass as Class
from processors.sdk.declaration import declared
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from processors.sdk.remembered import Remembered
from processors.sdk.testing import FakeAttempt, fake_attempt
from streams.errors import ConfigError, Unavailable
from tests.ollama.simulated import SMALL, Sim, settings_for


class Question(msgspec.Struct):
    text: str
    loud: bool = False


@processor(
    Manifest(
        name="same-again",
        version="1",
        summary="Answers a question, the same way each time.",
        resource_class=Class.OLLAMA,
        dependencies=("ollama",),
        model="small",
        cache_s=60,
    )
)
async def same_again(given: Question, context: Context) -> str:
    return (await context.ollama.ask(Ask.of(given.text, seed=7, temperature=0))).text


class Shelf:
    """Keeps results in memory; `away` makes it fail."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.away = False

    async def find(self, asked: str) -> bytes | None:
        self._check()
        return self.kept.get(asked)

    async def keep(self, asked: str, result: bytes, ttl_ms: int) -> None:
        self._check()
        assert ttl_ms == 60_000
        self.kept[asked] = result

    def _check(self) -> None:
        if self.away:
            raise Unavailable("Redis is away")


def attempt(text: str = "Hvad er en fjord?", **fields: object) -> FakeAttempt:
    found = declared(same_again)
    assert found is not None
    made = fake_attempt(found, {"text": text})
    lane = msgspec.structs.replace(
        made.lease.lane, model=fields.pop("model", "small"), app=fields.pop("app", "web")
    )
    lease = msgspec.structs.replace(made.lease, lane=lane, **fields)
    return FakeAttempt(lease, made.payload)


@asynccontextmanager
async def hosted(sim: Sim, directory: Path, shelf: Shelf) -> AsyncIterator[Host]:
    found = declared(same_again)
    assert found is not None
    provider = OllamaProvider(settings_for(sim, directory))
    remembered = Remembered(shelf, provider.fingerprint)
    async with Host(Registry([found]), [provider], remembered=remembered) as host:
        yield host


async def asked(sim: Sim) -> int:
    """How many questions the model was asked."""
    return sum(one["route"] == "/api/chat" for one in (await sim.log())["requests"])


async def test_the_same_question_is_answered_without_the_model(sim: Sim, tmp_path: Path) -> None:
    async with hosted(sim, tmp_path, Shelf()) as host:
        first, second = attempt(), attempt()
        assert await host.run(first) == await host.run(second)
        assert await asked(sim) == 1
        assert (first.usage.asks, first.usage.cached) == (1, 0)
        assert (second.usage.asks, second.usage.cached, second.usage.eval_s) == (0, 1, 0)


async def test_whatever_an_answer_depends_on_is_asked_anew(sim: Sim, tmp_path: Path) -> None:
    async with hosted(sim, tmp_path, Shelf()) as host:
        await host.run(attempt())
        others = [attempt("Hvad er en ø?"), attempt(model="wide"), attempt(app="other")]
        others.append(attempt(fresh=True))
        for number, other in enumerate(others, 2):
            await host.run(other)
            assert (await asked(sim), other.usage.cached) == (number, 0)


async def test_another_model_under_the_same_tag_is_asked_anew(sim: Sim, tmp_path: Path) -> None:
    async with hosted(sim, tmp_path, Shelf()) as host:
        await host.run(attempt())
        async with sim.client() as client:
            await client.delete(SMALL)
            await client.pull(SMALL)
        await host.run(attempt())
        assert await asked(sim) == 2


async def test_trouble_with_keeping_is_none_of_the_jobs(sim: Sim, tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.away = True
    async with hosted(sim, tmp_path, shelf) as host:
        for _ in range(2):
            assert await host.run(attempt())
    assert await asked(sim) == 2


def test_results_are_kept_in_class_ollama_only() -> None:
    base = {"name": "x", "version": "1", "summary": "x"}
    with pytest.raises(ConfigError, match="cache_s is for class ollama only"):
        Manifest(**base, resource_class=Class.IO, cache_s=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cache_s must be 0, or at most"):
        Manifest(**base, resource_class=Class.OLLAMA, cache_s=-1)  # type: ignore[arg-type]
