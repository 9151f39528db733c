"""How full Redis is, and whether it keeps what it is told."""

import msgspec

from streams.scripts import Client, text, translated


class Memory(msgspec.Struct, frozen=True):
    """Bytes in use, and the limit; 0 is no limit."""

    used: int
    limit: int

    @property
    def share(self) -> float:
        """How much of the limit is used, 1.0 for all of it; 0.0 without a limit."""
        return self.used / self.limit if self.limit else 0.0


class ServerState(msgspec.Struct, frozen=True):
    """Memory, whether there is an append-only file, and whether the last write to disk went well:
    to that file, or without one the last snapshot."""

    memory: Memory
    appends: bool
    writes: bool


async def read_memory(redis: Client) -> Memory:
    """What INFO says. Raises errors.Unavailable."""
    with translated():
        found = await redis.info("memory")
    return Memory(int(found["used_memory"]), int(found.get("maxmemory", 0)))


async def read_server(redis: Client) -> ServerState:
    """What INFO says. Raises errors.Unavailable."""
    memory = await read_memory(redis)
    with translated():
        found = await redis.info("persistence")
    appends = bool(int(found.get("aof_enabled", 0)))
    said = found.get("aof_last_write_status" if appends else "rdb_last_bgsave_status", "ok")
    return ServerState(memory, appends, text(said) == "ok")
