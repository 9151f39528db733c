"""The link to Redis: how long a call takes, and how far its clock is from ours."""

import time
from collections.abc import Sequence
from statistics import median

from ops.doctor.examination import Deployment
from ops.doctor.finding import Finding, fine, problem, warning
from streams.clock import SystemClock

PROBES = 15
SLOW_MS, TOO_SLOW_MS = 50.0, 1_000.0
APART_MS, FAR_APART_MS = 2_000, 60_000


async def check_link(deployment: Deployment) -> list[Finding]:
    """Measure a few short calls."""
    redis, clock = deployment.engine.redis, SystemClock()
    took_ms, apart_ms = [], 0.0
    for _ in range(PROBES):
        began = time.monotonic()
        seconds, microseconds = await redis.time()
        took_ms.append((time.monotonic() - began) * 1_000)
        if took_ms[-1] == min(took_ms):  # the quickest answer tells the time best
            apart_ms = clock.now_ms() - took_ms[-1] / 2 - (seconds * 1_000 + microseconds / 1_000)
    return [judge_latency(took_ms), judge_clock(round(apart_ms))]


def judge_latency(took_ms: Sequence[float]) -> Finding:
    """How quick calls are, and how quick the slowest was."""
    middle, worst = median(took_ms), max(took_ms)
    what = f"{middle:.1f} ms for a call, at worst {worst:.1f} ms"
    if middle > TOO_SLOW_MS:
        return problem("link", what, "leases will be lost: look at the network, or move nearer")
    if middle > SLOW_MS or worst > TOO_SLOW_MS:
        return warning("link", what, "look at the network, and at Redis' load and SLOWLOG")
    return fine("link", what)


def judge_clock(apart_ms: int) -> Finding:
    """`apart_ms` is how far our clock is ahead of the server's."""
    what = f"{abs(apart_ms) / 1_000:.1f} s {'ahead of' if apart_ms > 0 else 'behind'} Redis' clock"
    if abs(apart_ms) > FAR_APART_MS:
        remedy = "set both by NTP: receivers refuse callbacks that are minutes old"
        return problem("clock", what, remedy)
    if abs(apart_ms) > APART_MS:
        return warning("clock", what, "set both by NTP: run times and ages will be off")
    return fine("clock", what)
