"""What Redis has safe: which of its answers outlive kill -9 and a restart of the server.

A journal may forget a line only when Redis has it safe. WAITAOF would say it exactly, but exists
only from 7.2 and blocks; INFO says it on every version, a few seconds later.
"""

from collections.abc import Mapping

from streams.scripts import Client, translated

FSYNC_LATE_MS = 10_000  # everysec syncs within one second, on a slow disk within a few
NEVER = 0


def safe_before_ms(persistence: Mapping[str, object], now_ms: int) -> int:
    """The server time before which every write is on disk; NEVER when nothing is known to be.

    `persistence` is INFO's section of that name. With the append-only file on and its writes good,
    that is FSYNC_LATE_MS ago; with snapshots only, the beginning of the last good one.
    """
    if persistence.get("aof_enabled") == 1:
        good = persistence.get("aof_last_write_status", "ok") == "ok"
        return now_ms - FSYNC_LATE_MS if good else NEVER
    ended_s, took_s = (
        persistence.get("rdb_last_save_time"),
        persistence.get("rdb_last_bgsave_time_sec"),
    )
    good = persistence.get("rdb_last_bgsave_status", "ok") == "ok"
    if good and isinstance(ended_s, int) and isinstance(took_s, int) and took_s >= 0:
        return (ended_s - took_s - 1) * 1000  # a snapshot holds what was there when it began
    return NEVER


class Durability:
    """Asks one Redis."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    async def safe_before_ms(self) -> int:
        """See the function of that name, in the server's time. Raises errors.Unavailable."""
        safe_ms, _ = await self._ask()
        return safe_ms

    async def safe_age_ms(self) -> int | None:
        """How long ago a write must have been answered to be safe; None when nothing is.

        For comparing with another clock than the server's. Raises errors.Unavailable.
        """
        safe_ms, now_ms = await self._ask()
        return None if safe_ms == NEVER else now_ms - safe_ms

    async def _ask(self) -> tuple[int, int]:
        with translated():
            seconds, microseconds = await self._redis.time()
            persistence = await self._redis.info("persistence")
        now_ms = seconds * 1000 + microseconds // 1000
        return safe_before_ms(persistence, now_ms), now_ms
