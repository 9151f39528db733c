"""A copy in memory of a small table in Redis, renewed every few seconds.

Keys, manifests and endpoints are read at every request and change rarely. When Redis is away
the last copy stays in use; a gateway that starts then takes what another life of it left on disk.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from mode import Service

from gateway.copies import DiskCopy
from gateway.problems import is_outage
from streams.clock import Clock
from streams.errors import Unavailable

log = logging.getLogger(__name__)

MISS_S = 0.25  # reads for names that are not in the copy are at least this far apart

T = TypeVar("T")


class Mirror(Service, Generic[T]):
    """The rows of one table, at most `refresh_s` old while Redis answers."""

    def __init__(
        self,
        name: str,
        load: Callable[[], Awaitable[Mapping[str, T]]],
        clock: Clock,
        refresh_s: float,
        copy: DiskCopy[T] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self._load = load
        self._clock = clock
        self._refresh_s = refresh_s
        self._copy = copy
        self._rows: dict[str, T] = {}
        self._read_at: float | None = None  # when the last good read began
        self._asked_at = float("-inf")
        self._reading = asyncio.Lock()
        self._looking = asyncio.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the table was read at least once, by this process or an earlier one."""
        return self._read_at is not None

    def rows(self) -> Mapping[str, T]:
        """All rows. Raises Unavailable when none were ever read."""
        if not self.loaded:
            raise Unavailable(f"the {self.name} have not been read yet")
        return self._rows

    async def find(self, key: str) -> T | None:
        """The row of `key`; one that is missing is looked for in Redis before it counts as such."""
        row = self._rows.get(key)
        if row is not None:
            return row
        await self.look_again()
        return self.rows().get(key)

    async def look_again(self) -> None:
        """Return after a read that began later than this call; all who wait share one read."""
        came = self._clock.monotonic()
        async with self._looking:
            if self._asked_at > came:
                return
            await asyncio.sleep(max(0.0, self._asked_at + MISS_S - self._clock.monotonic()))
            await self._read_quietly()

    async def refresh(self) -> None:
        """Read the table now. Raises what the read raises; the old rows stay then."""
        async with self._reading:
            began = self._asked_at = self._clock.monotonic()
            async with asyncio.timeout(self._refresh_s):
                self._rows = dict(await self._load())
            self._read_at = began
        if self._copy is not None:
            await asyncio.to_thread(self._copy.write, self._rows)

    async def on_start(self) -> None:
        """Read once before the first request is served: from Redis, else from the disk."""
        await self._read_quietly()
        if not self.loaded and self._copy is not None:
            rows = await asyncio.to_thread(self._copy.read)
            if rows is not None and not self.loaded:
                self._rows, self._read_at = rows, float("-inf")
                log.warning("Redis is away: an older copy serves", extra={"table": self.name})

    @Service.task
    async def _keep_fresh(self) -> None:
        while not self.should_stop:
            await self.sleep(self._refresh_s)
            await self._read_quietly()

    async def _read_quietly(self) -> None:
        try:
            await self.refresh()
        except Exception as error:  # whatever a read raises, the last copy serves on
            if not is_outage(error):
                log.exception("table could not be read", extra={"table": self.name})
            else:
                log.warning("table could not be read", extra={"table": self.name})
