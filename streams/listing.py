"""Listings of jobs: pages that cost what they show, over the structures that are there anyway.

There is no index of jobs by app, processor or tag: keeping one would cost every job, and listings
are rare (decision 15). A page walks lanes, due sets and the lists of ended jobs from the newest on
and reads the records that it passes. A job that changes its state while somebody pages may come
twice or not at all.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import msgspec

from streams.keyspace import Keyspace
from streams.merging import Found, Place, SortedSource, Source, StreamSource
from streams.model import Job, Lane, Page, ResourceClass, State
from streams.scripts import Client, text, translated
from streams.shelves import Shelf, SourceShelf, paged

BLOCKED_CHUNK = 200
BLOCKED = "b"
LEASED_MAX = 500  # running jobs that are listed by their leases

ReadJobs = Callable[[Sequence[str]], Awaitable[list[Job]]]


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

# Where jobs lie in Redis, by the letter in cursors, in the order in which a listing goes through.
SHELVES: dict[str, frozenset[State]] = {
    "l": frozenset({State.WAITING, State.ACTIVE}),  # lanes
    "u": frozenset({State.DELAYED}),  # due sets
    BLOCKED: frozenset({State.BLOCKED}),
    "d": frozenset({State.DEAD}),
    "e": frozenset({State.SUCCEEDED, State.CANCELLED, State.EXPIRED}),
}


class JobListing:
    """Pages of the jobs that fit. Raises errors.Unavailable, and ValueError for no cursor."""

    def __init__(
        self, redis: Client, keyspace: Keyspace, read: ReadJobs, wanted: JobFilter
    ) -> None:
        """`read` brings the jobs of ids that have a record, in their order."""
        self._redis = redis
        self._keys = keyspace
        self._read = read
        self._wanted = wanted

    async def page(self, cursor: str = "", limit: int = 50) -> Page[Job]:
        """Newest first on each shelf: live jobs, dead letters, others that ended."""
        wanted = self._wanted.state
        if wanted is State.ACTIVE and not cursor:
            leased = await self._leased(LEASED_MAX)
            found = list((await self.fitting("l", leased)).values())
            if len(leased) < LEASED_MAX and len(found) <= limit:  # that is all of them
                return Page(found)
        names = [name for name, states in SHELVES.items() if wanted is None or wanted in states]
        return await paged([self._shelf(name) for name in names], cursor, limit)

    async def _leased(self, limit: int) -> list[str]:
        """Jobs that run now, the newest entry first, at most `limit`: far fewer than those that
        wait in the same lanes."""
        with translated():
            members: list[str] = []
            for name in ResourceClass:
                pools = await self._redis.smembers(self._keys.key("pools_", name))
                for pool in sorted(map(text, pools)) or [str(name)]:
                    room = limit - len(members)
                    key = self._keys.key("leases_", pool)
                    members += map(text, await self._redis.zrange(key, 0, room - 1) if room else [])
            members.sort(key=_entry, reverse=True)
            async with self._redis.pipeline(transaction=False) as pipe:
                for member in members:
                    lane, _, entry = member.rpartition("|")
                    pipe.xrange(self._keys.stream(lane), entry, entry)
                rows = await pipe.execute() if members else []
        return [text(found[0][1][b"j"]) for found in rows if found]

    def _shelf(self, name: str) -> Shelf[Job]:
        if name == BLOCKED:
            return BlockedShelf(name, self)
        since_ms = self._wanted.since_ms  # nobody ends, waits or is due before the submit
        sources, read = partial(self._sources, name), partial(self.fitting, name)
        return SourceShelf(name, self._redis, sources, read, since_ms)

    async def _sources(self, shelf: str) -> list[Source]:
        """The streams or sorted sets of a shelf, but that of blocked jobs."""
        match shelf:
            case "l":
                lanes = [lane for lane in await self._lanes() if _may_hold(lane, self._wanted)]
                return [StreamSource(self._keys.stream(lane), lane, b"j") for lane in lanes]
            case "u":
                keys = [self._keys.key("due_", name) for name in ResourceClass]
            case "d":
                keys = [self._keys.key("dead_", app) for app in await self._apps()]
            case _:
                keys = [self._keys.key("ended_", app) for app in await self._apps()]
        return [SortedSource(self._redis, key) for key in keys]

    async def blocked(self, scan: int) -> tuple[int, list[str]]:
        """Some blocked jobs, and where to go on, 0 at the end."""
        with translated():
            following, raws = await self._redis.sscan(
                self._keys.key("blocked"), scan, count=BLOCKED_CHUNK
            )
        return int(following), sorted(map(text, raws))

    async def fitting(self, shelf: str, ids: Sequence[str]) -> dict[str, Job]:
        """The jobs that fit; one that has left the shelf meanwhile is elsewhere."""
        found = [job for job in await self._read(ids) if job.state in SHELVES[shelf]]
        return {job.id: job for job in found if self._wanted.fits(job)}

    async def _lanes(self) -> list[str]:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in ResourceClass:
                    pipe.smembers(self._keys.key("streams_", name))
                return sorted(text(raw) for lanes in await pipe.execute() for raw in lanes)

    async def _apps(self) -> list[str]:
        if self._wanted.app is not None:
            return [self._wanted.app]
        with translated():
            return sorted(text(raw) for raw in await self._redis.smembers(self._keys.key("apps")))


def _entry(member: str) -> tuple[int, int]:
    """The entry of a lease, to sort by."""
    at, _, number = member.rpartition("|")[2].partition("-")
    return int(at), int(number)


class BlockedShelf:
    """The set of blocked jobs, which has no order."""

    def __init__(self, name: str, listing: JobListing) -> None:
        self.name = name
        self._listing = listing

    async def entries(self, after: Place | None, limit: int) -> AsyncIterator[Found]:
        """Its jobs; a place is a cursor of SSCAN, and how many of its answer."""
        scan, passed = (int(after.name), after.minor) if after else (0, 0)
        while True:
            following, ids = await self._listing.blocked(scan)
            for number, job_id in enumerate(ids, 1):
                if number > passed:
                    yield Found(job_id, Place(0, number, str(scan)))
            if not following:
                return
            scan, passed = following, 0

    async def read(self, ids: Sequence[str]) -> dict[str, Job]:
        """The jobs that fit."""
        return await self._listing.fitting(self.name, ids)


def _may_hold(name: str, wanted: JobFilter) -> bool:
    lane = Lane.parse(name)
    return wanted.app in (None, lane.app) and wanted.processor in (None, lane.processor)
