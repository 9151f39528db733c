"""The test kit: run a processor in a test, without Redis and without a worker.

    ending = await run_processor(word_count, {"text": "to be or not to be"})
    assert ending.result == {"words": 6, "distinct": 4}

The payload takes the way it takes in production: to JSON, strictly decoded, the result encoded
and proved to be of its declared type. The function runs in this process, whatever its class, so
fakes and a debugger work; use `Host` to test what happens to a child process.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from processors.dependencies.asking import Answer, Ask, Usage
from processors.dependencies.cache import CacheProvider
from processors.dependencies.log import LogProvider
from processors.sdk.agents import AgentContext, AgentLine, Counts, Window, declared_agent
from processors.sdk.context import Context
from processors.sdk.declaration import Processor, declared
from processors.sdk.host import call_on_the_loop
from processors.sdk.registry import Registry
from processors.sdk.settings import ProcessorSettings
from processors.sdk.threads import ThreadAttempt, ThreadCall
from streams.errors import ConfigError, TimedOut
from streams.event_record import Event
from streams.model import Lane, Lease, Priority, ResourceClass, State
from streams.usage import NOTHING

APP = "test"
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Line:
    """A line that the processor logged."""

    level: str
    message: str
    fields: Mapping[str, object]


@dataclass(frozen=True)
class Step:
    """A progress that the processor reported."""

    fraction: float | None
    note: str


@dataclass(frozen=True)
class Ending:
    """How the processor ended, and what it said on the way."""

    value: object
    error: Exception | None
    lines: Sequence[Line]
    progress: Sequence[Step]
    said: str = ""  # what it emitted

    @property
    def result(self) -> object:
        """What an app would read, as plain JSON values; raises the error of one that failed."""
        if self.error is not None:
            raise self.error
        return self.value


@dataclass
class FakeAttempt:
    """An attempt that no engine stands behind. It keeps what is said to it."""

    lease: Lease
    payload: bytes
    timeout_s: float = TIMEOUT_S
    lines: list[Line] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    usage: Usage = NOTHING

    def __post_init__(self) -> None:
        """The time starts now."""
        self.deadline: float | None = time.monotonic() + self.timeout_s

    def untimed(self) -> nullcontext[None]:
        """Nothing measures the time here."""
        return nullcontext()

    def progress(self, fraction: float | None, note: str = "") -> None:
        """Keep the progress."""
        self.steps.append(Step(fraction, note))

    def emit(self, piece: str) -> None:
        """Keep the piece."""
        self.said.append(piece)

    def spend(self, usage: Usage, first_s: float | None = None) -> None:
        """Count the usage."""
        self.usage += usage

    def log(self, level: str, message: str, **fields: object) -> None:
        """Keep the line."""
        self.lines.append(Line(level, message, fields))


class ScriptedOllama:
    """The dependency `ollama` with its answers written down: they are given in their order.

    One may be a function of the question, or an exception, which is raised; `|length` at its end
    makes it one that was cut off. `asked` keeps the questions.
    """

    def __init__(self, *answers: str | Exception | Callable[[Ask], str]) -> None:
        """What will be said."""
        self._answers = list(answers)
        self.asked: list[Ask] = []
        self.model = "scripted"

    async def ask(self, ask: Ask) -> Answer:
        """The next answer."""
        self.asked.append(ask)
        assert self._answers, f"no answer is left for: {ask.turns[-1].content}"
        said = self._answers.pop(0)
        if isinstance(said, Exception):
            raise said
        text = said if isinstance(said, str) else said(ask)
        whole = text.removesuffix("|length")
        reason = "stop" if whole == text else "length"
        usage = Usage(prompt_tokens=10, completion_tokens=1)
        return Answer(whole, "", self.model, reason, usage, "0", {"seed": ask.seed})


def fake_attempt(
    processor: Processor, payload: object, *, attempt: int = 1, timeout_s: float = TIMEOUT_S
) -> FakeAttempt:
    """An attempt at `payload`: a Struct, plain values, or bytes that are JSON already."""
    raw = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    manifest = processor.manifest
    lane = Lane(manifest.resource_class, APP, Priority.NORMAL, manifest.name, manifest.model)
    lease = Lease(
        job_id="0-00000000000000000000000000",
        token="test",
        lane=lane,
        entry_id="1-0",
        pool=manifest.resource_class,
        attempt=attempt,
        failures=attempt - 1,
        attempts_max=manifest.attempts_max,
        timeout_ms=round(timeout_s * 1000),
        backoff_ms=round(manifest.backoff_s * 1000),
        backoff_max_ms=round(manifest.backoff_max_s * 1000),
        submitted_ms=0,
        payload=raw,
        payload_bytes=len(raw),
    )
    return FakeAttempt(lease, raw, timeout_s)


async def run_processor(
    processor: Callable[..., object] | str,
    payload: object,
    *,
    attempt: int = 1,
    timeout_s: float = TIMEOUT_S,
    folders: Sequence[Path] = (),
    **fakes: object,
) -> Ending:
    """Run one attempt of a processor, given as its function or by name.

    `fakes` are the dependencies by name; `log` and `cache` are there without. Raises ConfigError
    when a declared dependency has no fake or a fake was not declared; whatever the processor
    raises is in the ending, TimedOut after `timeout_s` included.
    """
    found = _find(processor, folders)
    attempted = fake_attempt(found, payload, attempt=attempt, timeout_s=timeout_s)
    dependencies = _dependencies(found, attempted, fakes)
    try:
        async with asyncio.timeout(timeout_s) as limit:
            raw = await _run(found, attempted, dependencies)
    except Exception as error:
        if limit.expired() and isinstance(error, TimeoutError):
            error = TimedOut(f"ran longer than {timeout_s:g} s")
        return Ending(None, error, attempted.lines, attempted.steps, "".join(attempted.said))
    value = msgspec.json.decode(raw)
    return Ending(value, None, attempted.lines, attempted.steps, "".join(attempted.said))


async def _run(
    processor: Processor, attempt: FakeAttempt, dependencies: Mapping[str, object]
) -> bytes:
    given = processor.decode(attempt.payload)
    if processor.is_async:
        value = await call_on_the_loop(processor, given, Context(attempt, dependencies))
    else:
        outside = ThreadAttempt(attempt, asyncio.get_running_loop())
        context = Context(outside, dependencies)
        value = await ThreadCall(lambda: processor.call(given, context), processor.name).ending()
    return processor.encode(value, ProcessorSettings().result_max_bytes)


def _find(processor: Callable[..., object] | str, folders: Sequence[Path]) -> Processor:
    if isinstance(processor, str):
        found = Registry.discover(folders).get(processor)
    else:
        found = declared(processor)
    if found is None:
        raise ConfigError(f"{processor!r} is no processor")
    return found


def _dependencies(
    processor: Processor, attempt: FakeAttempt, fakes: Mapping[str, object]
) -> dict[str, object]:
    names = processor.manifest.dependencies
    values = {"log": LogProvider().inject(attempt), "cache": CacheProvider().inject(attempt)}
    for name in fakes:
        if name not in names:
            raise ConfigError(f"processor {processor.name!r} does not declare {name!r}")
    missing = [name for name in names if name not in fakes and name not in values]
    if missing:
        raise ConfigError(f"processor {processor.name!r} needs a fake for {', '.join(missing)}")
    return {name: fakes.get(name, values.get(name)) for name in names}


class PlainCounts:
    """Counts of an agent without Faust."""

    def __init__(self, window: Window, context: AgentContext) -> None:
        """Counts in the windows of the events that `context` saw."""
        self._window = window
        self._context = context
        self._values: Counter[tuple[str, int]] = Counter()

    def add(self, key: str, count: int = 1) -> int:
        """Add to the window of the event that is read now."""
        self._values[key, self._now] += count
        return self._values[key, self._now]

    def before(self, key: str) -> list[int]:
        """What the windows before that one have, the oldest first."""
        backs = range(self._window.kept - 1, 0, -1)
        return [self._values[key, self._now - back] for back in backs]

    @property
    def _now(self) -> int:
        return int(self._context.at_ms / 1_000 // self._window.size_s)


def job_event(
    kind: str,
    at_ms: int,
    *,
    app: str = APP,
    processor: str = "echo",
    state: str = "active",
    **fields: str,
) -> Event:
    """An event of a job, as agents read them."""
    lane = Lane(ResourceClass.IO, app, Priority.NORMAL, processor, "")
    event_id = f"{at_ms}-0-0"
    return Event(event_id, kind, "0-job", lane, State(state), 1, at_ms, fields)


async def run_agent(
    function: Callable[..., object], events: Sequence[Event], *, replayed: int = 0
) -> list[AgentLine]:
    """What an agent tells of these events; the first `replayed` of them are from before it began.

    Raises what the agent raises.
    """
    found = declared_agent(function)
    if found is None:
        raise ConfigError(f"{function!r} is no agent")
    counts: dict[str, Counts] = {}
    context = AgentContext(found.watch, counts, lambda level, message, fields: None)
    counts |= {name: PlainCounts(one, context) for name, one in found.watch.counts.items()}
    context.lines = deque()  # all of them

    async def feed() -> AsyncIterator[Event]:
        for number, event in enumerate(events):
            context.saw(event, replaying=number < replayed)
            yield event

    await found.function(feed(), context)
    return list(context.lines)
