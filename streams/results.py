"""Results that are kept for those who ask the same again: bounded in number, size and time."""

from streams.keyspace import Keyspace
from streams.scripts import Client, Scripts, translated

RESULT_MAX_BYTES = 32 * 1024  # larger ones are not kept


class KeptResults:
    """Keeps results by a key that says everything they depend on. May raise Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace, scripts: Scripts) -> None:
        self._redis = redis
        self._keys = keyspace
        self._scripts = scripts

    async def find(self, asked: str) -> bytes | None:
        """The result, JSON, or None where none is kept."""
        with translated():
            found: bytes | None = await self._redis.get(self._keys.key("cached_", asked))
        return found

    async def keep(self, asked: str, result: bytes, ttl_ms: int) -> None:
        """Keep a result that is not too large; one that was kept for the same gives way."""
        if len(result) <= RESULT_MAX_BYTES:
            await self._scripts.run("remember", asked, result, ttl_ms)
