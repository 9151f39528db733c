"""What becomes of a callback after an attempt: decisions only, no network, no clock."""

import msgspec

from processors.dependencies.retry_after import retry_after_s
from streams.deliveries import (
    BreakerRule,
    DeadDelivery,
    Delivered,
    DeliveryLimits,
    DeliveryVerdict,
    RetryDelivery,
)

MINUTE_S, HOUR_S, DAY_S = 60.0, 3_600.0, 86_400.0
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
    concurrency: int = 128  # deliveries at once of one courier
    endpoint_concurrency: int = 4  # deliveries at once to one endpoint, over all couriers
    host_concurrency: int = 16  # deliveries at once to one host, over all couriers
    breaker_failures: int = 10  # failures in a row that open an endpoint's breaker
    breaker_window: int = 20  # so do failures of more than half of so many deliveries
    breaker_first_s: float = 30.0  # how long it is open first; each failed probe doubles it
    breaker_max_s: float = HOUR_S
    give_up_s: float = 5 * DAY_S  # an endpoint that only fails for so long is disabled
    key_wait_s: float = 30.0  # a callback whose signing secret cannot be opened waits so long
    lease_ms: int = 30_000
    renew_s: float = 10.0
    grace_s: float = 20.0  # how long a stop waits for deliveries under way
    metrics_port: int = 0  # of `roughneck courier`, on loopback; 0: no metrics endpoint

    @property
    def limits(self) -> DeliveryLimits:
        """How many deliveries may be under way at once."""
        return DeliveryLimits(self.endpoint_concurrency, self.host_concurrency)

    @property
    def breaker(self) -> BreakerRule:
        """When an endpoint is left alone."""
        return BreakerRule(
            self.breaker_failures,
            self.breaker_window,
            round(self.breaker_first_s * 1_000),
            round(self.breaker_max_s * 1_000),
            round(self.give_up_s * 1_000),
        )


class Answered(msgspec.Struct, frozen=True):
    """The receiver answered. `excerpt` is the start of its body, for the log."""

    status: int
    retry_after: str = ""
    excerpt: str = ""


class Unanswered(msgspec.Struct, frozen=True):
    """There was no answer, or none in time. `kind` is timeout, connect, resolve, tls, reset,
    protocol or internal."""

    error: str
    kind: str = "connect"


class Undeliverable(msgspec.Struct, frozen=True):
    """No attempt can be made, now or later. `kind` is refused or unsigned."""

    reason: str
    kind: str = "refused"


class NotNow(msgspec.Struct, frozen=True):
    """No attempt was made, for a reason of our own that will pass."""

    reason: str
    wait_s: float


Ending = Answered | Unanswered | Undeliverable | NotNow


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
        case NotNow(reason, wait_s):
            return RetryDelivery(round(wait_s * 1_000), reason, counts=False)
        case Undeliverable(reason, kind):
            return DeadDelivery(reason, 0, moment.took_ms, kind)
        case Answered(status, _, answer) if 200 <= status < 300:
            return Delivered(status, moment.took_ms, answer)
        case Answered(410, _, answer):
            reason = "the receiver answered 410 Gone"
            return DeadDelivery(reason, GONE, moment.took_ms, "gone", answer, gone=True)
        case Answered(status, _, answer):
            failure = f"the receiver answered {status}"
            kind = f"status_{status // 100}xx"
        case Unanswered(failure, kind):
            status, answer = 0, ""
    if moment.attempt >= len(settings.schedule_s):
        reason = f"{moment.attempt} attempts failed, the last: {failure}"
        return DeadDelivery(reason, status, moment.took_ms, kind, answer)
    return RetryDelivery(
        round(wait_before_next_s(ending, moment, settings) * 1_000),
        failure,
        status,
        moment.took_ms,
        error=kind,
        answer=answer,
    )


def wait_before_next_s(ending: Ending, moment: Moment, settings: CourierSettings) -> float:
    """The schedule's wait with its jitter, or what the receiver asks for, up to the cap."""
    wait_s = settings.schedule_s[moment.attempt] * (1 + settings.jitter * (2 * moment.random - 1))
    if not isinstance(ending, Answered) or ending.status not in SLOW_DOWN:
        return wait_s
    asked = retry_after_s(ending.retry_after, moment.now_s)
    return wait_s if asked is None else max(wait_s, min(asked, settings.retry_after_max_s))
