"""What a courier says of one attempt to deliver: to metrics, to tests, and as a line of the log."""

import logging
from collections.abc import Callable

import msgspec

from streams.callbacks import CallbackRecord
from streams.deliveries import (
    DeadDelivery,
    Delivered,
    DeliverySettled,
    DeliveryVerdict,
    RetryDelivery,
)
from streams.keyspace import FLOW
from streams.trace import trace_id


class DeliveryReport(msgspec.Struct, frozen=True):
    """One attempt to deliver, as metrics, logs and tests hear of it."""

    record: CallbackRecord
    attempt: int
    verdict: DeliveryVerdict
    settled: DeliverySettled


Listener = Callable[[DeliveryReport], None]
Line = tuple[int, str, dict[str, object]]


def line_of(report: DeliveryReport) -> Line:
    """Level, sentence and fields: whose callback, and what became of the attempt."""
    record = report.record
    who = {
        "callback_id": record.id,
        "job_id": record.job_id,
        "flow": record.job_id if record.processor == FLOW else "",
        "app": record.app,
        "processor": record.processor,
        "attempt": record.attempt,
        "trace_id": trace_id(record.trace),
        "endpoint": record.endpoint,
        "delivery": report.attempt,
    }
    level, message, what = _told(report.verdict)
    fields = {**who, **what}
    return level, message, {name: value for name, value in fields.items() if value != ""}


def _told(verdict: DeliveryVerdict) -> Line:
    match verdict:
        case Delivered(status, took_ms):
            said: dict[str, object] = {"status": status, "took_s": took_ms / 1_000}
            return logging.INFO, "callback delivered", said
        case RetryDelivery(delay_ms, reason):
            said = {"reason": reason, "again_in_ms": delay_ms}
            return logging.INFO, "callback not delivered, another attempt follows", said
        case DeadDelivery(reason):
            return logging.WARNING, "callback given up", {"reason": reason}
