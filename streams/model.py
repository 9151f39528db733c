"""What the engine speaks about: frozen values, no behaviour beyond their own names."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Generic, Self, TypeVar

import msgspec

from streams.usage import NOTHING, Usage

T = TypeVar("T")


class State(StrEnum):
    """Where a job stands. `SPOOLED` exists in a gateway's journal only, never in Redis."""

    SPOOLED = "spooled"
    DELAYED = "delayed"
    WAITING = "waiting"
    BLOCKED = "blocked"
    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to a job in this state by itself."""
        return self in ENDED


ENDED = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED})


class Priority(StrEnum):
    """How urgent a job is; each has a target wait (`policy.TARGET_MS`)."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class ResourceClass(StrEnum):
    """What an attempt occupies while it runs."""

    OLLAMA = "ollama"
    IO = "io"
    CPU = "cpu"


class Lane(msgspec.Struct, frozen=True, order=True):
    """One Redis stream: the jobs of one app, priority, processor and model, in order of age.

    `model` is empty outside class `ollama`; it may hold a colon, so it stands last in the name.
    """

    resource_class: ResourceClass
    app: str
    priority: Priority
    processor: str
    model: str = ""

    @property
    def name(self) -> str:
        """`class:app:priority:processor:model`, as in keys, metrics and logs."""
        return ":".join((self.resource_class, self.app, self.priority, self.processor, self.model))

    @classmethod
    def parse(cls, name: str) -> Self:
        """The lane of a name that `name` made. Raises ValueError for anything else."""
        resource_class, app, priority, processor, model = name.split(":", 4)
        return cls(ResourceClass(resource_class), app, Priority(priority), processor, model)


class CallbackRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an app asked to be told: the URL, the endpoint it lies under, the ending states."""

    url: str
    endpoint: str
    events: tuple[State, ...] = (State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED)


class Conflict(StrEnum):
    """What becomes of a job whose unique key another job has."""

    REFUSE = "refuse"  # it is not accepted
    EXISTING = "existing"  # the other job stands for it
    REPLACE = "replace"  # it takes the place of one that has not started; else it runs after it


class UniqueKey(msgspec.Struct, frozen=True):
    """At most one job of an app has a key: until it ends, or for `window_ms` from its submit on."""

    name: str  # 1 to 128 visible ASCII characters
    on_conflict: Conflict = Conflict.REFUSE
    window_ms: int = 0  # 0: until the job ends; not with REPLACE


class NewJob(msgspec.Struct, frozen=True):
    """A job to submit, complete: every default has been filled in from the manifest."""

    id: str
    lane: Lane
    payload: bytes  # JSON
    attempts_max: int = 3  # failures that count, 1 to 100
    timeout_ms: int = 60_000
    backoff_ms: int = 1_000  # first wait of the full-jitter exponential backoff
    backoff_max_ms: int = 300_000
    delay_ms: int = 0  # runnable this long after Redis accepted it
    run_at_ms: int = 0  # or at this wall time; 0 means at once
    expires_at_ms: int = 0  # not started by then: expired; 0 means never
    callback: CallbackRequest | None = None
    tags: tuple[str, ...] = ()
    trace: str = ""  # W3C traceparent, passed on to logs and callbacks
    digest: str = ""  # of processor and payload, where an idempotency key made the id
    unique: UniqueKey | None = None
    fresh: bool = False  # a result that is kept of the same input will not do


class Submitted(msgspec.Struct, frozen=True):
    """What Redis said of one submitted job. `created` is False when the id was there already.

    `same` is False when the id belongs to a job with another digest: this one was not stored.
    `holder` is the job that has its unique key: this one was not stored, `state` is the holder's.
    """

    id: str
    state: State
    created: bool
    same: bool = True
    holder: str = ""


class Lease(msgspec.Struct, frozen=True):
    """The right to run one attempt of a job until the deadline; `token` fences every write."""

    job_id: str
    token: str
    lane: Lane
    entry_id: str
    pool: str
    attempt: int  # attempts started, this one included
    failures: int  # attempts that failed and counted, before this one
    attempts_max: int
    timeout_ms: int
    backoff_ms: int
    backoff_max_ms: int
    submitted_ms: int
    payload: bytes | None  # None: large, fetch it with `Broker.payload`
    payload_bytes: int
    tags: tuple[str, ...] = ()
    trace: str = ""
    flow: str = ""  # of a stage's job: its flow
    stage: str = ""  # `name`, or `name:index` of one item
    fresh: bool = False  # it wants no kept result


class Fault(msgspec.Struct, frozen=True):
    """Why an attempt failed: a stable code and a sentence of at most 2,000 characters."""

    code: str
    message: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The attempt succeeded with this result (JSON bytes), or with one that stands for a blob."""

    result: bytes
    apart: bool = False


class Again(msgspec.Struct, frozen=True, tag="again"):
    """Another attempt after `delay_ms`; `counts` says whether this one used up a try."""

    delay_ms: int
    fault: Fault
    counts: bool = True


class Dead(msgspec.Struct, frozen=True, tag="dead"):
    """No further attempt: the job becomes a dead letter."""

    fault: Fault


class Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """The attempt was stopped because somebody cancelled the job."""

    reason: str = ""


class HandedBack(msgspec.Struct, frozen=True, tag="handed_back"):
    """The attempt was given up unfinished (graceful stop): its entry keeps its place."""


class Parked(msgspec.Struct, frozen=True, tag="parked"):
    """A flow's own job has stored its stages; it ends when they have."""


Verdict = Done | Again | Dead | Stopped | HandedBack | Parked


class Settlement(msgspec.Struct, frozen=True):
    """One verdict on its way to Redis, under the token that must still be the newest."""

    job_id: str
    token: str
    verdict: Verdict
    usage: Usage = NOTHING  # of models, by the attempt


class Mark(msgspec.Struct, frozen=True):
    """What a settle tells Redis: which journal its verdicts are in, and the settle's number."""

    journal: str
    number: int


class Settled(StrEnum):
    """What became of a settlement."""

    SETTLED = "settled"
    ALREADY = "already"  # the same settlement had been written before
    LOST = "lost"  # the token is not the newest: nothing was written
    UNSTAGED = "unstaged"  # its large result is not staged any more: stage it again, then settle


class Rate(msgspec.Struct, frozen=True):
    """At most `jobs` attempts start in `per_ms`, evenly; `burst` of them at once after a rest."""

    jobs: int  # 0: none start
    per_ms: int = 1_000
    burst: int = 1


class Take(msgspec.Struct, frozen=True):
    """One numbered request for work by one worker for one pool."""

    worker: str
    sequence: int  # rises by one per call and pool; the last number again repeats the answer
    resource_class: ResourceClass
    pool: str
    slots: int  # how many leases it asks for, 0 to 1,000
    processors: Sequence[str]
    models: Sequence[str] | None = None  # class ollama: the models this host has
    resident: str = ""  # class ollama: the model now in memory
    lease_ms: int = 30_000


class Taken(msgspec.Struct, frozen=True):
    """The answer to a take: leases to run, and when it is worth asking again."""

    leases: Sequence[Lease]
    look_again_ms: int
    stale: bool = False  # the number was lower than the last: nothing was done
    paused: bool = False


class Renewed(msgspec.Struct, frozen=True):
    """The answer to a renew: jobs whose lease is lost, and jobs somebody asked to cancel."""

    lost: frozenset[str]
    cancel: frozenset[str]


class Cancelled(StrEnum):
    """What a cancel request did."""

    CANCELLED = "cancelled"
    REQUESTED = "requested"  # it is running: its worker will confirm
    ENDED = "ended"  # it had ended before
    UNKNOWN = "unknown"


class Job(msgspec.Struct, frozen=True):
    """A job as the read side shows it. Times are wall milliseconds, 0 where it did not happen."""

    id: str
    lane: Lane
    state: State
    submitted_ms: int
    attempt: int
    failures: int
    crashes: int
    attempts_max: int
    timeout_ms: int
    started_ms: int = 0
    ended_ms: int = 0
    due_ms: int = 0
    expires_at_ms: int = 0
    payload_bytes: int = 0
    worker: str = ""
    cancel_requested: bool = False
    progress: float | None = None  # 0 to 1, as the running attempt last said
    note: str = ""
    fault: Fault | None = None
    callback: CallbackRequest | None = None
    tags: tuple[str, ...] = ()
    trace: str = ""
    unique: UniqueKey | None = None
    flow: str = ""  # of a stage's job
    stage: str = ""
    usage: Usage | None = None  # of models, by all attempts; None: none was asked


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a listing and the cursor of the next, empty at the end."""

    items: Sequence[T]
    cursor: str = ""

    @staticmethod
    def start_of(cursor: str) -> int:
        """Where the page of `cursor` starts. Raises ValueError for what no page gave out."""
        start = int(cursor or 0)
        if start < 0:
            raise ValueError(cursor)
        return start
