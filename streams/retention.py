"""Ended jobs by app, how many there are, and how much room each takes."""

from collections.abc import Sequence

import msgspec

from streams.keyspace import Keyspace
from streams.merging import Found, Place, SortedSource, merged
from streams.scripts import Client, text, translated

CHUNK = 500
RECORD_BYTES = 800  # about what Redis needs for a job beside its input and result


class Heap(msgspec.Struct, frozen=True):
    """One list of an app's ended jobs: `ended_`, or `dead_` for its dead letters."""

    name: str
    app: str


class KeptJobs:
    """Reads them. May raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._keys = keyspace

    async def heaps(self) -> list[Heap]:
        """Both of every app that ever submitted."""
        with translated():
            apps = sorted(map(text, await self._redis.smembers(self._keys.key("apps"))))
        return [Heap(name, app) for app in apps for name in ("ended_", "dead_")]

    async def count(self, heap: Heap) -> int:
        """How many jobs a heap has."""
        with translated():
            return int(await self._redis.zcard(self._key(heap)))

    async def oldest(self, heap: Heap, start: int, count: int) -> list[Found]:
        """Its jobs from the oldest on, after the first `start`."""
        with translated():
            rows = await self._redis.zrange(
                self._key(heap), start, start + count - 1, withscores=True
            )
        return [Found(text(raw), Place(int(score), 0, text(raw))) for raw, score in rows]

    async def sizes(self, heap: Heap, after: Place | None) -> list[tuple[Place, int]]:
        """The next jobs behind a place, from the newest on, with the bytes that each takes."""
        found: list[Found] = []
        source = SortedSource(self._redis, self._key(heap))
        with translated():
            async for entry in merged(self._redis, [source], after, CHUNK):
                found.append(entry)
                if len(found) == CHUNK:
                    break
        sizes = await self._bytes([entry.id for entry in found])
        return [(entry.place, size) for entry, size in zip(found, sizes, strict=True)]

    async def _bytes(self, ids: Sequence[str]) -> list[int]:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.strlen(self._keys.payload(job_id))
                    pipe.strlen(self._keys.result(job_id))
                lengths = await pipe.execute() if ids else []
        pairs = zip(lengths[::2], lengths[1::2], strict=True)
        return [RECORD_BYTES + payload + result for payload, result in pairs]

    def _key(self, heap: Heap) -> str:
        return self._keys.key(heap.name, heap.app)
