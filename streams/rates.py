"""What apps have used of their limits, over all gateways: tokens taken, and jobs in flight."""

from collections.abc import Iterable, Sequence

import msgspec

from streams.keyspace import Keyspace
from streams.model import Lane, ResourceClass
from streams.scripts import Client, Scripts, text, translated


class Quota(msgspec.Struct, frozen=True):
    """`per_s` tokens come back each second, up to `burst` of them."""

    per_s: float
    burst: int


class RateStore:
    """Reads and writes them. Every call may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace, scripts: Scripts) -> None:
        self._redis = redis
        self._keys = keyspace
        self._scripts = scripts

    async def take(
        self, app: str, what: str, quota: Quota, needed: int, wanted: int
    ) -> tuple[int, float]:
        """Tokens granted and 0, or 0 and the seconds until `needed` are there.

        When they are, all that are `wanted` are granted; those that are not there yet are lent.
        """
        whose = f"{app}|{what}"
        granted, wait_us = await self._scripts.run(
            "allow", whose, quota.per_s, quota.burst, needed, wanted
        )
        return int(granted), int(wait_us) / 1_000_000

    async def in_flight(self, apps: Iterable[str]) -> dict[str, int]:
        """Jobs of these apps that wait or run; what is delayed does not count."""
        found = dict.fromkeys(apps, 0)
        lanes = [lane for lane in await self._lanes() if Lane.parse(lane).app in found]
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for lane in lanes:
                    pipe.xlen(self._keys.stream(lane))
                lengths: Sequence[int] = await pipe.execute()
        for lane, length in zip(lanes, lengths, strict=True):
            found[Lane.parse(lane).app] += length
        return found

    async def _lanes(self) -> list[str]:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in ResourceClass:
                    pipe.smembers(self._keys.key("streams_", name))
                sets = await pipe.execute()
        return [text(raw) for members in sets for raw in members]
