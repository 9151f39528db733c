"""The event stream, read once per process and handed out to whoever follows a job or an app.

An event only says that it is worth looking. Whoever follows reads the job's state on subscribing,
and again when there was a gap: nothing depends on having seen an event.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import msgspec
from mode import Service

from gateway.problems import is_outage
from streams.events import Event, EventReader

READ_BLOCK_MS = 1_000
READ_COUNT = 1_000
RETRY_S = 0.5
BUFFER_MAX = 1_000  # events that a follower may be behind
MISSED_MAX = 1_000  # events of the past that one follower is given
LOOKING_BACK = 2  # followers that read the past at once: each needs a connection
EVERY_APP = ""
WHOLE = 999_999_999  # a line beyond all of its entry's

Key = tuple[int, ...]


class Wanted(msgspec.Struct, frozen=True):
    """What a follower wants: one job's events, or those of an app (`EVERY_APP` for all)."""

    job_id: str = ""
    app: str = EVERY_APP
    kinds: Collection[str] = ()  # none: every kind

    def has(self, event: Event) -> bool:
        """Whether the follower wants this event."""
        if self.kinds and event.kind not in self.kinds:
            return False
        return event.job_id == self.job_id if self.job_id else self.app in (EVERY_APP, event.app)


class Follower:
    """One who follows: events that came, bounded, and what kept others from coming."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.news = asyncio.Event()
        self.gap = False  # events may be missing: read the state
        self.behind = False  # it did not take them in time, and gets no more
        self.closed = False  # the process stops
        self._events: deque[Event] = deque()

    def put(self, event: Event) -> None:
        """Keep an event for it."""
        if len(self._events) >= BUFFER_MAX:
            self.behind = True
        if not self.behind:
            self._events.append(event)
        self.news.set()

    def take(self) -> list[Event]:
        """The events that came since it last took some."""
        taken = list(self._events)
        self._events.clear()
        return taken

    async def wait(self, within_s: float) -> bool:
        """Wait until there is something; False when there was nothing within that time."""
        try:
            async with asyncio.timeout(within_s):
                await self.news.wait()
        except TimeoutError:
            return False
        self.news.clear()
        return True


class Feed(Service):
    """Reads the event stream while somebody follows it."""

    def __init__(self, events: EventReader) -> None:
        super().__init__()
        self._events = events
        self._by_job: defaultdict[str, set[Follower]] = defaultdict(set)
        self._by_app: defaultdict[str, set[Follower]] = defaultdict(set)
        self._somebody = asyncio.Event()
        self._positioned = asyncio.Event()
        self._looking_back = asyncio.Semaphore(LOOKING_BACK)
        self._position = ""

    @contextmanager
    def following(self, wanted: Wanted) -> Iterator[Follower]:
        """A follower for as long as the block runs. It may have a gap at once."""
        follower = Follower(wanted)
        follower.closed = self.should_stop
        index, name = self._place(wanted)
        index[name].add(follower)
        self._somebody.set()
        try:
            yield follower
        finally:
            index[name].discard(follower)
            if not index[name]:
                del index[name]
            if not self.followers:
                self._somebody.clear()

    @property
    def followers(self) -> int:
        """How many follow."""
        return sum(len(found) for index in (self._by_job, self._by_app) for found in index.values())

    async def position(self, within_s: float = 1.0) -> str:
        """The id from which on followers get everything; empty while Redis does not tell."""
        try:
            async with asyncio.timeout(within_s):
                await self._positioned.wait()
        except TimeoutError:
            return ""
        return self._position

    async def missed(self, after: str, wanted: Wanted) -> tuple[list[Event], bool]:
        """What a follower would have got after the event of that id, and whether all of it.

        Raises Unavailable.
        """
        found: list[Event] = []
        async with self._looking_back:
            whole = not is_after(await self._events.oldest_id(), after)
            position = before(after)
            while events := await self._events.read(position, count=READ_COUNT):
                position = events[-1].id
                found += [one for one in events if wanted.has(one)]
                if len(found) > MISSED_MAX:
                    return [], False
        return [event for event in found if key_of(event.id) > key_of(after)], whole

    async def on_stop(self) -> None:
        """Send everybody home."""
        for follower in self._everybody():
            follower.closed = True
            follower.news.set()

    @Service.task
    async def _read_events(self) -> None:
        while not self.should_stop:
            await self._somebody.wait()
            try:
                await self._read()
            except Exception as error:  # the reader must outlive whatever Redis does
                if not is_outage(error):
                    self.log.exception("the event stream could not be read")
                await self.sleep(RETRY_S)

    async def _read(self) -> None:
        """Read until nobody follows. After an outage it goes on where it was."""
        if self._position:
            await self._look_for_gap()
        else:
            self._position = f"{await self._events.latest_id()}-{WHOLE}"
            self._tell_gap()
        self._positioned.set()
        while self._somebody.is_set() and not self.should_stop:
            events = await self._events.read(self._position, READ_BLOCK_MS, READ_COUNT)
            for event in events:
                self._hand_out(event)
            if events:
                self._position = events[-1].id
            if len(events) >= READ_COUNT:
                await self._look_for_gap()  # it is behind: the stream may be cut before it is read
        self._positioned.clear()
        self._position = ""

    async def _look_for_gap(self) -> None:
        if is_after(await self._events.oldest_id(), self._position):
            self._tell_gap()

    def _hand_out(self, event: Event) -> None:
        for follower in (
            *self._by_job.get(event.job_id, ()),
            *self._by_app.get(event.app, ()),
            *self._by_app.get(EVERY_APP, ()),
        ):
            if follower.wanted.has(event):
                follower.put(event)

    def _tell_gap(self) -> None:
        for follower in self._everybody():
            follower.gap = True
            follower.news.set()

    def _everybody(self) -> list[Follower]:
        indexes = (*self._by_job.values(), *self._by_app.values())
        return [follower for found in indexes for follower in found]

    def _place(self, wanted: Wanted) -> tuple[defaultdict[str, set[Follower]], str]:
        return (self._by_job, wanted.job_id) if wanted.job_id else (self._by_app, wanted.app)


def key_of(event_id: str) -> Key:
    """An id as what it is ordered by: milliseconds, number, line."""
    return tuple(map(int, event_id.split("-")))


def is_after(oldest: str, event_id: str) -> bool:
    """Whether events after the one of that id may be gone; nothing comes before `0-0`."""
    entry = key_of(event_id)[:2]
    return entry > (0, 0) and key_of(oldest) > entry


def before(event_id: str) -> str:
    """The id to read after, so that the other events of the same entry come again."""
    ms, number = key_of(event_id)[:2]
    return f"{ms}-{number - 1}" if number else f"{max(0, ms - 1)}-{2**63 - 1}"
