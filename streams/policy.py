"""Decisions without a clock, a Redis or a network: how an attempt's ending is judged."""

import random as random_module

from streams.errors import Rejected, Retry, Trouble, Unavailable
from streams.model import Again, Dead, Done, Fault, Lease, Verdict

MESSAGE_MAX = 2_000
UNKNOWN = "processor_failed"


def judge(
    lease: Lease,
    ending: bytes | BaseException,
    retry_after_max_s: float,
    draw: random_module.Random,
) -> Verdict:
    """What becomes of the job after an attempt that ended with a result or an exception.

    A `Rejected` is never tried again; what is lost to a dependency that is away uses no attempt;
    everything else is tried again until `attempts_max` failures have counted.
    """
    if isinstance(ending, bytes):
        return Done(ending)
    fault = fault_of(ending)
    if isinstance(ending, Rejected):
        return Dead(fault)
    counts = not (
        isinstance(ending, Unavailable) or (isinstance(ending, Retry) and not ending.uses_attempt)
    )
    if counts and lease.failures + 1 >= lease.attempts_max:
        return Dead(fault)
    asked = getattr(ending, "after_s", None)
    if asked is not None:
        return Again(int(min(asked, retry_after_max_s) * 1000), fault, counts)
    return Again(backoff_ms(lease, draw), fault, counts)


def backoff_ms(lease: Lease, draw: random_module.Random) -> int:
    """Exponential backoff with full jitter: uniform between 0 and base x 2^failures, capped.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    ceiling = min(lease.backoff_ms * 2 ** min(lease.failures, 32), lease.backoff_max_ms)
    return draw.randint(0, max(0, ceiling))


def fault_of(error: BaseException) -> Fault:
    """The stable code and the sentence that are kept of an exception."""
    code = error.code if isinstance(error, Trouble) else UNKNOWN
    said = str(error) or type(error).__name__
    if not isinstance(error, Trouble):
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Fault(code, said[:MESSAGE_MAX])
