"""The dependency `ollama`: one local model host, asked by one attempt at a time."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from processors.dependencies import Attempt
from processors.dependencies.asking import Answer, Ask, Purpose, seed_of
from processors.dependencies.ollama_errors import (
    HostAway,
    HostBroke,
    HostStalled,
    LoadFailed,
    ModelMissing,
    PromptTooLong,
)
from processors.dependencies.ollama_host import (
    OllamaHost,
    Resident,
    estimated_tokens,
    full_tag,
    matches,
    options_of,
)
from processors.dependencies.ollama_settings import (
    ModelAlias,
    OllamaSettings,
    host_identity,
)
from processors.dependencies.ollama_slot import HostSlot
from streams.clock import Clock, SystemClock
from streams.directory import HostCard, ModelCard
from streams.errors import Unavailable
from streams.model import Lease, ResourceClass
from streams.usage import Usage

FREE_TRIES = 5  # of a job, that end with the host's or the model's failure
PROMPT_SHARE = 0.7  # of what the context leaves beside the answer: the estimate is rough
SECOND_NS = 1_000_000_000

__all__ = ["ModelAlias", "OllamaProvider", "OllamaSettings"]


class OllamaProvider:
    """Gives processors of class `ollama` the model that their lane names."""

    name = "ollama"
    classes = frozenset({ResourceClass.OLLAMA})

    def __init__(self, settings: OllamaSettings, clock: Clock | None = None) -> None:
        """Raises ConfigError for a host that may not be used; see `host_identity`."""
        self._settings = settings
        self._clock = clock or SystemClock()
        self.host = host_identity(settings)
        self._slot = HostSlot(Path(settings.runtime_dir), self.host)
        self._server: OllamaHost | None = None
        self._version = ""
        self.told: Callable[[str], None] = lambda name: None  # the alias that is in memory now

    @property
    def pool(self) -> str:
        """The pool that limits the host: `ollama@<host>`."""
        return f"ollama@{self.host}"

    async def open(self) -> None:
        """Make the clients; nothing is sent."""
        self._server = OllamaHost(self._settings, self._clock, self._loaded)

    async def check(self) -> None:
        """Return when Ollama answers. Raises Unavailable with the address that was tried."""
        try:
            await self._opened.version()
        except HostAway as error:
            raise Unavailable(f"Ollama at {self._settings.url}: {error}") from error

    async def close(self) -> None:
        """Close every connection."""
        if self._server is not None:
            await self._server.close()
            self._server = None

    def inject(self, attempt: Attempt) -> "AttemptOllama":
        """The model of the attempt's lane."""
        return AttemptOllama(self._opened, self._slot, self._settings, attempt)

    async def version(self) -> str:
        """Ollama's version. Raises HostAway."""
        return await self._opened.version()

    async def models(self) -> tuple[str, ...]:
        """The aliases whose model is pulled and may be asked for now: what a worker may take.

        None while the host is left alone, so that jobs wait in their lanes. Raises HostAway.
        """
        return usable(await self.survey())

    async def survey(self) -> HostCard:
        """The host: its version, the models of the aliases, what is left alone. Raises HostAway."""
        server, pulled = self._opened, await self._opened.pulled()
        self._version = self._version or await server.version()
        resting_s = server.rests_s()
        trouble = f"failed several times in a row: left alone for {resting_s:.0f} s"
        aliases = self._settings.models.items()
        return HostCard(
            name=self.host,
            version=self._version,
            trouble=trouble if resting_s else "",
            models=tuple(
                ModelCard(name, alias.tag, found.digest, found.size_bytes, alias.num_ctx)
                for name, alias in aliases
                if (found := pulled.get(full_tag(alias.tag)))
            ),
            resting=tuple(name for name, alias in aliases if server.rests_s(alias)),
        )

    async def fingerprint(self, name: str) -> str:
        """What decides an alias' answers: the model's digest and load-time options.

        Empty when the model is not pulled, and while Ollama is away.
        """
        alias = self._settings.models.get(name)
        try:
            pulled = (await self._opened.pulled()).get(full_tag(alias.tag)) if alias else None
        except HostAway:
            return ""
        if alias is None or pulled is None or not pulled.digest:
            return ""
        return f"{pulled.digest} {msgspec.json.encode(alias.options, order='sorted').decode()}"

    async def tags(self) -> tuple[str, ...]:
        """Every model that is pulled, by Ollama's name. Raises HostAway."""
        return await self._opened.tags()

    async def residents(self) -> tuple[Resident, ...]:
        """Everything in memory, by Ollama's name. Raises HostAway."""
        return await self._opened.residents()

    async def resident(self) -> str:
        """The alias that is in memory and stays longest, or "". Raises HostAway."""
        for resident in await self._opened.residents():
            if resident.expires_ms <= self._clock.now_ms():
                continue
            for name, alias in self._settings.models.items():
                if matches(resident, alias):
                    return name
        return ""

    def _loaded(self, alias: ModelAlias) -> None:
        self.told(next(name for name, one in self._settings.models.items() if one == alias))

    @property
    def _opened(self) -> OllamaHost:
        assert self._server is not None, "open comes first"
        return self._server


class AttemptOllama:
    """One attempt's model; `processors.dependencies.asking.Ollama` says what it offers."""

    def __init__(
        self, server: OllamaHost, slot: HostSlot, settings: OllamaSettings, attempt: Attempt
    ) -> None:
        """Bound to the attempt, whose lane names the alias."""
        self._server = server
        self._slot = slot
        self._settings = settings
        self._attempt = attempt

    @property
    def model(self) -> str:
        """The alias."""
        return self._attempt.lease.lane.model

    def stream(self, ask: Ask) -> "StreamedAnswer":
        """Ask, and get the answer while it is made. Raises ModelMissing, PromptTooLong."""
        alias = self._settings.models.get(self.model)
        if alias is None:
            known = ", ".join(sorted(self._settings.models)) or "none"
            raise ModelMissing(f"no model has the alias {self.model!r}; the settings know {known}")
        check_fits(ask, alias)
        return StreamedAnswer(self._server, self._slot, self._attempt, (alias, ask))

    async def ask(self, ask: Ask) -> Answer:
        """Ask, and get the whole answer."""
        async with self.stream(ask) as answering:
            async for _ in answering:
                pass
            return answering.answer


class StreamedAnswer:
    """An answer on its way; entered, it holds the host."""

    def __init__(
        self,
        server: OllamaHost,
        slot: HostSlot,
        attempt: Attempt,
        question: tuple[ModelAlias, Ask],
    ) -> None:
        """Nothing happens until it is entered."""
        self._server = server
        self._slot = slot
        self._attempt = attempt
        self._alias, self._ask = question
        lease, seed = attempt.lease, self._ask.seed
        self._seed = seed_of(lease.job_id, lease.attempt) if seed is None else seed
        self._parts = server.chat(self._alias, self._ask, self._seed)
        self._held = AsyncExitStack()
        self._load_s = 0.0
        self._digest = ""
        self._swaps = 0
        self._asked_at = 0.0  # when the model was in memory
        self._heard_at = 0.0  # when the first piece came
        self._pieces = 0
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._last: Any = None

    async def __aenter__(self) -> Self:
        """Wait for the host and load the model, in time that is not the job's."""
        async with AsyncExitStack() as held:
            with self._attempt.untimed(), charging(self._attempt.lease):
                await held.enter_async_context(self._slot.held())
                await self._server.admit(self._alias)
                held.callback(self._spend)
                await self._load(held)
            await held.enter_async_context(aclosing(self._parts))
            self._held = held.pop_all()
        self._asked_at = time.monotonic()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stream, which stops the model, and then let go of the host."""
        await self._held.aclose()

    def __aiter__(self) -> Self:
        """The text, piece by piece; thoughts are kept apart."""
        return self

    async def __anext__(self) -> str:
        """The next piece. Raises Degenerate, ModelBroke, HostAway."""
        while True:
            part = await self._next_part()
            self._heard_at = self._heard_at or time.monotonic()
            self._pieces += 1
            self._last = part
            self._thinking.append(part.message.thinking or "")
            if part.message.content:
                self._text.append(part.message.content)
                return str(part.message.content)

    @property
    def answer(self) -> Answer:
        """The whole answer."""
        last = self._last
        assert getattr(last, "done", False), "the answer has not come to its end"
        return Answer(
            text="".join(self._text),
            thinking="".join(self._thinking),
            model=self._alias.tag,
            done_reason=last.done_reason or "",
            usage=self._usage(),
            digest=self._digest,
            options=options_of(self._alias, self._ask, self._seed),
        )

    def _spend(self) -> None:
        first_s = self._heard_at - self._asked_at if self._heard_at else None
        self._attempt.spend(self._usage(), first_s)

    def _usage(self) -> Usage:
        """What it cost, as Ollama says; of an answer that broke off: what came, a token a piece."""
        repairs = int(self._ask.purpose is not Purpose.QUESTION)
        used = Usage(asks=1, repairs=repairs, swaps=self._swaps, load_s=self._load_s)
        last = self._last
        if getattr(last, "done", False):
            return used + Usage(
                prompt_tokens=last.prompt_eval_count or 0,
                completion_tokens=last.eval_count or 0,
                prompt_eval_s=(last.prompt_eval_duration or 0) / SECOND_NS,
                eval_s=(last.eval_duration or 0) / SECOND_NS,
            )
        eval_s = time.monotonic() - self._heard_at if self._heard_at else 0.0
        return used + Usage(completion_tokens=self._pieces, eval_s=eval_s)

    async def _next_part(self) -> Any:
        try:
            part = await anext(self._parts)
        except HostAway as away:
            with self._attempt.untimed(), charging(self._attempt.lease):
                raise await self._server.blame(self._alias, away) from away
        if part.done:
            self._compare(part.prompt_eval_count or 0)
        return part

    def _compare(self, tokens: int) -> None:
        """Say when the prompt was so long that Ollama may have dropped some of it."""
        if tokens + self._ask.max_tokens > self._alias.num_ctx:
            self._attempt.log(
                "warning",
                "the prompt may have been cut",
                tokens=tokens,
                num_ctx=self._alias.num_ctx,
            )

    async def _load(self, holding: AsyncExitStack) -> None:
        """Load as a step of its own; sent too when the model is there, to keep it there.

        A load goes on when its attempt is stopped: broken off, it would begin anew for the next
        job of the model. The host is held until it is over.
        """
        held = await self._server.resident(self._alias)
        if held is None:
            self._attempt.progress(None, f"loading {self._alias.tag}")
        began = time.monotonic()
        loading = asyncio.ensure_future(self._server.load(self._alias))
        try:
            await asyncio.shield(loading)
        except asyncio.CancelledError:
            self._server.go_on(loading, holding.pop_all())
            raise
        finally:
            self._load_s = 0.0 if held else time.monotonic() - began
        if held is None:
            self._swaps = 1
            self._attempt.log(
                "info", "model loaded", model=self._alias.tag, seconds=round(self._load_s, 3)
            )
            held = await self._server.resident(self._alias)
        self._digest = held.digest if held else ""


def usable(host: HostCard) -> tuple[str, ...]:
    """The aliases that a host may be asked for now."""
    if host.trouble:
        return ()
    return tuple(model.alias for model in host.models if model.alias not in host.resting)


@contextmanager
def charging(lease: Lease) -> Iterator[None]:
    """Lets failures that were free use up an attempt once a job has had FREE_TRIES of them.

    A host that is ill is not asked again before it answered a probe, so what fails so often after
    one is a model that does not come up, or a request that takes the whole server down.
    """
    try:
        yield
    except (HostBroke, HostStalled, LoadFailed) as away:
        if lease.attempt - 1 - lease.failures >= FREE_TRIES:
            away.uses_attempt = True
        raise


def check_fits(ask: Ask, alias: ModelAlias) -> None:
    """Raises PromptTooLong when Ollama would drop part of the prompt without a word."""
    room = int(PROMPT_SHARE * (alias.num_ctx - ask.max_tokens))
    tokens = estimated_tokens(ask)
    if tokens > room:
        raise PromptTooLong(
            f"the prompt has about {tokens} tokens; {alias.tag} takes {max(0, room)} with a "
            f"context of {alias.num_ctx} and an answer of {ask.max_tokens}"
        )
