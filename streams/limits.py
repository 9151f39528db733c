"""How limits stand in their hash beside totals and concurrency: rates, as text."""

from streams.model import Rate


def rate_field(resource_class: str, app: str | None = None) -> str:
    """The field of the limits that holds the rate of a class, or of one app in it."""
    return f"rate|{resource_class}" if app is None else f"rate|{resource_class}|{app}"


def rate_text(rate: Rate) -> str:
    """How a rate stands among the limits."""
    return f"{rate.jobs} {rate.per_ms} {rate.burst}"


def parse_rate(stored: str) -> Rate:
    """The rate that `rate_text` wrote."""
    return Rate(*map(int, stored.split()))
