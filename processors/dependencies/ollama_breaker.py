"""Stops asking a host that fails: pure, with the time passed in."""

from enum import StrEnum

FAILURES_MAX = 3
OPEN_FIRST_S = 30.0
OPEN_LAST_S = 300.0


class Gate(StrEnum):
    """What a breaker says to a request."""

    CLOSED = "closed"  # go on
    OPEN = "open"  # not now
    HALF_OPEN = "half_open"  # only after a probe


class Breaker:
    """Opens after three failures in a row, for 30 s doubling to 5 min, until a probe succeeds.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        """Closed, with nothing held against the host."""
        self._failures = 0
        self._open_s = OPEN_FIRST_S
        self._open_until: float | None = None

    def gate(self, now: float) -> Gate:
        """Whether a request may go out at `now`."""
        if self._open_until is None:
            return Gate.CLOSED
        return Gate.OPEN if now < self._open_until else Gate.HALF_OPEN

    def left_s(self, now: float) -> float:
        """Seconds until a probe is due; 0 when none is waited for."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - now)

    def failed(self, now: float) -> bool:
        """It failed; whether that opened it. Half-open, one failure does, for twice as long."""
        self._failures += 1
        if self._open_until is not None:
            if now < self._open_until:
                return False
            self._open_s = min(OPEN_LAST_S, self._open_s * 2)
        elif self._failures < FAILURES_MAX:
            return False
        self._open_until = now + self._open_s
        return True

    def succeeded(self) -> None:
        """The host did its work: everything is forgotten."""
        self._failures = 0
        self._open_s = OPEN_FIRST_S
        self._open_until = None
