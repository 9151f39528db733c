"""Reads how a class stands, for estimates of when its jobs start. Bounded, whatever waits."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from streams.directory import Directory, WorkerCard
from streams.estimating import Outlook, Queued, Server, start_in_ms
from streams.keyspace import FLOW, GROUP, Keyspace
from streams.learned import read_learned
from streams.model import Lane, Priority, ResourceClass
from streams.scripts import Client, text, translated

LANES_MAX = 64  # of each priority, the oldest heads first
KEPT_S = 1.0  # how long one reading serves for: everybody who asks may ask about the same


class OutlookReader:
    """Reads outlooks. Every method may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._keys = keyspace
        self._directory = Directory(redis, keyspace)
        self._known: dict[ResourceClass, tuple[float, Outlook]] = {}

    async def start_in_ms(self, lane: Lane, ahead: int) -> int | None:
        """In how many ms the entry with so many before it in its lane starts; None: not known."""
        return start_in_ms(await self.read(lane.resource_class), lane, ahead)

    async def read(self, name: ResourceClass) -> Outlook:
        """The class as it stood within the last second."""
        known = self._known.get(name)
        if known is None or time.monotonic() - known[0] >= KEPT_S:
            known = (time.monotonic(), await self._read(name))
            self._known[name] = known
        return known[1]

    async def _read(self, name: ResourceClass) -> Outlook:
        key = self._keys.key
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hget(key("clock_", name), "open")
                pipe.hgetall(key("turns_", name))
                for priority in Priority:
                    lanes = key("lanes_", f"{name}:{priority}")
                    pipe.zrange(lanes, 0, LANES_MAX - 1, withscores=True)
                opened, turns, *heads = await pipe.execute()
        return Outlook(
            open_ms=int(opened or 0),
            lanes=await self._queued({text(lane): int(t) for rows in heads for lane, t in rows}),
            servers=await self._servers(name),
            learned=await read_learned(self._redis, self._keys),
            turns={text(app): int(turn) for app, turn in turns.items() if app},
        )

    async def _queued(self, heads: Mapping[str, int]) -> tuple[Queued, ...]:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for lane in heads:
                    stream = self._keys.stream(lane)
                    pipe.xlen(stream)
                    pipe.xinfo_groups(stream)
                    pipe.xrevrange(stream, count=1)
                answers = await pipe.execute(raise_on_error=False) if heads else []
        found = []
        parts = zip(heads.items(), answers[::3], answers[1::3], answers[2::3], strict=True)
        for (lane, first_ms), length, groups, newest in parts:
            if isinstance(groups, list) and newest:  # it may have been dropped meanwhile
                count = length - _pending(groups)
                last_ms = int(newest[0][1].get(b"t", first_ms))
                if count > 0:
                    found.append(Queued(Lane.parse(lane), count, first_ms, last_ms))
        return tuple(found)

    async def _servers(self, name: ResourceClass) -> tuple[Server, ...]:
        by_pool: dict[str, list[WorkerCard]] = {}
        for card in await self._directory.workers():
            if str(name) in card.pools and card.healthy and not card.draining:
                by_pool.setdefault(card.pools[str(name)], []).append(card)
        pools = sorted(by_pool)
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for pool in pools:
                    pipe.hget(self._keys.key("limits"), pool)
                    pipe.zcard(self._keys.key("leases_", pool))
                answers = await pipe.execute() if pools else []
        rows = zip(pools, answers[::2], answers[1::2], strict=True)
        return tuple(_server(name, pool, by_pool[pool], told) for pool, *told in rows)


def _pending(groups: Sequence[Mapping[str, Any]]) -> int:
    return sum(group["pending"] for group in groups if text(group["name"]) == GROUP)


def _server(
    name: ResourceClass, pool: str, cards: Sequence[WorkerCard], told: Sequence[Any]
) -> Server:
    limit, running = told
    slots = sum(card.slots.get(str(name), 0) for card in cards)
    if limit is None and name is ResourceClass.OLLAMA:
        limit = 1
    slots = slots if limit is None else min(slots, int(limit))
    return Server(
        pool=pool,
        slots=slots,
        running=int(running),
        processors=frozenset([FLOW, *(one for card in cards for one in card.processors)]),
        models=frozenset(model for card in cards for model in card.models),
        resident=next((card.resident for card in cards if card.resident), ""),
    )
