"""What lanes have beside what waits and runs: delayed jobs, retries, dead letters, silent leases.

Delayed jobs and dead letters are not kept by lane, so the records of the next and the newest are
looked at, at most so many; what a class has in all is counted exactly.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from streams.keyspace import GROUP, Keyspace
from streams.model import ResourceClass
from streams.scripts import Client, text, translated

RECORDS_MAX = 500  # of delayed jobs of a class, and of dead letters, whose lanes are looked at
LANES_MAX = 64  # whose pending entries are looked at
PENDING_MAX = 50  # of each


class Backlog(msgspec.Struct, frozen=True):
    """By lane, as far as records were looked at; `whole` says that all of them were."""

    delayed: Counter[str]  # for the first time
    retrying: Counter[str]  # after an attempt
    dead: Counter[str]
    delayed_all: dict[ResourceClass, int]  # both kinds, exact
    dead_all: int  # exact
    whole: bool


class BacklogReader:
    """Reads them. May raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._keys = keyspace

    async def read(self) -> Backlog:
        """Delayed jobs and dead letters now; bounded, whatever there is."""
        due = [self._keys.key("due_", name) for name in ResourceClass]
        with translated():
            apps = await self._redis.smembers(self._keys.key("apps"))
            letters = [self._keys.key("dead_", text(app)) for app in sorted(apps)]
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in due:
                    pipe.zcard(key)
                    pipe.zrange(key, 0, RECORDS_MAX - 1)
                for key in letters:
                    pipe.zcard(key)
                    pipe.zrevrange(key, 0, RECORDS_MAX - 1, withscores=True)
                answers = await pipe.execute()
        sizes, found = answers[::2], answers[1::2]
        later = [text(one) for rows in found[: len(due)] for one in rows]
        newest = sorted((row for rows in found[len(due) :] for row in rows), key=_when)
        dead = [text(one) for one, _ in newest[:RECORDS_MAX]]
        rows = await self._records([*later, *dead])
        of_later = [row for row in rows[: len(later)] if row[0] is not None]
        return Backlog(
            delayed=Counter(text(lane) for lane, lease in of_later if lease is None),
            retrying=Counter(text(lane) for lane, lease in of_later if lease is not None),
            dead=Counter(text(lane) for lane, _ in rows[len(later) :] if lane is not None),
            delayed_all=dict(zip(ResourceClass, sizes[: len(due)], strict=True)),
            dead_all=sum(sizes[len(due) :]),
            whole=len(later) == sum(sizes[: len(due)]) and len(dead) == sum(sizes[len(due) :]),
        )

    async def _records(self, job_ids: Sequence[str]) -> list[Any]:
        if not job_ids:
            return []
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hmget(self._keys.job(job_id), "lane", "lease")
                rows: list[Any] = await pipe.execute()
        return rows

    async def idle_ms(self, lanes: Sequence[str]) -> dict[str, int]:
        """For how long the most silent lease of each lane was not renewed, where it has any."""
        looked_at = lanes[:LANES_MAX]
        if not looked_at:
            return {}
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for lane in looked_at:
                    pipe.xpending_range(self._keys.stream(lane), GROUP, "-", "+", PENDING_MAX)
                answers = await pipe.execute(raise_on_error=False)
        return {
            lane: max(entry["time_since_delivered"] for entry in entries)
            for lane, entries in zip(looked_at, answers, strict=True)
            if isinstance(entries, list) and entries  # the lane may have been dropped meanwhile
        }


def _when(row: tuple[Any, float]) -> float:
    return -row[1]
