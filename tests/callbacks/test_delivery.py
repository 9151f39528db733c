"""What becomes of a callback: the table of answers, and the schedule."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery import (
    Answered,
    CourierSettings,
    Ending,
    Moment,
    NotNow,
    Unanswered,
    Undeliverable,
    judge_delivery,
)
from processors.dependencies.retry_after import retry_after_s
from streams.deliveries import DeadDelivery, Delivered, DeliveryVerdict, RetryDelivery

NOW_S = 1_795_000_000.0
SETTINGS = CourierSettings()
HOUR_S = 3_600


def judged(ending: Ending, attempt: int = 1, random: float = 0.5) -> DeliveryVerdict:
    return judge_delivery(ending, Moment(attempt, 12, NOW_S, random), SETTINGS)


@pytest.mark.parametrize("status", range(200, 300))
def test_every_2xx_is_delivered(status: int) -> None:
    assert judged(Answered(status)) == Delivered(status, 12)


@pytest.mark.parametrize("status", [s for s in range(300, 600) if s != 410])
def test_every_other_answer_is_tried_again(status: int) -> None:
    kind = f"status_{status // 100}xx"
    assert judged(Answered(status, "", "sorry")) == RetryDelivery(
        5_000, f"the receiver answered {status}", status, 12, error=kind, answer="sorry"
    )


def test_410_is_dead_at_once_and_ends_the_endpoint() -> None:
    assert judged(Answered(410)) == DeadDelivery(
        "the receiver answered 410 Gone", 410, 12, "gone", gone=True
    )


def test_what_cannot_be_delivered_is_dead_with_its_reason() -> None:
    assert judged(Undeliverable("10.0.0.1 is private")) == DeadDelivery(
        "10.0.0.1 is private", 0, 12, "refused"
    )


def test_what_is_our_own_fault_uses_no_attempt() -> None:
    assert judged(NotNow("no key", 30.0), 10) == RetryDelivery(30_000, "no key", counts=False)


def test_the_schedule_is_kept_and_ends() -> None:
    waits = []
    for attempt in range(1, 10):
        outcome = judged(Unanswered("refused"), attempt)
        assert isinstance(outcome, RetryDelivery)
        assert outcome.counts
        waits.append(outcome.delay_ms / 1_000)
    hours = [2, 5, 10, 14, 20, 24]
    assert waits == [5, 300, 1_800, *(h * HOUR_S for h in hours)]
    assert judged(Unanswered("refused"), 10) == DeadDelivery(
        "10 attempts failed, the last: refused", 0, 12, "connect"
    )


@given(st.floats(0, 1), st.integers(1, 9))
def test_the_jitter_stays_within_a_fifth(random: float, attempt: int) -> None:
    outcome = judged(Unanswered("refused"), attempt, random)
    assert isinstance(outcome, RetryDelivery)
    planned = SETTINGS.schedule_s[attempt] * 1_000
    assert 0.8 * planned - 1 <= outcome.delay_ms <= 1.2 * planned + 1


@pytest.mark.parametrize(
    ("status", "header", "delay_s"),
    [
        (429, "60", 60),
        (503, "60", 60),
        (502, "60", 60),
        (504, "60", 60),
        (500, "60", 5),
        (404, "60", 5),
        (429, "1", 5),
        (429, "0", 5),
        (429, "-1", 5),
        (429, "1e9", 5),
        (429, "1000000000", 3_600),
        (429, "9" * 5_000, 3_600),
        (429, "soon", 5),
        (429, "", 5),
        (503, formatdate(NOW_S + 90, usegmt=True), 90),
        (503, formatdate(NOW_S - 90, usegmt=True), 5),
        (503, "Mon, 99 Foo 2026 00:00:00 GMT", 5),
    ],
)
def test_retry_after_is_honoured_where_it_means_something(
    status: int, header: str, delay_s: float
) -> None:
    outcome = judged(Answered(status, header))
    assert isinstance(outcome, RetryDelivery)
    assert outcome.delay_ms == delay_s * 1_000


@given(st.text())
def test_retry_after_never_raises_and_never_asks_for_the_past(text: str) -> None:
    wait = retry_after_s(text, NOW_S)
    assert wait is None or wait > 0
