"""Compares counters with structures, and walks over all jobs to see that each is in its place."""

import logging
from collections.abc import Sequence

from streams.audit import Audit, Balance
from streams.model import ResourceClass

HOLD_MS = 20_000  # a worker that audits and falls silent is followed by another after this
STRETCHES = 5
KEYS = 400  # of a stretch: 2,000 keys a tick, a million in under an hour

log = logging.getLogger(__name__)


class Auditor:
    """One worker at a time audits for all; the others look whether it still does.

    What differs is logged as an error when it is first seen, and stands in the metrics for as
    long as it does.
    """

    name = "auditor"
    every_s = 5.0

    def __init__(self, audit: Audit, worker_id: str) -> None:
        self._audit = audit
        self._worker_id = worker_id
        self._known: Sequence[Balance] = ()

    async def tick(self) -> None:
        """Compare everything once, and go on with the walk."""
        cursor = await self._audit.begin_turn(self._worker_id, HOLD_MS)
        if cursor is None:
            return
        await self._compare()
        for resource_class in ResourceClass:
            await self._audit.drop_leases(resource_class)
        await self._walk(cursor)

    async def _compare(self) -> None:
        differences = await self._audit.differences()
        if differences and differences != self._known:
            said = "; ".join(difference.sentence for difference in differences)
            log.error("counters differ from the structures", extra={"differences": said})
        self._known = differences

    async def _walk(self, cursor: int) -> None:
        for _ in range(STRETCHES):
            stretch = await self._audit.walk(cursor, KEYS, mend=True)
            for found in stretch.misplaced:
                fields = {"job_id": found.job_id, "what": found.what, "mended": found.mended}
                log.error("a job is not as it should be", extra=fields)
            cursor = stretch.cursor
            mine = await self._audit.end_turn(self._worker_id, HOLD_MS, cursor, stretch.looked)
            if cursor == 0 or not mine:
                return
