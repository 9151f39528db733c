"""Agents: code that reads the events of all jobs as they happen, and counts and tells.

    @agent(Watch("dead-letters", "1", "Tells of every dead letter."))
    async def dead_letters(events: Events, context: AgentContext) -> None:
        async for event in events:
            if event.state == "dead":
                context.log.warning("a dead letter", job=event.job_id, app=event.app)

An agent runs in every worker that has its code, and sees every event. What it raises is told;
then it is begun again behind the event that it was at.
"""

import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import ModuleType
from typing import Protocol

import msgspec

from processors.dependencies.log import Log
from processors.sdk.manifest import NAME, SUMMARY_MAX, VERSION
from streams.errors import ConfigError
from streams.event_record import Event
from streams.model import State

MARK = "__roughneck_agent__"
WINDOWS_MAX, WINDOW_MAX_S = 1_440, 86_400.0
LINES_KEPT = 20

Events = AsyncIterator[Event]
Told = Callable[[str, str, dict[str, object]], None]


class Window(msgspec.Struct, frozen=True):
    """How a count is kept: by windows of `size_s` seconds, the newest `kept` of them."""

    size_s: float
    kept: int = 60


class Watch(msgspec.Struct, frozen=True):
    """What an agent declares. Raises ConfigError, naming agent and field, when it is wrong.

    At its start an agent reads the events of as long as its windows reach back, so that its counts
    are right at once: `context.replaying` says so meanwhile.
    """

    name: str
    version: str
    summary: str
    counts: Mapping[str, Window] = {}  # by name: see `AgentContext.counts`
    states: tuple[State, ...] = ()  # only events that lead to these, and a few that tell the time

    def __post_init__(self) -> None:
        """Check every field."""
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"agent {self.name!r}: name must match {NAME.pattern}")
        if not VERSION.fullmatch(self.version):
            raise ConfigError(f"agent {self.name!r}: version must match {VERSION.pattern}")
        if not 0 < len(self.summary.strip()) <= SUMMARY_MAX or "\n" in self.summary:
            raise ConfigError(f"agent {self.name!r}: summary must be one line")
        for name, window in self.counts.items():
            if not 1 <= window.size_s <= WINDOW_MAX_S or not 1 <= window.kept <= WINDOWS_MAX:
                raise ConfigError(
                    f"agent {self.name!r}: {name} must have 1 to {WINDOWS_MAX} windows of 1 s "
                    f"to {WINDOW_MAX_S:g} s"
                )

    @property
    def replay_s(self) -> float:
        """How far back the windows reach."""
        return max((one.size_s * one.kept for one in self.counts.values()), default=0.0)


class Counts(Protocol):
    """Counts by key in windows of time, which begin at multiples of their size."""

    def add(self, key: str, count: int = 1) -> int:
        """Add to the window of the event that is read now; how many it has then."""
        ...

    def before(self, key: str) -> list[int]:
        """What the windows before that one have, the oldest first; those that are kept."""
        ...


class AgentContext:
    """What an agent is given besides the events."""

    def __init__(self, watch: Watch, counts: Mapping[str, Counts], told: Told) -> None:
        self._watch = watch
        self._counts = counts
        self.log = Log(self._line)
        self.replaying = False  # whether the event that is read now is from before the start
        self.began_ms = 0  # of the oldest event that it read: before it nothing is known
        self.lines: deque[AgentLine] = deque(maxlen=LINES_KEPT)
        self.events = 0
        self.failures = 0
        self.at_ms = 0  # of the event that is read now
        self._told = told

    @property
    def summary(self) -> str:
        """What the watch says of the agent."""
        return self._watch.summary

    def counts(self, name: str) -> Counts:
        """The counts that the watch declares by that name. Raises ConfigError for another."""
        if name not in self._counts:
            raise ConfigError(f"agent {self._watch.name!r} declares no counts {name!r}")
        return self._counts[name]

    def saw(self, event: Event, *, replaying: bool) -> None:
        """The agent reads this event from now on."""
        self.replaying, self.at_ms = replaying, event.at_ms
        self.began_ms = self.began_ms or event.at_ms
        self.events += 1

    def _line(self, level: str, message: str, **fields: object) -> None:
        self.lines.append(
            AgentLine(self.at_ms, level, message, {k: str(v) for k, v in fields.items()})
        )
        self._told(level, message, fields)


class AgentLine(msgspec.Struct, frozen=True):
    """Something that an agent told, and of when the event was at which it did."""

    at_ms: int
    level: str
    message: str
    fields: dict[str, str]


class Agent(msgspec.Struct, frozen=True):
    """A function with its declaration."""

    watch: Watch
    function: Callable[[Events, AgentContext], Awaitable[None]]

    @property
    def name(self) -> str:
        """The name of its watch."""
        return self.watch.name


Function = Callable[[Events, AgentContext], Awaitable[None]]


def agent(watch: Watch) -> Callable[[Function], Function]:
    """Declare the decorated async function an agent; the function itself stays as it is.

    Raises ConfigError for one that is not async, or does not take events and context.
    """

    def declare(function: Function) -> Function:
        taken = len(inspect.signature(function).parameters)
        if not inspect.iscoroutinefunction(function) or taken != 2:
            raise ConfigError(
                f"agent {watch.name!r}: it must be an async function of events and context"
            )
        setattr(function, MARK, Agent(watch, function))
        return function

    return declare


def declared_agent(function: object) -> Agent | None:
    """The agent that `function` was declared to be, or None."""
    found = getattr(function, MARK, None) if callable(function) else None
    return found if isinstance(found, Agent) else None


def agents_of(module: ModuleType) -> list[Agent]:
    """The agents that a module declares itself."""
    return [
        one
        for value in vars(module).values()
        if (one := declared_agent(value)) is not None and value.__module__ == module.__name__
    ]
