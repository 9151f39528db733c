"""Pages over several shelves, one after the other, each read from its newest entry on.

A page ends when it is full, or when SCAN_MAX records were looked at: then it may be short, and its
cursor goes on where it stopped.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from streams.merging import Found, Place, Source, merged
from streams.model import Page
from streams.scripts import Client

SCAN_MAX = 2_000  # records looked at for one page
CHUNK_MAX = 200  # records read in one round trip

T = TypeVar("T")
Read = TypeVar("Read", covariant=True)


class Shelf(Protocol[Read]):
    """One kind of place in Redis."""

    @property
    def name(self) -> str:
        """A short word for cursors."""
        ...

    def entries(self, after: Place | None, limit: int) -> AsyncIterator[Found]:
        """Its entries behind a place; about `limit` will be read."""
        ...

    def read(self, ids: Sequence[str], /) -> Awaitable[Mapping[str, Read]]:
        """What of these is wanted, by id, in their order."""
        ...


class SourceShelf(Generic[T]):
    """A shelf of streams or sorted sets, read as one; nothing before `since_ms` is wanted."""

    def __init__(
        self,
        name: str,
        redis: Client,
        sources: Callable[[], Awaitable[Sequence[Source]]],
        read: Callable[[Sequence[str]], Awaitable[Mapping[str, T]]],
        since_ms: int = 0,
    ) -> None:
        self.name = name
        self.read = read
        self._redis = redis
        self._sources = sources
        self._since_ms = since_ms

    async def entries(self, after: Place | None, limit: int) -> AsyncIterator[Found]:
        """Its entries behind a place, the newest first."""
        async for entry in merged(self._redis, await self._sources(), after, limit):
            if entry.place.major < self._since_ms:
                return
            yield entry


class Cursor(msgspec.Struct, frozen=True):
    """Where a page stopped: `e 1764000000000 0 0-01jd…`."""

    shelf: str
    after: Place

    @property
    def text(self) -> str:
        """As pages carry it."""
        return f"{self.shelf} {self.after.major} {self.after.minor} {self.after.name}"

    @classmethod
    def parse(cls, cursor: str) -> "Cursor":
        """The cursor of a text. Raises ValueError for one that no page gave out."""
        shelf, major, minor, name = cursor.split(" ", 3)
        if not (major.isdecimal() and minor.isdecimal()):
            raise ValueError(cursor)
        return cls(shelf, Place(int(major), int(minor), name))


async def paged(shelves: Sequence[Shelf[T]], cursor: str, limit: int) -> Page[T]:
    """The page behind a cursor. Raises ValueError for what is no cursor of these shelves."""
    start = Cursor.parse(cursor) if cursor else None
    names = [shelf.name for shelf in shelves]
    found: list[T] = []
    looked_at = 0
    for shelf in shelves[names.index(start.shelf) if start else 0 :]:
        after = start.after if start and start.shelf == shelf.name else None
        async for chunk in _chunks(shelf, after, limit):
            places = {entry.id: entry.place for entry in chunk}
            for one_id, one in (await shelf.read(list(places))).items():
                found.append(one)
                if len(found) == limit:
                    return Page(found, Cursor(shelf.name, places[one_id]).text)
            looked_at += len(chunk)
            if looked_at >= SCAN_MAX:
                return Page(found, Cursor(shelf.name, chunk[-1].place).text)
    return Page(found)


async def _chunks(shelf: Shelf[T], after: Place | None, limit: int) -> AsyncIterator[list[Found]]:
    """A shelf's entries some at a time: first as many as a page has, then more."""
    chunk: list[Found] = []
    size = min(limit, CHUNK_MAX)
    async for entry in shelf.entries(after, limit):
        chunk.append(entry)
        if len(chunk) >= size:
            yield chunk
            chunk, size = [], CHUNK_MAX
    if chunk:
        yield chunk
