"""W3C Trace Context (https://www.w3.org/TR/trace-context/): what a job passes on.

A job records no span of its own, so what its submit bore is passed on as it was: to the processor,
to what that fetches, to the callback, and to every line of the logs.
"""

import re

FIELDS = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
NO_VERSION = "ff"


def valid_traceparent(given: str) -> str:
    """The header's value if it is one (section 3.2), else empty: what is wrong is ignored.

    One of a later version is understood as version 00, as section 3.2.4 wants it.
    """
    match = FIELDS.fullmatch(given)
    if match is None:
        return ""
    version, trace, parent, flags, more = match.groups()
    if version == NO_VERSION or not trace.strip("0") or not parent.strip("0"):
        return ""
    if version == "00":
        return "" if more else given
    return f"00-{trace}-{parent}-{int(flags, 16) & 1:02x}"


def trace_id(traceparent: str) -> str:
    """The id of the whole trace, 32 hex digits; empty where there is none."""
    return traceparent[3:35]
