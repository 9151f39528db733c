"""Hostile bytes on a socket, a fixed set of them; `python -m tests.fuzz` sends many more."""

import asyncio

import pytest

from tests.fuzz.shots import judged, shoot
from tests.fuzz.target import Target

PROBLEM = (
    b"HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\n\r\n%s"
)
GOOD = b'{"status":404,"code":"not_found"}'


@pytest.mark.parametrize("number", [1, 2])
def test_nothing_is_answered_5xx(one: Target, number: int) -> None:
    tally = shoot(one, 400, number)
    assert tally.requests >= 400
    assert {200, 400, 401, 404, 422} <= set(tally.statuses)
    assert len(tally.statuses) >= 10
    assert asyncio.run(one.findings()) == []


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"", ""),
        (PROBLEM % (len(GOOD), GOOD), ""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + PROBLEM % (len(GOOD), GOOD), ""),
        (PROBLEM % (33, GOOD.replace(b"404", b"405")), "the problem says"),
        (PROBLEM % (34, GOOD.replace(b"not_found", b"internal")), "the problem says"),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", "answered 500"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "answered 503"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\n\r\n", "not a problem document"),
        (b"HTTP/1.1 200 OK\r\nx: y\nset-cookie: z\r\n\r\n", "a header that is none"),
        (b"Internal Server Error", "not an answer of HTTP"),
    ],
)
def test_what_counts_as_a_fault(answer: bytes, fault: str) -> None:
    found = judged(b"GET / HTTP/1.1\r\n", answer)[1]
    assert found.startswith(fault)
    assert bool(found) == bool(fault)
