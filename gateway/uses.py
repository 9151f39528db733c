"""When keys were last used: told to Redis once a minute, not at each request."""

import logging
from collections.abc import Mapping

from mode import Service

from gateway.mirror import Mirror
from gateway.problems import is_outage
from streams.directory import ApiKey, Directory

log = logging.getLogger(__name__)

WRITE_EVERY_S = 60.0


class KeyUses(Service):
    """Notes uses in memory and writes them once a minute, and when it stops."""

    def __init__(self, directory: Directory, keys: Mirror[ApiKey]) -> None:
        super().__init__()
        self._directory = directory
        self._keys = keys
        self._fresh: dict[str, int] = {}

    def note(self, key_id: str, at_ms: int) -> None:
        """A key was used."""
        self._fresh[key_id] = at_ms

    async def on_stop(self) -> None:
        """Write what is not written yet."""
        await self.write()

    async def write(self) -> None:
        """Write what came since the last time; what cannot be written now waits for the next."""
        fresh, self._fresh = self._fresh, {}
        known: Mapping[str, ApiKey] = self._keys.rows() if self._keys.loaded else {}
        uses = {key_id: at_ms for key_id, at_ms in fresh.items() if key_id in known}
        if not uses:
            return
        try:
            await self._directory.note_key_uses(uses)
        except Exception as error:  # knowing when a key was used is not worth more than a line
            self._fresh = fresh | self._fresh
            if not is_outage(error):
                log.exception("uses of keys could not be written")

    @Service.task
    async def _keep_writing(self) -> None:
        while not self.should_stop:
            await self.sleep(WRITE_EVERY_S)
            await self.write()
