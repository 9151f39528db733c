"""Listings of jobs: pages that cost what they show, over the structures that are there anyway.

There is no index of jobs by app, processor or tag: keeping one would cost every job, and listings
are rare. A page walks lanes, due sets and the lists of ended jobs from the newest on, reads the
records that it passes, at most SCAN_MAX, and leaves a cursor where it stopped. So a narrow filter
may bring a short page, even an empty one, with a cursor that goes on. A job that changes its state
while somebody pages may come twice or not at all.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import StrEnum

import msgspec

from streams.keyspace import Keyspace
from streams.merging import Found, Place, SortedSource, Source, StreamSource, merged
from streams.model import Job, Lane, Page, ResourceClass, State
from streams.scripts import Client, text, translated

SCAN_MAX = 2_000  # records looked at for one page
CHUNK_MAX = 200  # records read in one round trip
BLOCKED_CHUNK = 200


class JobFilter(msgspec.Struct, frozen=True):
    """Which jobs; what is None, empty or 0 does not narrow. Times are those of the submit."""

    app: str | None = None
    state: State | None = None
    processor: str | None = None
    tag: str | None = None
    since_ms: int = 0
    until_ms: int = 0  # not included

    def fits(self, job: Job) -> bool:
        """Whether a job is among them."""
        return (
            self.app in (None, job.lane.app)
            and self.state in (None, job.state)
            and self.processor in (None, job.lane.processor)
            and (self.tag is None or self.tag in job.tags)
            and job.submitted_ms >= self.since_ms
            and (not self.until_ms or job.submitted_ms < self.until_ms)
        )


EVERY_JOB = JobFilter()


class Shelf(StrEnum):
    """Where jobs lie in Redis, in the order in which a listing goes through."""

    LANES = "l"
    DUE = "u"
    BLOCKED = "b"
    DEAD = "d"
    ENDED = "e"


SHELVES: dict[Shelf, frozenset[State]] = {
    Shelf.LANES: frozenset({State.WAITING, State.ACTIVE}),
    Shelf.DUE: frozenset({State.DELAYED}),
    Shelf.BLOCKED: frozenset({State.BLOCKED}),
    Shelf.DEAD: frozenset({State.DEAD}),
    Shelf.ENDED: frozenset({State.SUCCEEDED, State.CANCELLED, State.EXPIRED}),
}


class Cursor(msgspec.Struct, frozen=True):
    """Where a page stopped: `e 1764000000000 0 0-01jd…`."""

    shelf: Shelf
    after: Place | None = None

    @property
    def text(self) -> str:
        """As pages carry it."""
        if self.after is None:
            return self.shelf
        return f"{self.shelf} {self.after.major} {self.after.minor} {self.after.name}"

    @classmethod
    def parse(cls, cursor: str) -> "Cursor":
        """The cursor of a text. Raises ValueError for one that no page gave out."""
        shelf, _, rest = cursor.partition(" ")
        if not rest:
            return cls(Shelf(shelf))
        major, minor, name = rest.split(" ", 2)
        if not (major.isdecimal() and minor.isdecimal()):
            raise ValueError(cursor)
        return cls(Shelf(shelf), Place(int(major), int(minor), name))


class JobListing:
    """Pages of jobs. Raises errors.Unavailable, and ValueError for what is no cursor."""

    def __init__(
        self,
        redis: Client,
        keyspace: Keyspace,
        read: Callable[[Sequence[str]], Awaitable[list[Job]]],
    ) -> None:
        """`read` brings the jobs of ids that have a record, in their order."""
        self._redis = redis
        self._keys = keyspace
        self._read = read

    async def page(self, wanted: JobFilter, cursor: str = "", limit: int = 50) -> Page[Job]:
        """Jobs that fit, newest first on each shelf: live ones, dead letters, others that ended."""
        start = Cursor.parse(cursor) if cursor else None
        found: list[Job] = []
        looked_at = 0
        for shelf in _shelves(wanted, start):
            at = start if start and start.shelf is shelf else Cursor(shelf)
            async for entries in self._chunks(shelf, wanted, at.after, limit):
                places = {entry.id: entry.place for entry in entries}
                for job in await self._read(list(places)):
                    if job.state in SHELVES[shelf] and wanted.fits(job):
                        found.append(job)
                        if len(found) == limit:
                            return Page(found, Cursor(shelf, places[job.id]).text)
                looked_at += len(entries)
                if looked_at >= SCAN_MAX:
                    return Page(found, Cursor(shelf, entries[-1].place).text)
        return Page(found)

    async def _chunks(
        self, shelf: Shelf, wanted: JobFilter, after: Place | None, limit: int
    ) -> AsyncIterator[list[Found]]:
        """A shelf's entries behind a place, some at a time."""
        if shelf is Shelf.BLOCKED:
            entries = self._blocked(after)
        else:
            sources = await self._sources(shelf, wanted)
            entries = merged(self._redis, sources, after, limit)
        chunk: list[Found] = []
        size = min(limit, CHUNK_MAX)
        async for entry in entries:
            if shelf is not Shelf.BLOCKED and entry.place.major < wanted.since_ms:
                break  # nobody ends, waits or is due before the submit
            chunk.append(entry)
            if len(chunk) >= size:
                yield chunk
                chunk, size = [], CHUNK_MAX
        if chunk:
            yield chunk

    async def _sources(self, shelf: Shelf, wanted: JobFilter) -> list[Source]:
        match shelf:
            case Shelf.LANES:
                lanes = [lane for lane in await self._lanes() if _may_hold(lane, wanted)]
                return [StreamSource(self._keys.stream(lane), lane, b"j") for lane in lanes]
            case Shelf.DUE:
                keys = [self._keys.key("due_", name) for name in ResourceClass]
            case Shelf.DEAD:
                keys = [self._keys.key("dead_", app) for app in await self._apps(wanted)]
            case _:
                keys = [self._keys.key("ended_", app) for app in await self._apps(wanted)]
        return [SortedSource(self._redis, key) for key in keys]

    async def _lanes(self) -> list[str]:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in ResourceClass:
                    pipe.smembers(self._keys.key("streams_", name))
                return sorted(text(raw) for lanes in await pipe.execute() for raw in lanes)

    async def _apps(self, wanted: JobFilter) -> list[str]:
        if wanted.app is not None:
            return [wanted.app]
        with translated():
            return sorted(text(raw) for raw in await self._redis.smembers(self._keys.key("apps")))

    async def _blocked(self, after: Place | None) -> AsyncIterator[Found]:
        """Blocked jobs have no order: a place is a cursor of SSCAN, and how many of its answer."""
        scan, passed = (int(after.name), after.minor) if after else (0, 0)
        while True:
            with translated():
                following, raws = await self._redis.sscan(
                    self._keys.key("blocked"), scan, count=BLOCKED_CHUNK
                )
            for number, raw in enumerate(sorted(raws), 1):
                if number > passed:
                    yield Found(text(raw), Place(0, number, str(scan)))
            if not following:
                return
            scan, passed = int(following), 0


def _shelves(wanted: JobFilter, start: Cursor | None) -> list[Shelf]:
    shelves = list(Shelf)
    if start is not None:
        shelves = shelves[shelves.index(start.shelf) :]
    return [shelf for shelf in shelves if wanted.state in (None, *SHELVES[shelf])]


def _may_hold(name: str, wanted: JobFilter) -> bool:
    lane = Lane.parse(name)
    return wanted.app in (None, lane.app) and wanted.processor in (None, lane.processor)
