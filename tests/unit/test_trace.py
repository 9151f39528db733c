"""Which `traceparent` is one: https://www.w3.org/TR/trace-context/#traceparent-header."""

import pytest

from streams.trace import trace_id, valid_traceparent

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (GOOD, GOOD),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        (f"00-{TRACE}-{PARENT}-03", f"00-{TRACE}-{PARENT}-03"),  # the random flag of level 2
        (f"cc-{TRACE}-{PARENT}-03-what-will-be", GOOD),  # a later version is read as the first
        (f"cc-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
    ],
)
def test_what_is_valid_is_passed_on(given: str, taken: str) -> None:
    assert valid_traceparent(given) == taken
    assert trace_id(taken) == TRACE


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",  # no version
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-01-more",  # version 00 has no more
        f"cc-{TRACE}-{PARENT}-01.more",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f" {GOOD}",
        f"{GOOD}\n",
    ],
)
def test_what_is_not_valid_is_ignored(given: str) -> None:
    assert valid_traceparent(given) == ""
    assert trace_id("") == ""
