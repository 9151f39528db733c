"""Limits as text: rates, in a hash beside totals and concurrency; a job's own, in its record."""

from functools import lru_cache

from streams.model import NewJob, Rate

USUAL_LIMITS = "3 60000 1000 300000"  # of NewJob, and of a manifest that says nothing of them


def rate_field(resource_class: str, app: str | None = None) -> str:
    """The field of the limits that holds the rate of a class, or of one app in it."""
    return f"rate|{resource_class}" if app is None else f"rate|{resource_class}|{app}"


def rate_text(rate: Rate) -> str:
    """How a rate stands among the limits."""
    return f"{rate.jobs} {rate.per_ms} {rate.burst}"


def parse_rate(stored: str) -> Rate:
    """The rate that `rate_text` wrote."""
    return Rate(*map(int, stored.split()))


def limits_text(job: NewJob) -> str:
    """A job's limits as its record has them: nothing for the usual ones."""
    limits = f"{job.attempts_max} {job.timeout_ms} {job.backoff_ms} {job.backoff_max_ms}"
    limits += " 1" if job.fresh else ""
    return "" if limits == USUAL_LIMITS else limits


@lru_cache(maxsize=1_000)
def parse_limits(stored: str) -> tuple[int, int, int, int, bool]:
    """What `limits_text` said: attempts_max, timeout_ms, backoff_ms, backoff_max_ms, fresh."""
    attempts_max, timeout_ms, backoff_ms, backoff_max_ms, *fresh = map(
        int, (stored or USUAL_LIMITS).split()
    )
    return attempts_max, timeout_ms, backoff_ms, backoff_max_ms, bool(fresh)
