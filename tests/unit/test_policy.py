"""How an attempt's ending is judged: tables, and bounds that hold for any numbers."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import (
    Crashed,
    InvalidInput,
    Rejected,
    Retry,
    TimedOut,
    Trouble,
    Unavailable,
)
from streams.model import Again, Dead, Done, Fault, Lease
from streams.policy import backoff_ms, fault_of, judge
from tests.support.build import lane

LEASE = Lease(
    job_id="0-a",
    token="t",
    lane=lane(),
    entry_id="1-0",
    pool="io",
    attempt=1,
    failures=0,
    attempts_max=3,
    timeout_ms=60_000,
    backoff_ms=1_000,
    backoff_max_ms=300_000,
    submitted_ms=0,
    payload=b"{}",
    payload_bytes=2,
)
CAP_S = 3_600.0


class Middle(random.Random):
    """Draws the middle of every range."""

    def randint(self, a: int, b: int) -> int:
        return (a + b) // 2


def lease(**fields: Any) -> Lease:
    return msgspec.structs.replace(LEASE, **fields)


def fault(code: str, message: str) -> Fault:
    return Fault(code, message)


@pytest.mark.parametrize(
    ("given_lease", "ending", "verdict"),
    [
        (lease(), b"1", Done(b"1")),
        (lease(failures=2), b"1", Done(b"1")),
        (lease(), Rejected("no"), Dead(fault("rejected", "no"))),
        (lease(), InvalidInput("bad"), Dead(fault("invalid_input", "bad"))),
        (lease(), ValueError("x"), Again(500, fault("processor_failed", "ValueError: x"))),
        (lease(failures=1), KeyError(), Again(1_000, fault("processor_failed", "KeyError"))),
        (lease(failures=2), ValueError("x"), Dead(fault("processor_failed", "ValueError: x"))),
        (lease(attempts_max=1), TimedOut("slow"), Dead(fault("timed_out", "slow"))),
        (lease(), Retry("later", after_s=7), Again(7_000, fault("retry", "later"))),
        (lease(), Retry(after_s=1e9), Again(3_600_000, fault("retry", "Retry"))),
        (
            lease(failures=2),
            Retry("limit", after_s=2, uses_attempt=False),
            Again(2_000, fault("retry", "limit"), counts=False),
        ),
        (
            lease(failures=2),
            Unavailable("away", after_s=3),
            Again(3_000, fault("unavailable", "away"), counts=False),
        ),
        (lease(), Crashed("died"), Again(500, fault("crashed", "died"))),
        (lease(), SystemExit(3), Again(500, fault("processor_failed", "SystemExit: 3"))),
    ],
)
def test_an_ending_becomes_a_verdict(
    given_lease: Lease, ending: bytes | BaseException, verdict: Done | Again | Dead
) -> None:
    assert judge(given_lease, ending, CAP_S, Middle()) == verdict


@given(st.integers(0, 200), st.integers(0, 10**7), st.integers(0, 10**9), st.randoms())
def test_a_backoff_stays_between_nothing_and_its_ceiling(
    failures: int, first_ms: int, last_ms: int, draw: random.Random
) -> None:
    given_lease = lease(failures=failures, backoff_ms=first_ms, backoff_max_ms=last_ms)
    wait_ms = backoff_ms(given_lease, draw)
    assert 0 <= wait_ms <= min(last_ms, first_ms * 2**failures)


def test_a_backoff_doubles_up_to_its_cap() -> None:
    waits = [
        backoff_ms(lease(failures=n, backoff_ms=100, backoff_max_ms=1_000), Middle())
        for n in range(6)
    ]
    assert waits == [50, 100, 200, 400, 500, 500]


@given(st.integers(1, 5), st.integers(0, 10))
def test_failures_that_count_come_to_an_end(attempts_max: int, failures: int) -> None:
    verdict = judge(
        lease(failures=failures, attempts_max=attempts_max), ValueError(), CAP_S, Middle()
    )
    assert isinstance(verdict, Dead) is (failures + 1 >= attempts_max)


def test_a_fault_keeps_a_sentence_of_bounded_length() -> None:
    assert fault_of(Trouble("x" * 9_999)) == fault("trouble", "x" * 2_000)
    assert len(fault_of(ValueError("x" * 9_999)).message) == 2_000
