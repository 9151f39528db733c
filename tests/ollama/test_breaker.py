"""When a host is left alone."""

from processors.dependencies.ollama_breaker import Breaker, Gate


def opened(at: float) -> Breaker:
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(at)
    return breaker


def test_three_failures_in_a_row_open_it_and_a_success_between_does_not() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker.failed(0)
        breaker.failed(0)
        breaker.succeeded()
    assert breaker.gate(0) is Gate.CLOSED
    assert opened(0).gate(0) is Gate.OPEN


def test_it_asks_for_a_probe_after_thirty_seconds() -> None:
    breaker = opened(100)
    assert (breaker.gate(129.9), breaker.left_s(110)) == (Gate.OPEN, 20)
    assert (breaker.gate(130), breaker.left_s(131)) == (Gate.HALF_OPEN, 0)


def test_failed_probes_double_the_wait_up_to_five_minutes() -> None:
    breaker, now, waits = opened(0), 0.0, []
    for _ in range(6):
        waits.append(breaker.left_s(now))
        now += waits[-1]
        breaker.failed(now)
    assert waits == [30, 60, 120, 240, 300, 300]


def test_a_failure_while_open_does_not_prolong_it() -> None:
    breaker = opened(0)
    breaker.failed(10)
    assert breaker.left_s(10) == 20


def test_a_good_probe_forgets_everything() -> None:
    breaker = opened(0)
    breaker.failed(30)
    breaker.succeeded()
    assert breaker.gate(31) is Gate.CLOSED
    for _ in range(3):
        breaker.failed(31)
    assert breaker.left_s(31) == 30
