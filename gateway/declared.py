"""Schedules that stand in the settings: the gateway stores them when it starts.

One whose processor no worker has published yet, or for which Redis is away, is tried again until
it is stored. Nothing is ever removed because a file lacks it.
"""

import logging
from collections.abc import Mapping

from mode import Service

from gateway.parts import GatewayParts
from gateway.schedules import compose
from gateway.wire_schedules import DeclaredSchedule
from streams.errors import Trouble

AGAIN_S = 2.0

log = logging.getLogger(__name__)


class DeclaredSchedules(Service):
    """Stores the declared schedules by name, each as soon as that is possible."""

    def __init__(self, declared: Mapping[str, DeclaredSchedule], parts: GatewayParts) -> None:
        super().__init__()
        self._declared = dict(declared)
        self._parts = parts
        self._told: dict[str, str] = {}  # why one is not stored, said once

    @Service.task
    async def _store_all(self) -> None:
        waiting = dict(self._declared)
        while waiting and not self.should_stop:
            for name, request in list(waiting.items()):
                if await self._store(name, request):
                    del waiting[name]
            if waiting:
                await self.sleep(AGAIN_S)
        if not self.should_stop:
            await self._tell_orphans()

    async def _store(self, name: str, request: DeclaredSchedule) -> bool:
        try:
            schedule = await compose(self._parts, name, request, request.app)
            standing = await self._parts.schedules.put(schedule)
        except Trouble as error:
            if self._told.get(name) != str(error):
                self._told[name] = str(error)
                extra = {"schedule": name, "app": request.app, "reason": str(error)}
                log.warning("a declared schedule is not stored yet", extra=extra)
            return False
        at = {"schedule": name, "app": request.app, "revision": standing.revision}
        log.info("a declared schedule is stored", extra=at)
        return True

    async def _tell_orphans(self) -> None:
        """Say which ones settings declared that are not in these."""
        named = {f"{request.app}|{name}" for name, request in self._declared.items()}
        cursor = ""
        try:
            while True:
                page = await self._parts.schedules.page(None, cursor, 200)
                for schedule in (standing.schedule for standing in page.items):
                    if schedule.declared and schedule.key not in named:
                        extra = {"schedule": schedule.name, "app": schedule.app}
                        log.warning(
                            "a schedule that settings declared is in none here", extra=extra
                        )
                cursor = page.cursor
                if not cursor:
                    return
        except Trouble as error:
            log.info("schedules could not be listed", extra={"reason": str(error)})
