"""No key without a lifetime: checked after every test that used Redis.

The rules come from the table in `streams.keyspace`: a key of a name that is not there is a leak,
and so is one that lacks the lifetime that its row promises.
"""

import re

from redis.asyncio import Redis

from streams import keyspace
from streams.keyspace import PLAIN, PREFIXES
from streams.model import ENDED, State

ROW = re.compile(r"^    (\w+) +(HASH|STRING|STREAM|SET|ZSET|-) +(.+?)  ", re.MULTILINE)
LIFETIMES = {name: lifetime for name, _, lifetime in ROW.findall(keyspace.__doc__ or "")}
KEPT = {
    "permanent", "while in use", "one entry", "capped", "by retention", "until forgotten"
}  # fmt: skip
SHORT = re.compile(r"^\d+ (s|minutes?|hours?|days?)$")
TAG = re.compile(r"^\{[^}]+\}:")


async def leaks(redis: "Redis") -> list[str]:
    """One line per key that will stay for ever and should not; empty when all is well."""
    found = []
    async for raw in redis.scan_iter(count=1000):
        key = raw.decode()
        name, suffix = row_of(key)
        why = await _fault(redis, key, name, suffix)
        if why:
            found.append(f"{key}: {why}")
    return sorted(found)


def row_of(key: str) -> tuple[str, str]:
    """The row of the keyspace's table that a key belongs to, and what follows its prefix."""
    bare = TAG.sub("", key)
    head, separator, suffix = bare.partition(":")
    name = f"{head}_" if separator else head
    return (name, suffix) if name in {*PLAIN, *PREFIXES} else ("", "")


async def _fault(redis: "Redis", key: str, name: str, suffix: str) -> str:
    if not key.startswith("{") or name not in LIFETIMES:
        return "not in the table of streams.keyspace"
    lifetime = LIFETIMES[name]
    if lifetime in KEPT or await redis.pttl(key) != -1:
        return ""
    if SHORT.match(lifetime):
        return f"has no TTL; the table promises {lifetime}"
    if lifetime in {"retention", "with its job"}:
        return await _outlives(redis, key, name, suffix)
    return f"the table's lifetime {lifetime!r} is not known to tests.support.leaks"


async def _outlives(redis: "Redis", key: str, name: str, suffix: str) -> str:
    """What lives as long as a job or callback needs a TTL once that has ended or is gone."""
    if name == "callback_":
        status = await redis.hget(key, "status")
        return "has no TTL though it ended" if status in {b"delivered", b"dead"} else ""
    tag = key.partition("}")[0] + "}"
    state = await redis.hget(f"{tag}:job:{suffix}", "state")
    if state is None:
        return "has no TTL and no job"
    return "has no TTL though its job ended" if State(state.decode()) in ENDED else ""
