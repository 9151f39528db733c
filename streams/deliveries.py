"""What becomes of one attempt to deliver a callback, and by what rules."""

from collections.abc import Iterable
from typing import Any

import msgspec

from streams.model import Settled
from streams.scripts import pairs, text

REASON_MAX = 300  # characters kept of why an attempt failed, and of what was answered
NOT_SENT = frozenset({"", "refused", "unsigned"})  # errors that say nothing of the receiver


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    """The receiver said 2xx."""

    status: int
    took_ms: int = 0
    answer: str = ""


class RetryDelivery(msgspec.Struct, frozen=True, tag="retry"):
    """Another attempt after `delay_ms`; `counts` says whether this one used up a try."""

    delay_ms: int
    reason: str
    status: int = 0
    took_ms: int = 0
    counts: bool = True
    error: str = ""
    answer: str = ""


class DeadDelivery(msgspec.Struct, frozen=True, tag="dead"):
    """No further attempt by itself: the callback becomes a dead letter with this reason.

    `gone` disables the endpoint as well, unless it was changed since the callback was leased.
    """

    reason: str
    status: int = 0
    took_ms: int = 0
    error: str = ""
    answer: str = ""
    gone: bool = False


DeliveryVerdict = Delivered | RetryDelivery | DeadDelivery


class DeliverySettlement(msgspec.Struct, frozen=True):
    """One verdict on its way to Redis, under the token that must still be the newest."""

    id: str
    token: str
    verdict: DeliveryVerdict


class DeliverySettled(msgspec.Struct, frozen=True):
    """What became of a settlement, and of its endpoint: disabled, opened, closed, or nothing."""

    answer: Settled
    endpoint: str = ""


class BreakerRule(msgspec.Struct, frozen=True):
    """When an endpoint is left alone for a while, and when for good."""

    failures: int = 10  # in a row
    window: int = 20  # or of more than half of so many deliveries
    open_ms: int = 30_000  # first; each failed probe doubles it
    open_max_ms: int = 3_600_000
    give_up_ms: int = 5 * 86_400_000  # failing for so long disables


class DeliveryLimits(msgspec.Struct, frozen=True):
    """How many deliveries may be under way at once, over all couriers."""

    endpoint: int = 4
    host: int = 16


class DeliveryTake(msgspec.Struct, frozen=True):
    """One numbered request of one courier for callbacks to deliver."""

    courier: str
    sequence: int  # rises by one per call; the last number again repeats the answer
    slots: int
    lease_ms: int
    limits: DeliveryLimits

    def arguments(self) -> tuple[str | int, ...]:
        """The arguments of the script, in the order of its header."""
        token = f"{self.courier.rsplit('-', 1)[-1]}.c{self.sequence}"
        return (
            *(self.courier, self.sequence, token, self.slots, self.lease_ms),
            *(self.limits.endpoint, self.limits.host),
        )


def settle_arguments(
    settlements: Iterable[DeliverySettlement], rule: BreakerRule
) -> list[str | int]:
    """The arguments of the script, in the order of its header."""
    return [
        *(rule.failures, rule.window, rule.open_ms, rule.open_max_ms, rule.give_up_ms),
        *(part for one in settlements for part in settlement_row(one)),
    ]


def parse_settled(reply: Iterable[Any]) -> list[DeliverySettled]:
    """The script's answer, one for each settlement."""
    return [DeliverySettled(Settled(text(one)), text(what)) for one, what in pairs(reply)]


def settlement_row(settlement: DeliverySettlement) -> tuple[str | int, ...]:
    """The arguments of one settlement, in the order of the script's header."""
    verdict = settlement.verdict
    delay_ms, reason, error, health = 0, "", "", "good"
    match verdict:
        case Delivered():
            kind = "delivered"
        case RetryDelivery(delay_ms, reason, counts=counts, error=error):
            kind, health = ("retry", "bad") if counts else ("put_back", "")
        case DeadDelivery(reason, status, error=error, gone=gone):
            kind = "gone" if gone else "dead"
            health = "bad" if status or error not in NOT_SENT else ""
    return (
        *(settlement.id, settlement.token, kind, delay_ms, verdict.status, verdict.took_ms),
        *(error, line(reason), line(verdict.answer), health),
    )


def line(told: str) -> str:
    """A text as one short line of the delivery log."""
    return " ".join(told.split())[:REASON_MAX]
