"""Any order of operations keeps the invariants: a Hypothesis machine over the real scripts.

The model is a dict of what each job must be; Redis must agree after every step. For a long run:
`ROUGHNECK_MODEL_EXAMPLES=2000 pytest tests/model`.
"""

import asyncio
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from streams.broker import Broker
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.model import (
    Again,
    Cancelled,
    Dead,
    Done,
    Fault,
    HandedBack,
    Job,
    Lease,
    Settled,
    Settlement,
    State,
    Stopped,
)
from tests.support.build import Hand, new_job
from tests.support.plain_worker import client

KEYS = Keyspace()
FAULT = Fault("boom", "it broke")
CRASHES_MAX = 3
LIVE = {State.WAITING, State.DELAYED, State.ACTIVE}
VERDICTS = st.sampled_from(
    [
        *(Done(b"1"), Again(0, FAULT), Again(60_000, FAULT), Again(0, FAULT, counts=False)),
        *(Dead(FAULT), Stopped(), HandedBack()),
    ]
)


class Held:
    """A lease as its worker knows it."""

    def __init__(self, lease: Lease, worker: str) -> None:
        self.lease, self.worker = lease, worker


class Expected:
    """What a job must be."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.token = ""
        self.crashes = 0
        self.cancel = False
        self.handed_back = False
        self.expired_lease = False
        self.due = False  # delayed, but for no time: any call may find it waiting
        self.expires = False  # its time to start has passed
        self.prev = ""  # the token that a takeover counted as a death


class Machine(RuleBasedStateMachine):
    url = ""
    leases = Bundle("leases")
    jobs = Bundle("jobs")

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.redis = client(self.url)
        self.do(self.redis.flushall())
        self.broker = Broker(self.redis, KEYS)
        self.inspector = Inspector(self.redis, KEYS)
        self.hands = [Hand(self.broker, name) for name in ("a", "b")]
        self.expected: dict[str, Expected] = {}
        self.paused = False

    def do(self, awaitable: Any) -> Any:
        return self.runner.run(_await(awaitable))

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.do(self.redis.aclose())
            self.runner.close()

    # ------------------------------------------------------------ submit

    @rule(
        target=jobs,
        app=st.sampled_from(["etyde", "cnc"]),
        priority=st.sampled_from(["high", "normal"]),
        processor=st.sampled_from(["echo", "fetch"]),
        delayed=st.booleans(),
        expires=st.sampled_from([False, False, True]),
        count=st.integers(1, 3),
    )
    def submit(self, app, priority, processor, delayed, expires, count):
        made = [
            new_job(
                app=app,
                priority=priority,
                processor=processor,
                delay_ms=60_000 if delayed else 0,
                expires_at_ms=1 if expires else 0,
            )
            for _ in range(count)
        ]
        answers = self.do(self.broker.submit(made))
        state = State.DELAYED if delayed else State.WAITING
        assert [(a.state, a.created) for a in answers] == [(state, True)] * count
        for job in made:
            self.expected[job.id] = Expected(state)
            self.expected[job.id].expires = expires
        self.last = made
        return multiple(*(job.id for job in made))

    @rule()
    def submit_again(self):
        for answer in self.do(self.broker.submit(getattr(self, "last", []))):
            assert not answer.created
            assert answer.state is self.expected[answer.id].state

    # ------------------------------------------------------------ take

    @rule(
        target=leases,
        who=st.integers(0, 1),
        slots=st.integers(0, 4),
        processors=st.sampled_from([("echo",), ("echo", "fetch")]),
        lost_reply=st.booleans(),
    )
    def take(self, who, slots, processors, lost_reply):
        hand = self.hands[who]
        before = {job: e.state for job, e in self.expected.items()}
        taken = self.do(hand.ask(slots, processors=processors))
        if lost_reply:
            again = self.do(self.broker.take(hand.call(slots, processors=processors)))
            assert [lease.token for lease in again.leases] == [
                lease.token for lease in taken.leases
            ]
        assert len(taken.leases) <= slots
        self.account_for_takeovers()
        for lease in taken.leases:
            job = self.expected[lease.job_id]
            assert not job.expires
            was = before[lease.job_id]
            assert was in (State.WAITING, State.ACTIVE) or (was is State.DELAYED and job.due)
            assert lease.lane.processor in processors
            assert not self.paused
            if job.state is State.ACTIVE:
                assert job.expired_lease or job.handed_back
                if not job.handed_back:
                    job.crashes += 1
                    job.prev = job.token
            job.state, job.token = State.ACTIVE, lease.token
            job.handed_back = job.expired_lease = False
            assert lease.payload == b"{}"
        return multiple(*(Held(lease, hand.id) for lease in taken.leases))

    def account_for_takeovers(self) -> None:
        """Jobs that the take ended instead of leasing them: cancelled, dead by crashes, expired."""
        for job, found in self.found().values():
            if job.expires and found.state is State.EXPIRED:
                job.state = found.state
            if job.state is State.ACTIVE and (job.expired_lease or job.handed_back):
                if found.state is State.CANCELLED:
                    assert job.cancel
                elif found.state is State.DEAD:
                    assert job.crashes + 1 >= CRASHES_MAX
                    assert not job.handed_back
                else:
                    continue
                if not job.handed_back:
                    job.crashes += 1
                job.state, job.token = found.state, "none"

    @rule(who=st.integers(0, 1), back=st.integers(2, 5))
    def take_late(self, who, back):
        hand = self.hands[who]
        call = hand.call(3)
        late = call.__class__(
            **{
                **{field: getattr(call, field) for field in call.__struct_fields__},
                "sequence": hand.sequence - back,
            }
        )
        if late.sequence > 0:
            answer = self.do(self.broker.take(late))
            assert answer.stale
            assert not answer.leases

    # ------------------------------------------------------------ leases

    @rule(held=leases)
    def run_out(self, held):
        lease = held.lease
        job = self.expected[lease.job_id]
        member = f"{lease.lane.name}|{lease.entry_id}"
        key = KEYS.key("leases_", lease.pool)
        if job.token == lease.token and job.state is State.ACTIVE and not job.handed_back:
            assert self.do(self.redis.zadd(key, {member: 1}, xx=True, ch=True)) in (0, 1)
            job.expired_lease = True

    @rule(held=leases)
    def renew(self, held):
        lease = held.lease
        job = self.expected[lease.job_id]
        told = self.do(self.broker.renew(held.worker, [(lease.job_id, lease.token)], 30_000))
        mine = job.state is State.ACTIVE and job.token == lease.token and not job.handed_back
        assert (lease.job_id in told.lost) is not mine
        assert (lease.job_id in told.cancel) is (mine and job.cancel)
        if mine:
            job.expired_lease = False
        else:
            self.forgive(job, lease.token)

    def forgive(self, job: Expected, token: str) -> None:
        if job.prev == token and job.prev:
            job.crashes -= 1
            job.prev = ""

    @rule(held=leases, verdict=VERDICTS)
    def settle(self, held, verdict):
        lease = held.lease
        job = self.expected[lease.job_id]
        [answer] = self.do(
            self.broker.settle(held.worker, [Settlement(lease.job_id, lease.token, verdict)])
        )
        if job.state is State.ACTIVE and job.token == lease.token and not job.handed_back:
            assert answer is Settled.SETTLED
            job.expired_lease = False
            self.apply(job, verdict)
        elif job.token == lease.token:
            assert answer is Settled.ALREADY
        else:
            assert answer is Settled.LOST
            self.forgive(job, lease.token)

    def apply(self, job: Expected, verdict: Any) -> None:
        match verdict:
            case Done():
                job.state = State.SUCCEEDED
            case Dead():
                job.state = State.DEAD
            case _ if job.cancel:
                job.state = State.CANCELLED
            case HandedBack():
                job.handed_back = True
            case _:
                job.state = State.DELAYED
                job.due = not (isinstance(verdict, Again) and verdict.delay_ms)

    # ------------------------------------------------------------ operators and chores

    @rule(job_id=jobs)
    def cancel(self, job_id):
        job = self.expected[job_id]
        answer = self.do(self.broker.cancel(job_id))
        if job.state in (State.WAITING, State.DELAYED):
            assert answer is Cancelled.CANCELLED
            job.state = State.CANCELLED
        elif job.state is State.ACTIVE:
            assert answer is Cancelled.REQUESTED
            job.cancel = True
        else:
            assert answer is Cancelled.ENDED

    @rule(job_id=consumes(jobs))
    def replay(self, job_id):
        job = self.expected[job_id]
        [answer] = self.do(self.broker.replay([job_id]))
        if job.state in (State.DEAD, State.CANCELLED, State.EXPIRED):
            assert answer == "replayed"
            self.expected[job_id] = Expected(State.WAITING)
            self.expected[job_id].token = "none"
        else:
            assert answer == job.state

    @rule()
    def make_due(self):
        """Every delayed job's time has come; a chore promotes them."""
        key = KEYS.key("due_", "io")
        for member in self.do(self.redis.zrange(key, 0, -1)):
            self.do(self.redis.zadd(key, {member: 1}))
        self.do(self.broker.promote("io"))
        for job in self.expected.values():
            if job.state is State.DELAYED:
                job.state = State.WAITING

    @rule(count=st.integers(1, 100))
    def expire(self, count):
        def late():
            live = (State.WAITING, State.DELAYED)
            return [e for e in self.expected.values() if e.expires and e.state in live]

        before = len(late())
        ended = self.do(self.broker.expire(count))
        self.account_for_takeovers()
        assert ended == min(before, count)
        assert len(late()) == before - ended

    @rule()
    def sweep(self):
        for lane in self.do(self.inspector.lane_names()):
            self.do(self.broker.sweep(lane))
        self.account_for_takeovers()

    @rule()
    def pause_or_resume(self):
        self.paused = not self.paused
        self.do(self.broker.pause("io") if self.paused else self.broker.resume("io"))

    # ------------------------------------------------------------ what always holds

    @invariant()
    def counts_equal_the_structures(self):
        if not hasattr(self, "runner"):
            return
        self.catch_up()
        assert self.do(self.inspector.audit()) == []
        counts = self.do(self.inspector.counts())
        for state in State:
            wanted = sum(job.state is state for job in self.expected.values())
            assert counts.get(f"io|{state}", 0) == wanted, state

    def catch_up(self) -> None:
        """A take promotes jobs that became due at once (`Again(0)`); follow what Redis says."""
        for job, found in self.found().values():
            if job.state is State.DELAYED and found.state is State.WAITING:
                assert job.due
                job.state = State.WAITING

    def found(self) -> dict[str, tuple[Expected, Job]]:
        """What every job must be, and what Redis says."""
        ids = list(self.expected)
        jobs = self.do(self.inspector.jobs_by_id(ids))
        return {job.id: (self.expected[job.id], job) for job in jobs}

    @invariant()
    def every_job_has_one_place_or_none(self):
        if not hasattr(self, "runner"):
            return
        places: dict[str, int] = {}
        for lane in self.do(self.inspector.lane_names()):
            for _, fields in self.do(self.redis.xrange(KEYS.stream(lane))):
                places[fields[b"j"].decode()] = places.get(fields[b"j"].decode(), 0) + 1
        for member in self.do(self.redis.zrange(KEYS.key("due_", "io"), 0, -1)):
            places[member.decode()] = places.get(member.decode(), 0) + 1
        assert places == {job: 1 for job, e in self.expected.items() if e.state in LIVE}

    @invariant()
    def records_are_as_expected(self):
        if not hasattr(self, "runner"):
            return
        rows = self.found()
        assert set(rows) == set(self.expected)
        for job, found in rows.values():
            assert (found.state, found.crashes) == (job.state, job.crashes)
        with_result = {
            key.decode().rpartition(":")[2] for key in self.do(self.redis.keys(KEYS.result("*")))
        }
        succeeded = {job_id for job_id, (job, _) in rows.items() if job.state is State.SUCCEEDED}
        assert with_result == succeeded


async def _await(awaitable: Any) -> Any:
    return await awaitable


QUICK = settings(
    max_examples=int(os.environ.get("ROUGHNECK_MODEL_EXAMPLES", "35")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_any_order_of_operations_keeps_the_invariants(redis_url):
    class OnThisServer(Machine):
        url = redis_url

    run_state_machine_as_test(OnThisServer, settings=QUICK)
