"""A Hypothesis machine over the real scripts: whatever is called in whatever order, the model and
Redis agree after every call.

Calls are repeated, their answers get lost, packets arrive late, leases run out, workers that were
taken for dead come back, groups and scripts vanish, memory runs out.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from streams.deliveries import DeadDelivery, Delivered, DeliveryLimits, RetryDelivery
from streams.keyspace import COURIERS, GROUP, lease_member
from streams.model import (
    Again,
    CallbackRequest,
    Dead,
    Done,
    Fault,
    HandedBack,
    Lease,
    Mark,
    NewJob,
    ResourceClass,
    Settlement,
    State,
    Stopped,
    Take,
    Taken,
)
from streams.scripts import text
from streams.usage import Usage
from tests.model.invariants import CALLBACKS, CLASS, check, healed
from tests.model.link import SETTINGS, Link, at_once
from tests.model.model import INLINE_MAX, Model, ModelCallback, ModelJob
from tests.model.oracle import picks
from tests.model.snapshot import KEYS, Snapshot, read
from tests.support.build import Hand, new_job

IO = ResourceClass.IO
NEVER_MS = 10**15
INDEX, SMALL = st.integers(0, 9), st.integers(0, 3)
FAULT = Fault("boom", "it broke")
LARGE = b'"' + b"r" * INLINE_MAX + b'"'
ROOM = DeliveryLimits(endpoint=100, host=100)
VERDICTS = st.sampled_from(
    [
        *(Done(b"1"), Done(b"12345678"), Done(LARGE), Again(0, FAULT), Again(60_000, FAULT)),
        *(Again(0, FAULT, counts=False), Dead(FAULT), Stopped(), HandedBack()),
    ]
)
DELIVERIES = st.sampled_from(
    [
        *(Delivered(200), DeadDelivery("gone", 410), RetryDelivery(0, "busy", 503)),
        *(RetryDelivery(60_000, "busy", 503), RetryDelivery(0, "paused", counts=False)),
    ]
)
ENDINGS = CallbackRequest("", "").events
WANTED = (ENDINGS, (State.DEAD,), ())
APPS = ("etyde", "cnc")
BOTH = ("echo", "fetch")


class Held(msgspec.Struct, frozen=True):
    """A lease as its worker knows it, for as long as it likes."""

    worker: str
    lease: Lease


class Machine(RuleBasedStateMachine):
    link: Link  # given by whoever runs the machine

    leases = Bundle("leases")
    batches = Bundle("batches")
    deliveries = Bundle("deliveries")

    @initialize(
        target=leases,
        repeats=st.integers(1, 3),
        full=st.sampled_from([False, False, True]),
        slots=st.integers(1, 4),
    )
    def begin(self, repeats: int, full: bool, slots: int) -> Any:
        """With a few jobs, one of them ended, some leased, so that there is what may go wrong."""
        self.link.reset(repeats, full=full)
        self.model = Model()
        self.hands = [Hand(self.link.broker, name) for name in "ab"]
        self.calls: dict[str, list[tuple[Take, list[Lease]]]] = defaultdict(list)  # by worker
        self.couriers = [0, 0]  # the number of each one's last call
        self.wounded: set[str] = set()  # streams whose group was destroyed
        self.names = iter(range(1, 10_000))
        for app in APPS:
            self.make(app, 3, "now", ENDINGS if app == APPS[0] else ())
        self.cancel(0)  # which is told
        return self.take(0, slots)

    # ------------------------------------------------------------ how it is driven

    @contextmanager
    def once(self) -> Iterator[None]:
        """For chores of which a second call does the next part."""
        repeats, self.link.repeats = self.link.repeats, 1
        yield
        self.link.repeats = repeats

    @property
    def redis(self) -> Any:
        """For what this test does itself, which is no part of what is tested."""
        return self.link.redis

    def one_of(self, which: int, among: list[Any]) -> Any:
        return among[which % len(among)] if among else None

    def now(self) -> Snapshot:
        return read(self.link.redis)

    @invariant()
    def everything_holds(self) -> None:
        if hasattr(self, "model"):
            found = self.now()
            self.wounded -= healed(self.model, found, self.wounded)
            check(self.model, found, self.wounded)

    # ------------------------------------------------------------ submit

    @rule(
        target=batches,
        app=st.sampled_from(APPS),
        priority=st.sampled_from(["normal", "high"]),
        processor=st.sampled_from(["echo", "fetch"]),
        when=st.sampled_from(["now", "now", "delayed", "expires", "late"]),
        wanted=st.sampled_from(WANTED),
        count=st.integers(1, 3),
    )
    def make(self, app, count, when, wanted, **place):
        made = [
            new_job(
                delay_ms=60_000 * (when == "delayed"),
                expires_at_ms={"late": 1, "expires": NEVER_MS}.get(when, 0),
                callback=CallbackRequest("https://app.example", app, wanted) if wanted else None,
                app=app,
                **place,
            )
            for _ in range(count)
        ]
        self.submit(made, "", 0)
        return made

    @rule(batch=batches, back=st.integers(0, 3))
    def ship(self, batch, back):
        """Submit again what was submitted or refused, from a journal; `back`: how old it is."""
        newest = self.model.shipped.get("g", 0) + 1
        self.submit(batch, "g", max(1, newest - back))

    def submit(self, batch: list[NewJob], gateway: str, sequence: int) -> None:
        call = self.link.broker.submit(batch, gateway=gateway, sequence=sequence)
        fresh = [job for job in batch if job.id not in self.model.jobs]
        answers = at_once(call)
        assert self.link.refused or not (self.link.full and fresh), "I8: accepted at maxmemory"
        wanted = self.model.submit(batch, gateway, sequence)
        assert [(answer.state, answer.created) for answer in answers] == wanted, "I5: a known id"

    # ------------------------------------------------------------ take

    @rule(
        target=leases,
        who=st.integers(0, 1),
        slots=st.sampled_from([4, 1, 2, 0]),
        processors=st.sampled_from([BOTH, BOTH, ("echo",)]),
        heard=st.sampled_from([True, True, False]),
    )
    def take(self, who, slots=4, processors=BOTH, heard=True):
        """`heard` is false when every answer to it is lost."""
        return self.take_now(self.hands[who], slots, processors, heard)

    @rule(
        target=leases,
        who=st.integers(0, 1),
        limit=st.tuples(st.sampled_from([CLASS, f"{CLASS}|etyde"]), SMALL),
        paused=st.sampled_from([False, False, False, True]),
    )
    def take_within(self, who, limit, paused):
        with self.limited(limit), self.paused(paused):
            return self.take_now(self.hands[who], 4, BOTH, True)

    @contextmanager
    def limited(self, limit: tuple[str, int]) -> Iterator[None]:
        self.model.limits = dict([limit])
        self.redis.hset(KEYS.key("limits"), *limit)
        yield
        self.redis.delete(KEYS.key("limits"))
        self.model.limits = {}

    @contextmanager
    def paused(self, paused: bool) -> Iterator[None]:
        self.model.paused = paused
        if paused:
            assert at_once(self.link.broker.pause(IO))
        yield
        if paused:
            assert at_once(self.link.broker.resume(IO))
        self.model.paused = False

    def take_now(self, hand: Hand, slots: int, processors: tuple[str, ...], heard: bool) -> Any:
        hand.sequence += 1
        call = hand.call(slots, processors=processors, lease_ms=SETTINGS.lease_ms)
        before = self.now()
        taken = at_once(self.link.broker.take(call))
        for reply in self.link.replies:
            assert self.link.broker.taken(call, reply).leases == taken.leases, "I5: other leases"
        self.account_for(call, taken, before)
        self.calls[hand.id].append((call, list(taken.leases)))
        return multiple(*(Held(hand.id, lease) for lease in taken.leases if heard))

    def account_for(self, call: Take, taken: Taken, before: Snapshot) -> None:
        assert not taken.stale
        assert len(taken.leases) <= call.slots, "more than the free slots"
        if self.model.paused:
            assert not taken.leases, "leased while paused"
            return
        picked = picks(self.model, before, self.now(), call)
        self.model.promote()
        if self.wounded:
            self.follow()
        else:
            ended = [job for job in map(self.model.jobs.get, picked) if job.too_late or job.doomed]
            rest = [job_id for job_id in picked if self.model.jobs[job_id] not in ended]
            assert [lease.job_id for lease in taken.leases] == rest, "the order of dispatch"
            for job in ended:
                self.model.end_instead(job)
        for lease in taken.leases:
            assert lease.lane.processor in call.processors
            assert lease.payload == b"{}"
            self.model.lease(lease)

    def follow(self) -> None:
        """Jobs that a take or a chore ended, where the order is not to be foreseen."""
        for job_id, record in self.now().under("job_").items():
            job = self.model.jobs[job_id]
            if State(record["state"]).ended and not job.state.ended:
                self.model.end_instead(job)

    @precondition(lambda self: any(self.calls[hand.id] for hand in self.hands))
    @rule(target=leases, who=st.integers(0, 1), back=st.integers(0, 4))
    def hear_an_old_take(self, who, back):
        """A take that was sent before arrives again: the last two repeat their answers."""
        calls = self.calls[self.hands[who].id] or self.calls[self.hands[1 - who].id]
        back = min(back, len(calls) - 1)
        call, granted = calls[-1 - back]
        taken = at_once(self.link.broker.take(call))
        own = [x for x in granted if back < 2 and self.model.jobs[x.job_id].owned_by(x.token)]
        assert [lease.token for lease in taken.leases] == [lease.token for lease in own], "stale"
        assert taken.stale is (back >= 2)
        return multiple(*(Held(call.worker, lease) for lease in taken.leases))

    @precondition(lambda self: any(self.calls[hand.id] for hand in self.hands))
    @rule(who=st.integers(0, 1))
    def leave(self, who):
        """A worker says that it stops; its name is never used again."""
        hand = self.hands[who]
        streams = self.now().under("stream_").values()
        held = at_once(self.link.broker.drop_consumer(hand.id, IO, CLASS))
        groups = [stream.group.pending.values() for stream in streams if stream.group]
        assert held == sum(hand.id in pending for pending in groups)
        self.hands[who] = Hand(self.link.broker, f"n{next(self.names)}")

    # ------------------------------------------------------------ leases

    @precondition(lambda self: any(self.model.in_state(State.ACTIVE)))
    @rule(which=INDEX)
    def run_out(self, which):
        """A worker falls silent for longer than its lease, whether it knows of it or not."""
        job: ModelJob = self.one_of(which, list(self.model.in_state(State.ACTIVE)))
        if not job.handed_back:
            entry = self.now().under("job_")[job.id]["entry"]
            self.redis.zadd(KEYS.key("leases_", CLASS), {lease_member(job.lane, entry): 1}, xx=True)
            self.model.lapse(job)

    @rule(target=leases, held=leases, times=st.integers(1, 3), verdict=st.none() | VERDICTS)
    def lose(self, held, times, verdict):
        """A worker falls silent with this lease, and another takes what there is, so often. Then
        the first may come back with a verdict."""
        job = self.model.jobs[held.lease.job_id]
        found: list[Held] = []
        for turn in range(times):
            if job.state is State.ACTIVE:
                self.run_out(list(self.model.in_state(State.ACTIVE)).index(job))
            found += self.take(turn % 2).values
        if verdict:
            self.settle([held], verdict, False)
        return multiple(*found)

    @rule(held=leases)
    def speak(self, held):
        """Renew and report progress, whoever is heard there."""
        pair = (held.lease.job_id, held.lease.token)
        accepted = at_once(self.link.broker.report([(*pair, 0.5, "half")]))
        assert accepted == self.model.report(*pair), "I3: progress"
        told = at_once(self.link.broker.renew(held.worker, [pair], SETTINGS.lease_ms))
        lost, cancel = self.model.renew(*pair)
        assert (pair[0] in told.lost, pair[0] in told.cancel) == (lost, cancel), "I3: renew"

    @rule(
        held=st.lists(leases, min_size=1, max_size=2),
        verdict=VERDICTS,
        staged=st.booleans(),
        back=st.integers(0, 2),
    )
    def settle(self, held, verdict, staged, back=0):
        """`back`: how old the packet of a worker's journal is."""
        mark = Mark("j", max(1, self.model.settled + 1 - back))
        self.model.settled = max(self.model.settled, mark.number)
        used = Usage(asks=1, eval_s=0.25)
        batch = [Settlement(each.lease.job_id, each.lease.token, verdict, used) for each in held]
        if staged:
            at_once(self.link.broker.stage(batch[0].job_id, batch[0].token, LARGE))
            self.model.staged.add((batch[0].job_id, batch[0].token))
        answers = at_once(self.link.broker.settle(held[0].worker, batch, mark))
        wanted = [self.model.settle(each.job_id, each.token, verdict) for each in batch]
        assert answers == wanted, "I3: settle"
        for again in self.link.replies[1:]:
            assert "settled" not in [text(answer) for answer in again], "I3: settled twice"

    # ------------------------------------------------------------ operators and chores

    @precondition(lambda self: self.model.jobs)
    @rule(which=INDEX)
    def cancel(self, which):
        job = self.one_of(which, list(self.model.jobs))
        answer = at_once(self.link.broker.cancel(job))
        assert answer is self.model.cancel(job)

    @precondition(lambda self: self.model.jobs)
    @rule(which=INDEX)
    def replay(self, which):
        ended = [job.id for job in self.model.jobs.values() if job.state.ended]
        job = self.one_of(which, ended or list(self.model.jobs))
        answer = at_once(self.link.broker.replay([job]))
        assert answer == [self.model.replay(job)]

    @precondition(lambda self: self.model.jobs)
    @rule()
    def time_passes(self):
        """What is delayed becomes due, jobs and callbacks alike; what expires is too late."""
        for key in (KEYS.key("due_", CLASS), KEYS.key("callback_due")):
            if members := self.redis.zrange(key, 0, -1):
                self.redis.zadd(key, dict.fromkeys(members, 1))
        for job in self.model.jobs.values():
            job.due_now = job.state is State.DELAYED
            if job.expires and not job.late:
                self.redis.hset(KEYS.job(job.id), "expires", 1)
                self.redis.zadd(KEYS.key("expiring"), {job.id: 1}, xx=True)
                job.late = True
        for callback in self.model.callbacks.values():
            callback.due = callback.due and "now"

    @precondition(lambda self: self.model.jobs)
    @rule(chore=st.sampled_from(["promote", "expire", "sweep"]), count=st.sampled_from([100, 1]))
    def work(self, chore, count):
        with self.once():
            getattr(self, chore)(count)

    def promote(self, count: int) -> None:
        promoted = at_once(self.link.broker.promote(IO))
        assert promoted == self.model.promote()

    def expire(self, count: int) -> None:
        late = [job for job in self.model.jobs.values() if job.too_late]
        ended = at_once(self.link.broker.expire(count))
        assert ended == min(len(late), count)
        self.follow()
        assert sum(job.too_late for job in late) == len(late) - ended

    def sweep(self, count: int) -> None:
        for lane in list(self.now().under("stream_")):
            page = at_once(self.link.broker.sweep(lane, "-", count))
            while page[1] != "-":
                page = at_once(self.link.broker.sweep(lane, page[1], count))
            self.follow()
            if KEYS.stream(lane) not in self.wounded:
                assert not [j for j in self.model.jobs.values() if j.doomed and j.lane == lane]

    # ------------------------------------------------------------ callbacks

    @precondition(lambda self: self.model.callbacks)
    @rule(target=deliveries, who=st.integers(0, 1), slots=st.integers(0, 3), back=st.integers(0, 3))
    def take_callbacks(self, who, slots, back):
        """`back` is how old a packet it is; only the newest leases anything."""
        back = min(back, self.couriers[who])
        sequence = self.couriers[who] + 1 - back
        self.couriers[who] = max(sequence, self.couriers[who])
        if not sequence:
            return multiple()
        name = f"host-1-c{who}"
        call = self.link.callbacks.take(name, sequence, slots, SETTINGS.lease_ms, ROOM)
        taken = at_once(call)
        granted = [(lease.id, lease.token) for lease in taken.leases]
        if back:
            live = {(c.id, c.token) for c in self.model.callbacks.values() if not c.settled}
            assert live >= set(granted), "stale"
        else:
            self.account_for_callbacks(slots, taken.leases)
        return multiple(*granted)

    def account_for_callbacks(self, slots: int, granted: Any) -> None:
        wounded = any(key.startswith(CALLBACKS) for key in self.wounded)
        free = {callback.id for callback in self.model.deliverable(later=wounded)}
        assert {lease.id for lease in granted} <= free, "a callback twice"
        assert wounded or len(granted) == min(slots, len(free))
        for callback in self.model.callbacks.values():
            callback.due = "" if callback.due == "now" else callback.due
        for lease in granted:
            assert lease.attempt == self.model.lease_callback(lease.id, lease.token)
            assert lease.record.job_id == self.model.callbacks[lease.id].job_id
        leased = self.now().callback_leases
        for callback in self.model.callbacks.values() if wounded else ():
            if callback.lapsed and callback.id not in leased:
                callback.under_way = callback.lapsed = False

    @rule(delivery=deliveries, verdict=DELIVERIES)
    def settle_callback(self, delivery, verdict):
        answer = at_once(self.link.callbacks.settle(*delivery, verdict))
        assert answer is self.model.settle_callback(*delivery, verdict), "I3: delivery"

    @precondition(lambda self: self.model.callbacks)
    @rule(target=deliveries, who=st.integers(0, 1), verdict=DELIVERIES)
    def deliver(self, who, verdict):
        """A courier's whole round."""
        taken = self.take_callbacks(who, 3, 0)
        for delivery in taken.values:
            self.settle_callback(delivery, verdict)
        return taken

    @rule(some=st.lists(deliveries, min_size=1, max_size=2))
    def renew_callbacks(self, some):
        lost = at_once(self.link.callbacks.renew(some, SETTINGS.lease_ms))
        assert lost == self.model.lost_callbacks(some)

    @precondition(lambda self: self.under_way())
    @rule(target=deliveries, which=INDEX)
    def lose_a_callback(self, which):
        """A courier falls silent, and another one takes what there is."""
        callback: ModelCallback = self.one_of(which, self.under_way())
        entry, _ = self.now().callback_leases[callback.id]
        member = f"{callback.id}|{entry}|{self.model.jobs[callback.job_id].app}"
        assert not self.redis.zadd(KEYS.key("callback_leases"), {member: 1})
        callback.lapsed = True
        return self.take_callbacks(which % 2, 3, 0)

    def under_way(self) -> list[ModelCallback]:
        return [callback for callback in self.model.callbacks.values() if callback.under_way]

    @precondition(lambda self: self.model.callbacks)
    @rule(which=INDEX)
    def replay_callback(self, which):
        ended = [c.id for c in self.model.callbacks.values() if c.status != "waiting"]
        callback = self.one_of(which, ended or list(self.model.callbacks))
        count = at_once(self.link.callbacks.replay([callback]))
        assert count == self.model.replay_callback(callback)

    # ------------------------------------------------------------ what befalls them

    @precondition(lambda self: self.model.jobs)
    @rule(what=st.sampled_from(["group", "couriers", "flush"]), which=INDEX)
    def trouble(self, what, which):
        match what:
            case "group" if lane := self.one_of(which, sorted(self.now().under("stream_"))):
                self.destroy_group(KEYS.stream(lane), GROUP)
            case "couriers" if lane := self.one_of(which, sorted(self.now().under("callbacks_"))):
                self.destroy_group(KEYS.key("callbacks_", lane), COURIERS)
            case "flush":
                self.link.flush_scripts()

    def destroy_group(self, key: str, group: str) -> None:
        self.redis.xgroup_destroy(key, group)
        self.wounded.add(key)
