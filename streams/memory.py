"""How full Redis is."""

import msgspec

from streams.scripts import Client, translated


class Memory(msgspec.Struct, frozen=True):
    """Bytes in use, and the limit; 0 is no limit."""

    used: int
    limit: int

    @property
    def share(self) -> float:
        """How much of the limit is used, 1.0 for all of it; 0.0 without a limit."""
        return self.used / self.limit if self.limit else 0.0


async def read_memory(redis: Client) -> Memory:
    """What INFO says. Raises errors.Unavailable."""
    with translated():
        found = await redis.info("memory")
    return Memory(int(found["used_memory"]), int(found.get("maxmemory", 0)))
