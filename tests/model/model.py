"""What every job and callback must be: plain Python, no Redis. The scripts must agree with it.

Each method is one script as its header describes it: it changes the model and says what the script
must answer.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from streams.callbacks import CallbackState
from streams.deliveries import DeadDelivery, Delivered, DeliveryVerdict, RetryDelivery
from streams.model import (
    Again,
    Cancelled,
    Dead,
    Done,
    HandedBack,
    Lease,
    NewJob,
    Settled,
    State,
    Stopped,
    Verdict,
)

CRASHES_MAX = 3
ENDPOINT_MAX = 4  # deliveries under way to one endpoint
INLINE_MAX = 16  # bytes of a result above which it is staged first, and told as a link
BEFORE_START = (State.WAITING, State.DELAYED)


@dataclass
class ModelJob:
    """One job."""

    id: str
    lane: str
    app: str
    state: State
    wanted: tuple[State, ...] = ()  # endings that its app asked to be told of
    expires: bool = False  # unless it starts in time
    late: bool = False  # that time has passed
    due_now: bool = False  # delayed, but for no time: a take or promote makes it waiting
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    ends: int = 0  # how often it ended
    token: str = ""
    prev: str = ""  # the token that a takeover counted as a death
    cancel: bool = False
    handed_back: bool = False
    lapsed: bool = False  # its lease has run out
    result: bytes | None = None
    asks: int = 0  # to a model, by the attempts whose settle was accepted
    told: list[str] = field(default_factory=list)  # callbacks of its endings

    def owned_by(self, token: str) -> bool:
        """Whether the attempt behind this token may still change the job."""
        return self.state is State.ACTIVE and self.token == token and not self.handed_back

    @property
    def free(self) -> bool:
        """Active, and anybody may lease it."""
        return self.state is State.ACTIVE and (self.lapsed or self.handed_back)

    @property
    def expiring(self) -> bool:
        """Whether it is watched by the expirer."""
        return self.expires and not self.attempt and self.state in BEFORE_START

    @property
    def too_late(self) -> bool:
        """Whether the expirer, or a take, ends it."""
        return self.late and self.expiring

    @property
    def last_chance(self) -> bool:
        """Whether another death of its worker ends it."""
        return not self.handed_back and self.crashes + 1 >= CRASHES_MAX

    @property
    def doomed(self) -> bool:
        """Whether a reclaim or the sweeper ends it instead of leasing it."""
        return self.free and (self.cancel or self.last_chance)


@dataclass
class ModelCallback:
    """One ending that an app is told of."""

    id: str
    job_id: str
    frozen: dict[str, str]
    status: CallbackState = CallbackState.WAITING
    token: str = ""
    under_way: bool = False
    settled: bool = False  # the token's delivery has been settled
    lapsed: bool = False
    due: str = ""  # now or later
    tries: int = 0
    attempts: int = 0  # lines of its log


class Model:
    """All jobs and callbacks of one Redis."""

    def __init__(self) -> None:
        self.jobs: dict[str, ModelJob] = {}
        self.callbacks: dict[str, ModelCallback] = {}
        self.tokens: set[str] = set()  # all that were ever given
        self.staged: set[tuple[str, str]] = set()
        self.shipped: dict[str, int] = {}
        self.settled = 0  # the watermark of a worker's journal
        self.limits: dict[str, int] = {}
        self.paused = False

    def in_state(self, *states: State) -> Iterator[ModelJob]:
        """The jobs that stand so."""
        return (job for job in self.jobs.values() if job.state in states)

    # ------------------------------------------------------------ jobs

    def submit(
        self, jobs: Iterable[NewJob], gateway: str, sequence: int
    ) -> list[tuple[State, bool]]:
        """State and created of each."""
        answers = []
        for new in jobs:
            created = new.id not in self.jobs
            if created:
                self.jobs[new.id] = ModelJob(
                    id=new.id,
                    lane=new.lane.name,
                    app=new.lane.app,
                    state=State.DELAYED if new.delay_ms else State.WAITING,
                    wanted=new.callback.events if new.callback else (),
                    expires=bool(new.expires_at_ms),
                    late=new.expires_at_ms == 1,
                )
            answers.append((self.jobs[new.id].state, created))
        if gateway:
            self.shipped[gateway] = max(sequence, self.shipped.get(gateway, 0))
        return answers

    def lease(self, lease: Lease) -> None:
        """A take granted this."""
        job = self.jobs[lease.job_id]
        assert job.state is State.WAITING or job.free, f"granted a job that was {job.state}"
        assert not job.doomed, "granted a job that should have ended"
        assert not job.too_late, "granted a job too late"
        assert lease.token not in self.tokens, "a token twice"
        self.tokens.add(lease.token)
        if job.free and not job.handed_back:
            job.crashes += 1
            job.prev = job.token
        job.state, job.token = State.ACTIVE, lease.token
        job.handed_back = job.lapsed = False
        job.attempt += 1
        assert lease.attempt == job.attempt

    def end_instead(self, job: ModelJob) -> None:
        """A take, or a sweep, came upon a job that must end there."""
        if job.too_late:
            self._end(job, State.EXPIRED, "expired")
            return
        assert job.doomed, f"{job} was ended by a take or a sweep"
        if not job.handed_back:
            job.crashes += 1
        self._end(job, *((State.CANCELLED, "cancelled") if job.cancel else (State.DEAD, "crashed")))
        job.token = ""

    def lapse(self, job: ModelJob) -> None:
        """Its worker is silent."""
        job.lapsed = job.lapsed or job.state is State.ACTIVE

    def renew(self, job_id: str, token: str) -> tuple[bool, bool]:
        """Whether the lease is lost, and whether the job shall be cancelled."""
        job = self.jobs[job_id]
        if job.owned_by(token):
            job.lapsed = False
            return False, job.cancel
        self._forgive(job, token)
        return True, False

    def settle(self, job_id: str, token: str, verdict: Verdict) -> Settled:
        job = self.jobs[job_id]
        if not job.token or job.token != token:
            self._forgive(job, token)
            return Settled.LOST
        if not job.owned_by(token):
            return Settled.ALREADY
        if isinstance(verdict, Done) and len(verdict.result) > INLINE_MAX:
            if (job_id, token) not in self.staged:
                return Settled.UNSTAGED
            self.staged.remove((job_id, token))
        self._apply(job, verdict)
        job.asks += 1
        return Settled.SETTLED

    def _apply(self, job: ModelJob, verdict: Verdict) -> None:
        match verdict:
            case Done(result):
                job.result = result
                self._end(job, State.SUCCEEDED, "")
            case Dead(fault):
                self._end(job, State.DEAD, fault.code)
            case _ if job.cancel:
                self._end(job, State.CANCELLED, "cancelled")
            case HandedBack():
                job.handed_back, job.lapsed = True, True
            case Again(delay_ms, _, counts):
                self._delay(job, delay_ms, counts=counts)
            case Stopped():
                self._delay(job, 0, counts=False)

    def _delay(self, job: ModelJob, delay_ms: int, *, counts: bool) -> None:
        job.state, job.due_now, job.lapsed = State.DELAYED, not delay_ms, False
        job.failures += counts

    def _forgive(self, job: ModelJob, token: str) -> None:
        if job.prev and job.prev == token:
            job.crashes -= 1
            job.prev = ""

    def _end(self, job: ModelJob, state: State, code: str) -> None:
        job.ends += 1
        job.state, job.lapsed, job.handed_back = state, False, False
        if state not in job.wanted:
            return
        digest = hashlib.sha1(f"{job.id}:{job.ends}".encode(), usedforsecurity=False).hexdigest()
        result = job.result or b""
        frozen = {
            "job": job.id,
            "app": job.app,
            "state": state,
            "attempt": str(job.attempt),
            "code": code,
            "sequence": str(job.ends),
            "size": str(len(result)),
            "result": result.decode() if len(result) <= INLINE_MAX else "",
        }
        callback = ModelCallback("msg_" + digest[:26], job.id, frozen)
        assert callback.id not in self.callbacks
        self.callbacks[callback.id] = callback
        job.told.append(callback.id)

    def cancel(self, job_id: str) -> Cancelled:
        job = self.jobs[job_id]
        if job.state is State.ACTIVE:
            job.cancel = True
            return Cancelled.REQUESTED
        if job.state not in BEFORE_START:
            return Cancelled.ENDED
        self._end(job, State.CANCELLED, "cancelled")
        return Cancelled.CANCELLED

    def replay(self, job_id: str) -> str:
        job = self.jobs[job_id]
        if job.state not in (State.DEAD, State.CANCELLED, State.EXPIRED):
            return str(job.state)
        job.state, job.token, job.prev, job.cancel = State.WAITING, "", "", False
        job.expires = job.late = False
        job.failures = job.crashes = 0
        job.due_now, job.result = False, None
        return "replayed"

    def promote(self) -> int:
        """What is due becomes runnable; how many there were."""
        due = [job for job in self.in_state(State.DELAYED) if job.due_now]
        for job in due:
            job.state, job.due_now = State.WAITING, False
        return len(due)

    def report(self, job_id: str, token: str) -> bool:
        """Whether the progress is the newest attempt's."""
        return self.jobs[job_id].owned_by(token)

    # ------------------------------------------------------------ callbacks

    def deliverable(self, *, later: bool) -> list[ModelCallback]:
        """Callbacks that a courier may be given, with those due now, or also those due later."""
        return [
            each
            for each in self.callbacks.values()
            if each.status is CallbackState.WAITING
            and (each.lapsed or (not each.under_way and (later or each.due != "later")))
        ]

    def grants(self, slots: int) -> int:
        """How many of these a courier is given: what ran out first, then up to four at once."""
        free, held = self.deliverable(), [c for c in self.callbacks.values() if c.under_way]
        again = min(slots, sum(each.lapsed for each in free))
        fresh = sum(not each.lapsed for each in free)
        return again + min(slots - again, fresh, max(0, ENDPOINT_MAX - len(held)))

    def lease_callback(self, callback_id: str, token: str) -> int:
        """A courier was given this; which try it is."""
        callback = self.callbacks[callback_id]
        callback.token, callback.under_way = token, True
        callback.lapsed = callback.settled = False
        callback.due = ""
        callback.tries += 1
        return callback.tries

    def settle_callback(self, callback_id: str, token: str, verdict: DeliveryVerdict) -> Settled:
        callback = self.callbacks[callback_id]
        if callback.token != token:
            return Settled.LOST
        if callback.settled:
            return Settled.ALREADY
        callback.settled, callback.under_way, callback.lapsed = True, False, False
        callback.attempts += 1
        match verdict:
            case Delivered():
                callback.status = CallbackState.DELIVERED
            case DeadDelivery():
                callback.status = CallbackState.DEAD
            case RetryDelivery(delay_ms, counts=counts):
                callback.due = "later" if delay_ms else "now"
                callback.tries -= not counts
                callback.attempts -= not counts
        return Settled.SETTLED

    def replay_callback(self, callback_id: str) -> bool:
        callback = self.callbacks[callback_id]
        if callback.status is CallbackState.WAITING:
            return False
        callback.status, callback.tries, callback.due = CallbackState.WAITING, 0, ""
        return True

    def lost_callbacks(self, leases: Sequence[tuple[str, str]]) -> set[str]:
        """Which of (callback, token) are not their courier's any more, of those under way."""
        lost = set()
        for callback_id, token in leases:
            callback = self.callbacks[callback_id]
            if callback.token == token and not callback.settled:
                callback.lapsed = False
            else:
                lost.add(callback_id)
        return lost
