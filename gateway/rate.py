"""What an app may ask of the gateway: requests, bytes, and jobs in flight.

What was used is counted in Redis for all gateways together. A gateway takes tokens from there for a
quarter of a second and spends them itself, so most requests cost a subtraction. While Redis is away
each gateway counts alone.
"""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping

from mode import Service

from gateway.auth import EVERY_APP
from gateway.mirror import Mirror
from gateway.problems import RateLimited, is_outage
from streams.clock import Clock
from streams.directory import AppLimits
from streams.rates import Quota, RateStore

log = logging.getLogger(__name__)

REQUESTS, BYTES, JOBS = "requests", "bytes", "jobs-in-flight"
SHARE_S = 0.25  # tokens that a gateway takes ahead, as time at the full rate
SHARE_MAX = 0.25  # and as part of the burst
ASK_S = 0.5  # the longest wait for Redis
AWAY_S = 1.0  # it is asked again that long after it did not answer
COUNT_S = 1.0  # how old the number of jobs in flight may be
MINUTE_S = 60


class Allowance:
    """One app's tokens of one kind in this process."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.left = 0
        self.full_at = 0.0  # counted alone, while Redis is away
        self.refused = 0  # so many were refused, and will be until
        self.refused_until = 0.0
        self.asking = asyncio.Lock()


class Rates(Service):
    """Raises RateLimited when an app goes beyond its limits. Operators' keys have none."""

    def __init__(self, store: RateStore, limits: Mirror[AppLimits], clock: Clock) -> None:
        super().__init__()
        self._store = store
        self._limits = limits
        self._clock = clock
        self._allowances: dict[tuple[str, str], Allowance] = {}
        self._away_until = float("-inf")
        self._in_flight: dict[str, int] = {}
        self._since: dict[str, int] = {}  # jobs admitted here since they were counted

    def limits_of(self, app: str) -> AppLimits | None:
        """The limits of an app: its own, or those of every app that has none."""
        if app == EVERY_APP or not self._limits.loaded:
            return None
        rows: Mapping[str, AppLimits] = self._limits.rows()
        return rows.get(app) or rows.get(EVERY_APP)

    async def spend(self, app: str, what: str, cost: int) -> None:
        """Use up `cost` requests or bytes of an app."""
        limits = self.limits_of(app)
        quota = quota_of(limits, what) if limits else None
        if quota is None or cost <= 0:
            return
        allowance = self._allowances.get((app, what))
        if allowance is None or allowance.quota != quota:
            allowance = self._allowances[app, what] = Allowance(quota)
        if allowance.left < cost:
            async with allowance.asking:
                if allowance.left < cost:
                    await self._fetch(app, what, allowance, cost - allowance.left)
        allowance.left -= cost

    def admit(self, app: str, jobs: int) -> None:
        """Let an app have that many jobs more in flight."""
        limits = self.limits_of(app)
        if limits is None or limits.jobs_in_flight is None:
            return
        held = self._in_flight.get(app, 0) + self._since.get(app, 0)
        if held + jobs > limits.jobs_in_flight:
            quota = Quota(0, limits.jobs_in_flight)
            raise RateLimited(JOBS, quota.burst, COUNT_S, f"{held} jobs are in flight")
        self._since[app] = self._since.get(app, 0) + jobs

    async def in_flight(self, apps: Iterable[str]) -> dict[str, int]:
        """Jobs of these apps that wait or run, now."""
        return await self._store.in_flight(apps)

    async def _fetch(self, app: str, what: str, allowance: Allowance, needed: int) -> None:
        now, quota = self._clock.monotonic(), allowance.quota
        wait_s = allowance.refused_until - now
        granted = 0
        if wait_s <= 0 or needed < allowance.refused:
            share = min(quota.burst * SHARE_MAX, quota.per_s * SHARE_S)
            wanted = max(needed, math.floor(share))
            granted, wait_s = await self._granted(app, what, allowance, needed, wanted)
        if not granted:
            allowance.refused, allowance.refused_until = needed, now + wait_s
            detail = f"over {quota.per_s:g} {what} a second"
            raise RateLimited(what, quota.burst, wait_s, detail)
        allowance.left += granted

    async def _granted(
        self, app: str, what: str, allowance: Allowance, needed: int, wanted: int
    ) -> tuple[int, float]:
        now = self._clock.monotonic()
        if now >= self._away_until:
            try:
                async with asyncio.timeout(ASK_S):
                    return await self._store.take(app, what, allowance.quota, needed, wanted)
            except Exception as error:  # a limit is not worth a request
                self._away_until = self._clock.monotonic() + AWAY_S
                if not is_outage(error):
                    log.exception("limits are counted by this gateway alone")
        allowance.full_at, wait_s = taken(allowance.full_at, now, allowance.quota, needed)
        return (0, wait_s) if wait_s else (needed, 0.0)

    @Service.task
    async def _count(self) -> None:
        while not self.should_stop:
            await self.sleep(COUNT_S)
            await self.count()

    async def count(self) -> None:
        """Count the jobs in flight of the apps that have a limit of them."""
        if not self._limits.loaded:
            return
        apps = set(self._since) | set(self._in_flight) | set(self._limits.rows())
        limited = [app for app in apps if (one := self.limits_of(app)) and one.jobs_in_flight]
        since, self._since = self._since, {}
        try:
            self._in_flight = await self._store.in_flight(limited) if limited else {}
        except Exception as error:  # the last count stays, with what came since
            self._since = {app: since.get(app, 0) + self._since.get(app, 0) for app in apps}
            if not is_outage(error):
                log.exception("jobs in flight could not be counted")


def quota_of(limits: AppLimits, what: str) -> Quota | None:
    """How fast `what` may be used, None without a limit."""
    if what == REQUESTS:
        per_s = limits.requests_per_s
        return None if per_s is None else Quota(per_s, limits.burst or max(1, math.ceil(per_s)))
    per_minute = limits.bytes_per_minute
    return None if per_minute is None else Quota(per_minute / MINUTE_S, per_minute)


def taken(full_at: float, now: float, quota: Quota, needed: int) -> tuple[float, float]:
    """GCRA: when the allowance is full again once `needed` are taken, and 0; or the wait in s."""
    full_at = max(full_at, now)
    left = quota.burst - (full_at - now) * quota.per_s
    least = min(needed, quota.burst)
    if left + 1e-6 * quota.per_s < least:
        return full_at, (least - left) / quota.per_s
    return full_at + needed / quota.per_s, 0.0
