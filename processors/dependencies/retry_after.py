"""The Retry-After header, as RFC 9110 allows it: seconds or a date."""

from email.utils import parsedate_to_datetime

SECONDS_MAX_DIGITS = 12


def retry_after_s(value: str, now_s: float) -> float | None:
    """How long `value` asks to wait, in seconds; None when it says nothing usable.

    A date that has passed, zero and negative numbers say nothing: there is no wait to honour.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:SECONDS_MAX_DIGITS]) or None
    try:
        wait = parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, OverflowError, OSError):
        return None
    return wait if wait > 0 else None
