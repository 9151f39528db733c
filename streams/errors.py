"""The errors of the whole platform, in one tree.

    Trouble
    ├── Rejected              the caller's fault: never tried again
    │   ├── InvalidInput      the payload does not fit the processor's schema (names the path)
    │   ├── TooLarge          over a documented limit
    │   ├── UnknownProcessor  no worker ever published it
    │   ├── UnknownJob        there never was such a job, or another app's
    │   ├── JobGone           the job ended and its record outlived its retention
    │   ├── Unfinished        its result was asked for before it ended
    │   ├── NotAllowed        a good key without the scope
    │   ├── NotAuthenticated  no key, or one that is unknown, expired or revoked
    │   ├── UnknownBlob       a payload refers to a blob that is not there
    │   ├── StorageFull       the app has used up its room for blobs
    │   ├── UnknownEndpoint   a callback URL under no endpoint of the app
    │   ├── WrongState        the job's state forbids the operation
    │   ├── UniqueTaken       another job has the unique key (names it)
    │   └── NameTaken         the app has something of that name already
    ├── Retry                 the attempt failed and another may succeed
    │   ├── Snooze            not now: another attempt later, and this one does not count
    │   └── TimedOut          ran longer than the job's time
    ├── Crashed               the attempt's process died or left the protocol
    ├── LeaseLost             somebody else owns the job now: nothing was written
    ├── ConfigError           the settings, a manifest or the environment are wrong
    └── Unavailable           a dependency cannot answer now: try again later
        ├── OutOfMemory       Redis is at its memory limit and refused the write whole
        ├── SpoolFull         the gateway's journal is at a limit, and Redis takes nothing
        ├── DiskRefused       the gateway's disk took no more, so nothing was accepted
        ├── ClassFull         so much waits in the resource class that no more is accepted
        ├── Undecided         who has a unique key is known to Redis alone, and that is away
        └── WatermarkMoved    Redis does not have what a gateway's journal says it has

Every class has a `code`: public, stable, the same in the API, in logs and in dead letters.
"""


class Trouble(Exception):
    """Base of every error that Roughneck raises on purpose."""

    code = "trouble"


class Rejected(Trouble):
    """The request can never succeed as it is. A processor raises it to skip further attempts."""

    code = "rejected"


class InvalidInput(Rejected):
    """A value has the wrong type or range. `path` is a JSON path such as `$.pages[3].url`."""

    code = "invalid_input"

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class TooLarge(Rejected):
    """More bytes, items or depth than the limit that the message names."""

    code = "too_large"


class UnknownProcessor(Rejected):
    """No worker has ever published a processor of that name."""

    code = "unknown_processor"


class UnknownJob(Rejected):
    """No job of that id is visible to the caller."""

    code = "unknown_job"


class JobGone(Rejected):
    """The job ended longer ago than records are kept."""

    code = "job_gone"


class Unfinished(Rejected):
    """The job has not ended yet, so it has no result."""

    code = "unfinished"


class NotAuthenticated(Rejected):
    """The key is missing, unknown, expired or revoked: deliberately one and the same answer."""

    code = "not_authenticated"


class NotAllowed(Rejected):
    """The key is good but lacks the scope that the message names."""

    code = "not_allowed"


class UnknownBlob(Rejected):
    """There is no such blob: it never was, it is another app's, or its jobs are gone."""

    code = "unknown_blob"


class StorageFull(Rejected):
    """The app's blobs have used up the room that it is given."""

    code = "storage_full"


class UnknownEndpoint(Rejected):
    """A callback URL lies under none of the app's endpoints."""

    code = "unknown_endpoint"


class WrongState(Rejected):
    """The operation does not apply to a job in its present state."""

    code = "wrong_state"


class UniqueTaken(Rejected):
    """Another job of the app has the unique key; `holder` is its id."""

    code = "unique_taken"

    def __init__(self, message: str, holder: str = "") -> None:
        super().__init__(message)
        self.holder = holder


class NameTaken(Rejected):
    """The app has something of that name already."""

    code = "name_taken"


class Retry(Trouble):
    """The attempt failed in a way that may pass.

    `after_s`: wait this long instead of the backoff (the engine caps it). `uses_attempt`: False
    puts the job back without counting the attempt, for a rate limit or a dependency that is away.
    """

    code = "retry"

    def __init__(
        self, message: str = "", *, after_s: float | None = None, uses_attempt: bool = True
    ) -> None:
        super().__init__(message)
        self.after_s = after_s
        self.uses_attempt = uses_attempt


class Snooze(Retry):
    """The attempt found that it is too early: the job comes back after `after_s`.

    It uses up no attempt, however often. For what is expected, such as a page that is not there
    yet; a processor that has failed raises Retry.
    """

    code = "snoozed"

    def __init__(self, after_s: float, message: str = "not yet") -> None:
        super().__init__(message, after_s=after_s, uses_attempt=False)


class TimedOut(Retry):
    """The attempt ran longer than the job's time allows."""

    code = "timed_out"


class Crashed(Trouble):
    """The attempt's process died, or answered with something that is not the protocol."""

    code = "crashed"


class LeaseLost(Trouble):
    """The lease belongs to another attempt; this one may no longer write."""

    code = "lease_lost"


class ConfigError(Trouble):
    """A setting, a manifest or an installed part is wrong; the message names it."""

    code = "config_error"


class Unavailable(Trouble):
    """A dependency does not answer. `after_s` is a hint for `Retry-After`."""

    code = "unavailable"

    def __init__(self, message: str = "", *, after_s: float = 1.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class OutOfMemory(Unavailable):
    """Redis is at maxmemory: the whole call was refused and nothing was stored."""

    code = "out_of_memory"


class SpoolFull(Unavailable):
    """The gateway's journal is at one of its limits: send it again later."""

    code = "spool_full"


class DiskRefused(Unavailable):
    """The gateway's disk is full, read-only or broken, so that nothing can be accepted."""

    code = "disk_refused"


class ClassFull(Unavailable):
    """So many jobs wait in the resource class that no more are accepted."""

    code = "class_full"


class Undecided(Unavailable):
    """A unique key is asked for while Redis is away, which alone knows who has it."""

    code = "undecided"


class WatermarkMoved(Unavailable):
    """Redis does not have what the gateway's journal says that it has; inside the platform only."""

    code = "watermark_moved"
