"""No key without a lifetime: checked after every test that used Redis.

The rules come from the table in `streams.keyspace`: a key of a name that is not there is a leak,
and so is one that lacks the lifetime that its row promises.
"""

import re
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from streams import keyspace
from streams.keyspace import PLAIN, PREFIXES
from streams.model import ENDED, State

ROW = re.compile(r"^    (\w+) +(HASH|STRING|STREAM|SET|ZSET|LIST|-) +(.+?)  ", re.MULTILINE)
LIFETIMES = {name: lifetime for name, _, lifetime in ROW.findall(keyspace.__doc__ or "")}
KEPT = {
    "permanent", "while in use", "one entry", "capped", "by retention", "until forgotten"
}  # fmt: skip
SHORT = re.compile(r"^\d+ (s|minutes?|hours?|days?)$")
TAG = re.compile(r"^\{[^}]+\}:")


async def leaks(redis: "Redis") -> list[str]:
    """One line per key that will stay for ever and should not; empty when all is well."""
    keys = sorted({raw.decode() async for raw in redis.scan_iter(count=1000)})
    left = await _all(redis, [("PTTL", key) for key in keys])
    stays = {key for key, ms in zip(keys, left, strict=True) if ms == -1}
    owners = [await _owner(redis, key) for key in keys]
    states = await _all(redis, [("HGET", *owner) for owner in owners])
    faults = {
        key: fault_of(key, stays=key in stays, state=state.decode() if state else None)
        for key, state in zip(keys, states, strict=True)
    }
    return [f"{key}: {why}" for key, why in faults.items() if why]


async def _all(redis: "Redis", commands: Sequence[Sequence[str]]) -> list[Any]:
    """The answers to many commands, without a round trip for each."""
    answers: list[Any] = []
    for start in range(0, len(commands), 1000):
        async with redis.pipeline(transaction=False) as pipe:
            for command in commands[start : start + 1000]:
                pipe.execute_command(*command)
            answers += await pipe.execute()
    return answers


def row_of(key: str) -> tuple[str, str]:
    """The row of the keyspace's table that a key belongs to, and what follows its prefix."""
    bare = TAG.sub("", key)
    head, separator, suffix = bare.partition(":")
    name = f"{head}_" if separator else head
    return (name, suffix) if name in PLAIN or name in PREFIXES else ("", "")


async def _owner(redis: "Redis", key: str) -> tuple[str, str]:
    """The hash and its field that say how the job or callback stands whose key this is."""
    name, suffix = row_of(key)
    if name == "callback_":
        return key, "status"
    if name == "unique_":
        suffix = (await redis.get(key) or b"").decode()
    return key.partition("}")[0] + "}:job:" + suffix, "state"


def fault_of(key: str, *, stays: bool, state: str | None) -> str:
    """What is wrong with a key that stays or not and whose owner stands so; empty for nothing."""
    name, _ = row_of(key)
    if not key.startswith("{") or name not in LIFETIMES:
        return "not in the table of streams.keyspace"
    lifetime = LIFETIMES[name]
    if lifetime in KEPT or not stays:
        return ""
    if SHORT.match(lifetime):
        return f"has no TTL; the table promises {lifetime}"
    if lifetime in {"retention", "with its job"}:
        return _outlives(name, state)
    return f"the table's lifetime {lifetime!r} is not known to tests.support.leaks"


def _outlives(name: str, state: str | None) -> str:
    """What lives as long as a job or callback needs a TTL once that has ended or is gone."""
    if name == "callback_":
        return "has no TTL though it ended" if state in {"delivered", "dead"} else ""
    if state is None:
        return "has no TTL and no job"
    return "has no TTL though its job ended" if State(state) in ENDED else ""
