"""What becomes of a callback after an attempt: decisions only, no network, no clock."""

import msgspec

from processors.dependencies.retry_after import retry_after_s
from streams.callbacks import DeadDelivery, Delivered, DeliveryVerdict, RetryDelivery

MINUTE_S, HOUR_S = 60.0, 3_600.0
SCHEDULE_S = (
    0.0,
    5.0,
    5 * MINUTE_S,
    30 * MINUTE_S,
    2 * HOUR_S,
    5 * HOUR_S,
    10 * HOUR_S,
    14 * HOUR_S,
    20 * HOUR_S,
    24 * HOUR_S,
)
GONE = 410
SLOW_DOWN = frozenset({429, 502, 503, 504})


class CourierSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How callbacks are delivered."""

    schedule_s: tuple[float, ...] = (
        SCHEDULE_S  # the wait before each attempt; its length is the limit
    )
    jitter: float = 0.2  # each wait is longer or shorter by up to this share
    retry_after_max_s: float = HOUR_S  # cap on what a receiver's Retry-After may ask for
    connect_timeout_s: float = 3.0
    total_timeout_s: float = 15.0
    response_max_bytes: int = 16 * 1_024  # what is read of an answer
    response_timeout_s: float = 2.0  # how long an answer's body is read; its status counts anyway
    concurrency: int = 128  # deliveries at once
    endpoint_concurrency: int = 4  # deliveries at once to one endpoint
    endpoint_cache_s: float = 3.0  # how long a changed endpoint may go unnoticed
    breaker_failures: int = 10  # failures in a row that open an endpoint's breaker
    breaker_first_s: float = 30.0
    breaker_max_s: float = HOUR_S
    lease_ms: int = 30_000
    renew_s: float = 10.0
    grace_s: float = 20.0  # how long a stop waits for deliveries under way


class Answered(msgspec.Struct, frozen=True):
    """The receiver answered. `excerpt` is the start of its body, for the log."""

    status: int
    retry_after: str = ""
    excerpt: str = ""


class Unanswered(msgspec.Struct, frozen=True):
    """There was no answer, or none in time."""

    error: str


class Undeliverable(msgspec.Struct, frozen=True):
    """No attempt can be made, now or later."""

    reason: str


Ending = Answered | Unanswered | Undeliverable


class Moment(msgspec.Struct, frozen=True):
    """Circumstances of one attempt."""

    attempt: int  # from 1
    took_ms: int
    now_s: float  # wall time
    random: float  # 0 to 1, for the jitter


def judge_delivery(ending: Ending, moment: Moment, settings: CourierSettings) -> DeliveryVerdict:
    """What becomes of a callback after the attempt that ended so.

    2xx is delivered; 410 and what cannot be delivered is dead; all else is tried again on the
    schedule, later when the receiver asks for it, and is dead after the last attempt.
    """
    match ending:
        case Undeliverable(reason):
            return DeadDelivery(reason, 0, moment.took_ms)
        case Answered(status) if 200 <= status < 300:
            return Delivered(status, moment.took_ms)
        case Answered(410):
            return DeadDelivery("the receiver answered 410 Gone", GONE, moment.took_ms)
        case Answered(status, retry_after, excerpt):
            error = f"the receiver answered {status}" + (f": {excerpt}" if excerpt else "")
            asked = retry_after_s(retry_after, moment.now_s) if status in SLOW_DOWN else None
        case Unanswered(error):
            status, asked = 0, None
    if moment.attempt >= len(settings.schedule_s):
        return DeadDelivery(
            f"{moment.attempt} attempts failed, the last: {error}", status, moment.took_ms
        )
    wait_s = settings.schedule_s[moment.attempt] * (1 + settings.jitter * (2 * moment.random - 1))
    if asked is not None:
        wait_s = max(wait_s, min(asked, settings.retry_after_max_s))
    return RetryDelivery(round(wait_s * 1_000), error, status, moment.took_ms)


class Gate:
    """What one courier knows of one endpoint: its slots, its breaker, and whose turn is when.

    A delivery that finds no slot is told when to come back, and leaves. The times are spaced as
    the endpoint has been answering, so that a long backlog comes back neither too early, all
    at once, nor late. Times are monotonic seconds.
    """

    SPACING_FIRST_S = 0.005
    CROWDING = 3.0  # so many are told to come for each slot, lest one stays empty
    TURN_MAX_S = 60.0
    WEIGHT = 0.2  # of the newest delivery in the average time

    def __init__(self, settings: CourierSettings) -> None:
        self._settings = settings
        self._active = 0
        self._average_s = self.SPACING_FIRST_S * settings.endpoint_concurrency
        self._turn = 0.0
        self._failures = 0
        self._open_s = 0.0
        self._open_until = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost by forgetting this gate."""
        return self._active == 0 and self._failures == 0

    def is_open(self, now: float) -> bool:
        """Whether the breaker lets nothing through."""
        return now < self._open_until

    def enter(self, now: float) -> float:
        """Take a slot and return 0, or return how many seconds later to come back."""
        slots = 1 if self._open_s else self._settings.endpoint_concurrency  # one probe
        if not self.is_open(now) and self._active < slots:
            self._active += 1
            return 0.0
        spacing = max(self._average_s / self._settings.endpoint_concurrency / self.CROWDING, 0.001)
        earliest = max(now, self._open_until)
        self._turn = min(max(self._turn, earliest) + spacing, earliest + self.TURN_MAX_S)
        return self._turn - now

    def leave(self, now: float, took_s: float, *, good: bool | None) -> None:
        """Give the slot back; `good` is None for what says nothing of the endpoint's health."""
        self._active -= 1
        if good is None:
            return
        self._average_s += self.WEIGHT * (took_s - self._average_s)
        if good:
            self._failures, self._open_s, self._open_until = 0, 0.0, 0.0
            return
        self._failures += 1
        if self._failures >= self._settings.breaker_failures and not self.is_open(now):
            self._open_s = min(
                self._open_s * 2 or self._settings.breaker_first_s, self._settings.breaker_max_s
            )
            self._open_until = now + self._open_s
