"""Plays it: one attempt of a processor, or the stages of a flow one after the other."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import msgspec

from ops.rehearsal.cast import Cast
from ops.rehearsal.model_host import model_host
from ops.settings import Settings
from processors.dependencies import Provider
from processors.dependencies.cache import CacheProvider
from processors.dependencies.http import HttpProvider
from processors.dependencies.log import LogProvider
from processors.dependencies.ollama import OllamaProvider, OllamaSettings
from processors.sdk.declaration import Processor
from processors.sdk.host import Host
from processors.sdk.named_flow import NamedFlow
from processors.sdk.registry import Registry
from processors.sdk.testing import fake_attempt
from streams.attempt import Attempt
from streams.clock import SystemClock
from streams.errors import TimedOut, Trouble
from streams.flow import OnFailure, Stage, fanned, planned, resolved, result_stage
from streams.ids import new_job_id
from streams.model import Fault, Lease, ResourceClass
from streams.planning import payload_of
from streams.policy import fault_of
from streams.telemetry import AttemptLog, Happening, Telemetry


class Audience(Protocol):
    """Who is told what happens on the way."""

    def note(self, sentence: str) -> None:
        """Something about the rehearsal itself."""
        ...

    def line(self, level: str, message: str, fields: dict[str, object]) -> None:
        """A line that the processor logged."""
        ...

    def progress(self, fraction: float | None, note: str) -> None:
        """How far the processor is."""
        ...


class Rehearsed(msgspec.Struct, frozen=True):
    """How it ended: a result, or a fault."""

    result: Any
    fault: Fault | None
    took_s: float
    in_time: bool = True  # else it was stopped at its deadline


class Failed(Trouble):
    """A stage failed, and its flow with it."""

    code = "stage_failed"


class Terms(msgspec.Struct, frozen=True):
    """What the attempt is told of itself, and whether the model is simulated in any case."""

    attempt: int = 1
    timeout_s: float | None = None  # None: the manifest's
    app: str = "rehearsal"
    simulated: bool = False


class Player:
    """Runs attempts of some processors on one host."""

    def __init__(self, host: Host, audience: Audience, terms: Terms) -> None:
        self._host = host
        self._terms = terms
        self._audience = audience
        self._telemetry = Telemetry()
        self._telemetry.listen(self._hear, AttemptLog)

    async def run(self, processor: Processor, payload: object) -> Any:
        """The result of one attempt as plain values. Raises whatever the processor raised."""
        lease = self._lease(processor, payload)
        attempt = Attempt(lease, self._telemetry, lambda _, *far: self._audience.progress(*far))
        limit = attempt.limit()
        try:
            with limit:
                raw = await self._host.run(attempt)
        except TimeoutError as error:
            if not limit.expired():
                raise
            span = f"{attempt.timeout_s:g} s"
            raise TimedOut(f"{processor.name} ran longer than {span}") from error
        return msgspec.json.decode(raw)

    def _lease(self, processor: Processor, payload: object) -> Lease:
        timeout_s = self._terms.timeout_s or processor.manifest.timeout_s
        base = fake_attempt(processor, payload, attempt=self._terms.attempt, timeout_s=timeout_s)
        now_ms = SystemClock().now_ms()
        return msgspec.structs.replace(
            base.lease,
            job_id=new_job_id(now_ms),
            submitted_ms=now_ms,
            lane=msgspec.structs.replace(base.lease.lane, app=self._terms.app),
        )

    def _hear(self, happening: Happening) -> None:
        if isinstance(happening, AttemptLog):
            self._audience.line(happening.level, happening.message, happening.fields)


async def rehearse(
    cast: Cast,
    payload: bytes,
    settings: Settings,
    audience: Audience,
    terms: Terms | None = None,
    *,
    answers: Sequence[str] = (),
) -> Rehearsed:
    """Run it once. What the processor raises is the fault of what is answered.

    Raises InvalidInput for an input that does not fit, and ConfigError for a dependency that
    cannot be had. `answers` are what a simulated model says first.
    """
    terms = terms or Terms()
    cast.check(payload)
    async with playing(cast, settings, audience, (terms, answers)) as player:
        began = time.monotonic()
        try:
            if cast.flow is None:
                result = await player.run(cast.processors[0], payload)
            else:
                by_name = {one.name: one for one in cast.processors}
                result = await play(cast.flow, payload, by_name, player.run, audience.note)
        except Exception as error:
            took_s = time.monotonic() - began
            return Rehearsed(None, fault_of(error), took_s, not isinstance(error, TimedOut))
        return Rehearsed(result, None, time.monotonic() - began)


@asynccontextmanager
async def playing(
    cast: Cast, settings: Settings, audience: Audience, how: tuple[Terms, Sequence[str]]
) -> AsyncIterator[Player]:
    """A host with the dependencies of the cast."""
    terms, answers = how
    async with AsyncExitStack() as stack:
        ollama = settings.ollama
        aliases = {
            one.manifest.model
            for one in cast.processors
            if one.resource_class is ResourceClass.OLLAMA and one.manifest.model
        }
        if aliases:
            found = await stack.enter_async_context(
                model_host(ollama, aliases, answers, simulated=terms.simulated)
            )
            ollama = found.settings
            audience.note(f"model: {found.said}")
        host = Host(Registry(cast.processors), given_of(settings, ollama), settings.processors)
        await stack.enter_async_context(host)
        yield Player(host, audience, terms)


def given_of(settings: Settings, ollama: OllamaSettings) -> list[Provider]:
    """What processors may be given where there is no Redis."""
    return [
        LogProvider(),
        CacheProvider(),
        HttpProvider(settings.http, settings.network),
        OllamaProvider(ollama),
    ]


# ------------------------------------------------------------------ flows

Run = Callable[[Processor, object], Awaitable[Any]]


async def play(
    flow: NamedFlow,
    payload: bytes,
    processors: dict[str, Processor],
    run: Run,
    note: Callable[[str], None],
) -> Any:
    """The result of a flow. Raises Failed, naming the stage, where its policy says so."""
    completed = msgspec.json.decode(payload, type=flow.input)  # with its defaults
    given = msgspec.json.decode(msgspec.json.encode(completed))
    results: dict[str, Any] = {}
    skipped: set[str] = set()
    last = result_stage(flow.flow)
    for stage in planned(flow.flow):
        if skipped.intersection(stage.parents):
            skipped.add(stage.name)
            note(f"stage {stage.name}: skipped")
            continue
        processor = processors[stage.processor]
        try:
            results[stage.name] = await _stage(stage, (results, given), processor, run, note)
        except Exception as error:
            fault = fault_of(error)
            if stage.on_failure is OnFailure.FAIL:
                raise Failed(f"stage {stage.name}: {fault.code}: {fault.message}") from error
            note(f"stage {stage.name} failed: {fault.code}: {fault.message}")
            results[stage.name] = None
            if stage.on_failure is OnFailure.SKIP:
                skipped.add(stage.name)
    return results.get(last) if last else results


async def _stage(
    stage: Stage,
    known: tuple[dict[str, Any], Any],
    processor: Processor,
    run: Run,
    note: Callable[[str], None],
) -> Any:
    results, given = known
    template = payload_of(stage)
    if stage.each is None:
        note(f"stage {stage.name}: {processor.name}")
        return await run(processor, resolved(template, results, given))
    items = fanned(stage.each, results, given)
    note(f"stage {stage.name}: {processor.name}, {len(items)} items")
    ended: list[Any] = []
    for item in items:
        try:
            payload = item if template is None else resolved(template, results, given, item)
            ended.append(None if item is None else await run(processor, payload))
        except Exception as error:
            if stage.on_failure is OnFailure.FAIL:
                raise
            fault = fault_of(error)
            note(f"stage {stage.name}, item {len(ended)}: {fault.code}: {fault.message}")
            ended.append(None)
    return ended
