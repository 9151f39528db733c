"""Several ordered sources in Redis read as one, newest first, from any place on.

A page costs what it shows: each source is asked for a few entries at a time, all sources in one
round trip, and a place is found in a sorted set by its index, however many entries share a score.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import msgspec

from streams.scripts import Client, text, translated

CHUNK_MAX = 100  # entries of one source in one round trip
TIES_MAX = 200  # entries of one score that are skipped one by one


class Place(msgspec.Struct, frozen=True, order=True):
    """Where an entry stands among those of all sources; the greater comes first."""

    major: int  # milliseconds
    minor: int = 0
    name: str = ""  # of the lane, or of the member: no two entries share a place


class Found(msgspec.Struct, frozen=True):
    """An entry: what it stands for, and its place."""

    id: str
    place: Place


class Source(Protocol):
    """One stream or sorted set, from the newest entry on."""

    async def seek(self, after: Place | None) -> None:
        """Begin behind a place."""
        ...

    def ask(self, pipe: Any, count: int) -> None:
        """Put the command for the next entries into a pipeline."""
        ...

    def found(self, reply: Any) -> list[Found]:
        """Its answer; fewer entries than asked for mean that there are no more."""
        ...


class StreamSource:
    """A stream's entries; `name` tells streams apart, `field` holds what an entry stands for."""

    def __init__(self, key: str, name: str, field: bytes) -> None:
        self._key = key
        self._name = name
        self._field = field
        self._below = "+"

    async def seek(self, after: Place | None) -> None:
        """Begin behind a place, which may be another stream's."""
        if after is not None:
            entry = f"{after.major}-{after.minor}"
            self._below = entry if self._name < after.name else f"({entry}"

    def ask(self, pipe: Any, count: int) -> None:
        """The next entries."""
        pipe.xrevrange(self._key, max=self._below, count=count)

    def found(self, reply: Any) -> list[Found]:
        """The entries of an answer."""
        entries = []
        for raw, fields in reply:
            major, _, minor = text(raw).partition("-")
            place = Place(int(major), int(minor), self._name)
            entries.append(Found(text(fields[self._field]), place))
        if entries:
            self._below = f"({entries[-1].place.major}-{entries[-1].place.minor}"
        return entries


class SortedSource:
    """A sorted set's members by score, which is a time."""

    def __init__(self, redis: Client, key: str) -> None:
        self._redis = redis
        self._key = key
        self._index = 0

    async def seek(self, after: Place | None) -> None:
        """Begin behind a place, which may be another set's."""
        if after is not None:
            with translated():
                rank = await self._redis.zrevrank(self._key, after.name)
                self._index = await self._above(after) if rank is None else rank + 1

    async def _above(self, after: Place) -> int:
        """How many members come before a place: of one score the greater member comes first."""
        score = after.major
        first = int(await self._redis.zcount(self._key, f"({score}", "+inf"))
        low, high = 0, int(await self._redis.zcount(self._key, score, score))
        while low < high:
            middle = (low + high) // 2
            rows = await self._redis.zrevrange(self._key, first + middle, first + middle)
            if rows and text(rows[0]) >= after.name:
                low = middle + 1
            else:
                high = middle
        return first + low

    def ask(self, pipe: Any, count: int) -> None:
        """The next members."""
        pipe.zrevrange(self._key, self._index, self._index + count - 1, withscores=True)

    def found(self, reply: Any) -> list[Found]:
        """The members of an answer."""
        self._index += len(reply)
        return [Found(text(raw), Place(int(score), 0, text(raw))) for raw, score in reply]


async def merged(
    redis: Client, sources: Sequence[Source], after: Place | None, wanted: int
) -> AsyncIterator[Found]:
    """The entries of all sources behind a place, the newest first; about `wanted` will be read."""
    for source in sources:
        await source.seek(after)
    heads: dict[int, list[Found]] = {number: [] for number in range(len(sources))}
    count = max(2, min(CHUNK_MAX, 2 * wanted // max(1, len(sources))))
    while heads:
        dry = [number for number, entries in heads.items() if not entries]
        if dry:
            with translated():
                async with redis.pipeline(transaction=False) as pipe:
                    for number in dry:
                        sources[number].ask(pipe, count)
                    replies = await pipe.execute()
            for number, reply in zip(dry, replies, strict=True):
                heads[number] = sources[number].found(reply)[::-1]
                if not heads[number]:
                    del heads[number]
            continue
        newest = max(heads, key=lambda number: heads[number][-1].place)
        yield heads[newest].pop()
