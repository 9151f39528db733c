"""One Ollama server: what it has, loading, asking; every error translated to ours."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import ollama

from processors.dependencies.asking import Ask
from processors.dependencies.ollama_breaker import Breaker, Gate
from processors.dependencies.ollama_errors import (
    Degenerate,
    HostAway,
    HostBroke,
    HostStalled,
    LoadRefused,
    ModelBroke,
    translate,
)
from processors.dependencies.ollama_restart import Restarter
from processors.dependencies.ollama_settings import ModelAlias, OllamaSettings, host_identity
from streams.clock import Clock
from streams.errors import Rejected, Retry

log = logging.getLogger(__name__)

BYTES_PER_TOKEN = 3  # a cautious estimate for Danish and English


class Resident(msgspec.Struct, frozen=True):
    """A model that Ollama holds in memory, is loading, or has not let go of yet."""

    tag: str
    num_ctx: int
    size_bytes: int
    digest: str
    expires_ms: int  # wall time; in the past while it is being evicted


class Pulled(msgspec.Struct, frozen=True):
    """A model on the host's disk."""

    digest: str
    size_bytes: int


class OllamaHost:
    """The server behind one URL. Does not see to it that only one asks at a time."""

    def __init__(
        self,
        settings: OllamaSettings,
        clock: Clock,
        loaded: Callable[[ModelAlias], None] = lambda alias: None,
    ) -> None:
        """Opens nothing until the first call; `loaded` is told of each model that is in memory."""
        self._settings = settings
        self._loaded = loaded
        self._clock = clock
        timeout = httpx.Timeout(
            None, connect=settings.connect_timeout_s, write=30.0, pool=settings.connect_timeout_s
        )
        self._client = ollama.AsyncClient(settings.url, timeout=timeout, trust_env=False)
        self._http = httpx.AsyncClient(base_url=settings.url, timeout=timeout, trust_env=False)
        self._breaker = Breaker()
        self._loads: set[asyncio.Future[None]] = set()  # whose attempts are over
        self._models: dict[str, Breaker] = {}  # by tag, of loads that Ollama refused
        stamp = Path(settings.runtime_dir) / f"ollama-{host_identity(settings)}.restarted"
        self._restarter = Restarter(settings.restart_command, settings.restart_pause_s, stamp)

    def go_on(self, loading: asyncio.Future[None], holding: AsyncExitStack) -> None:
        """Bring a load to its end whose attempt is over; `holding` is let go then."""
        finishing = asyncio.ensure_future(_finished(loading, holding))
        self._loads.add(finishing)
        finishing.add_done_callback(self._loads.discard)

    async def close(self) -> None:
        """Break off loads that nobody waits for, and close every connection."""
        for finishing in tuple(self._loads):
            finishing.cancel()
        await asyncio.gather(*self._loads, return_exceptions=True)
        await self._client.close()  # type: ignore[no-untyped-call]  # untyped in ollama 0.6
        await self._http.aclose()

    async def version(self) -> str:
        """Ollama's version, such as 0.33.0. Raises HostAway."""
        with _translated(self._settings.url):
            async with asyncio.timeout(self._settings.answer_timeout_s):
                response = await self._http.get("/api/version")
        if response.status_code != httpx.codes.OK:
            raise HostAway(f"{self._settings.url} answered {response.status_code}")
        try:
            return str(msgspec.json.decode(response.content, type=dict[str, str])["version"])
        except (msgspec.DecodeError, KeyError) as error:
            raise HostAway(f"{self._settings.url} is no Ollama") from error

    async def tags(self) -> tuple[str, ...]:
        """The models that are pulled. Raises HostAway."""
        return tuple(await self.pulled())

    async def pulled(self) -> dict[str, Pulled]:
        """Digest and size of each model that is pulled, by its name. Raises HostAway."""
        with _translated(self._settings.url):
            async with asyncio.timeout(self._settings.answer_timeout_s):
                listed = await self._client.list()
        return {
            model.model: Pulled(model.digest or "", int(model.size or 0))
            for model in listed.models
            if model.model
        }

    async def residents(self) -> tuple[Resident, ...]:
        """The models in memory, the one that stays longest first. Raises HostAway."""
        with _translated(self._settings.url):
            async with asyncio.timeout(self._settings.answer_timeout_s):
                listed = await self._client.ps()
        return tuple(
            Resident(
                tag=model.model or "",
                num_ctx=model.context_length or 0,
                size_bytes=int(model.size or 0),
                digest=model.digest or "",
                expires_ms=int(model.expires_at.timestamp() * 1_000) if model.expires_at else 0,
            )
            for model in listed.models
        )

    async def resident(self, alias: ModelAlias) -> Resident | None:
        """The model, if it is in memory with this context and for now to stay."""
        for resident in await self.residents():
            if matches(resident, alias) and resident.expires_ms > self._clock.now_ms():
                return resident
        return None

    async def admit(self, alias: ModelAlias) -> None:
        """Return when the breakers let a request out, after a probe where the host's wants one.

        Raises HostAway, to come back when the next probe is due.
        """
        now = self._clock.monotonic()
        if left_s := self.rests_s(alias):
            raise HostAway(f"{alias.tag} failed to load several times in a row", after_s=left_s)
        if left_s := self.rests_s():
            raise HostAway("Ollama has failed several times in a row", after_s=left_s)
        if self._breaker.gate(now) is Gate.HALF_OPEN and not await self._answers(alias):
            raise await self.blamed(HostAway("Ollama still does not answer a probe"))

    def rests_s(self, alias: ModelAlias | None = None) -> float:
        """Seconds for which the host, or one of its models, is left alone; 0 for not at all."""
        breaker = self._models.get(alias.tag) if alias else self._breaker
        return breaker.left_s(self._clock.monotonic()) if breaker else 0.0

    async def load(self, alias: ModelAlias) -> None:
        """Bring the model into memory, or keep it there. Raises ModelMissing, LoadFailed, …

        Leaving it before its end makes Ollama give up the load.
        """
        try:
            with _translated(alias.tag, loading=True):
                async with asyncio.timeout(self._settings.load_timeout_s):
                    await self._exhaust({"model": alias.tag, "options": alias.options})
        except LoadRefused as refused:
            raise await self._model_blamed(alias, refused) from refused.__cause__
        except HostAway as away:
            raise await self.blamed(away) from away.__cause__
        self._models.pop(alias.tag, None)
        self._loaded(alias)

    async def chat(self, alias: ModelAlias, ask: Ask, seed: int) -> AsyncGenerator[Any]:
        """The parts of the answer as the client gives them, up to the one that is `done`.

        Raises Degenerate when there is none, and HostAway; who is to blame for that says `blame`.
        """
        with _translated(alias.tag):
            async with aclosing(self._parts(alias, ask, seed)) as parts:
                async for part in parts:
                    yield part
                    if part.done:
                        self._breaker.succeeded()
                        return
        raise Degenerate(f"{alias.tag} stopped without an end, as it does when it repeats itself")

    async def blame(self, alias: ModelAlias, broke: HostAway) -> Retry:
        """What a failure in the middle of an answer is: the request's fault, if the host is well.

        A request that kills or hangs its runner each time would otherwise be tried for ever.
        """
        if isinstance(broke, HostBroke | HostStalled) and await self._answers(alias):
            return ModelBroke(f"{broke}; the host is well")
        return await self.blamed(broke)

    async def _parts(self, alias: ModelAlias, ask: Ask, seed: int) -> AsyncGenerator[Any]:
        """The client's stream, with a limit on every wait."""
        parts: Any = await self._client.chat(**_request(alias, ask, seed, self._settings))
        reading_s = estimated_tokens(ask) / self._settings.prompt_tokens_per_s
        limit_s = self._settings.first_token_timeout_s + reading_s
        async with aclosing(parts):
            while True:
                async with asyncio.timeout(limit_s):
                    part = await anext(parts, None)
                if part is None:
                    return
                yield part
                limit_s = self._settings.idle_timeout_s

    async def _answers(self, alias: ModelAlias) -> bool:
        """Whether the model says one token: only a real answer shows that a host is well."""
        options = {**alias.options, "num_predict": 1}
        try:
            with _translated(alias.tag):
                async with asyncio.timeout(self._settings.probe_timeout_s):
                    await self._exhaust(
                        {"model": alias.tag, "prompt": "Hi", "options": options, "think": False}
                    )
        except Retry:
            return False
        except Rejected:  # it answers, if only to refuse
            pass
        self._breaker.succeeded()
        return True

    async def _exhaust(self, request: dict[str, Any]) -> None:
        """Send to /api/generate and read to the end."""
        parts: Any = await self._client.generate(
            **request, stream=True, keep_alive=self._settings.keep_alive
        )
        async with aclosing(parts):
            async for _ in parts:
                pass

    async def blamed(self, away: HostAway) -> HostAway:
        """Hold a failure against the host; the error then waits at least for the breaker.

        When that opens the breaker, the host is restarted, if there is a command for it.
        """
        now = self._clock.monotonic()
        if self._breaker.failed(now):
            await self._restarter.restart(str(away))
        away.after_s = max(away.after_s or 0.0, self._breaker.left_s(now))
        return away

    async def _model_blamed(self, alias: ModelAlias, refused: LoadRefused) -> LoadRefused:
        """Hold a failure against the model alone: the host goes on with others.

        When the model is left alone for the first time, the host is restarted: it may have kept
        the memory of models that it had unloaded.
        """
        now = self._clock.monotonic()
        breaker = self._models.setdefault(alias.tag, Breaker())
        well = breaker.gate(now) is Gate.CLOSED
        if breaker.failed(now) and well:
            await self._restarter.restart(str(refused))
        refused.after_s = max(refused.after_s or 0.0, breaker.left_s(now))
        return refused


async def _finished(loading: asyncio.Future[None], holding: AsyncExitStack) -> None:
    """Wait for a load, whatever becomes of it, and let go of what is held for it."""
    async with holding:
        try:
            await loading
        except asyncio.CancelledError:
            loading.cancel()
            raise
        except (Rejected, Retry) as error:
            log.info("a load whose job is gone has failed", extra={"reason": str(error)})


def matches(resident: Resident, alias: ModelAlias) -> bool:
    """Whether a model in memory is the one an alias stands for, as far as Ollama tells."""
    return resident.tag == full_tag(alias.tag) and resident.num_ctx == alias.num_ctx


def full_tag(tag: str) -> str:
    """The tag as Ollama lists it: `llama3.1` is `llama3.1:latest`."""
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


def estimated_tokens(ask: Ask) -> int:
    """A cautious guess at the prompt's tokens."""
    return sum(len(turn.content.encode()) for turn in ask.turns) // BYTES_PER_TOKEN


def options_of(alias: ModelAlias, ask: Ask, seed: int) -> dict[str, Any]:
    """Everything that goes into `options`: the alias has the last word, for a reload's sake."""
    run_time = {
        "num_predict": ask.max_tokens,
        "temperature": ask.temperature,
        "seed": seed,
    }
    return {**ask.options, **run_time, **alias.options}


def _request(alias: ModelAlias, ask: Ask, seed: int, settings: OllamaSettings) -> dict[str, Any]:
    think = ask.think
    if think is None and ask.format is not None and alias.silent_json:
        think = False
    return {
        "model": alias.tag,
        "messages": [{"role": turn.role, "content": turn.content} for turn in ask.turns],
        "options": options_of(alias, ask, seed),
        "format": ask.format,
        "think": think,
        "keep_alive": settings.keep_alive,
        "stream": True,
    }


@contextmanager
def _translated(model: str, *, loading: bool = False) -> Iterator[None]:
    """Let through only errors of ours, and cancellation."""
    try:
        yield
    except (Rejected, Retry):
        raise
    except Exception as error:  # the client raises what it likes: this is the edge
        raise translate(error, model, loading=loading) from error
