"""What must hold after every call: the whole of Redis against the model."""

import time
from collections import Counter
from typing import Any

from streams.callbacks import CallbackState
from streams.keyspace import lease_member
from streams.leasing import parse_lease
from streams.model import ENDED, Lane, State
from streams.usage import parse_usage
from tests.model.model import Model
from tests.model.snapshot import KEYS, Snapshot, Stream
from tests.support.leaks import fault_of

CLASS = "io"
LANES, CALLBACKS = KEYS.key("stream_"), KEYS.key("callbacks_")
SOON_MS = 1_000
PLACE = (State.WAITING, State.ACTIVE)


def check(model: Model, found: Snapshot, wounded: set[str]) -> None:
    """Fails where Redis is not as the model says.

    `wounded` names the streams whose consumer group was destroyed and which have not been mended
    yet: nothing is pending there although leases stand.
    """
    counters_equal_the_jobs(model, found)
    each_record_is_right(model, found)
    a_live_job_has_one_place(model, found)
    pending_equals_leases(model, found, wounded)
    lanes_are_seated(found, wounded)
    ended_jobs_are_complete(model, found)
    usage_is_that_of_what_was_accepted(model, found)
    each_callback_is_right(model, found)
    ended_callbacks_are_listed(model, found)
    if not any(key.startswith(CALLBACKS) for key in wounded):
        callbacks_have_one_place(model, found)
    everything_has_its_lifetime(model, found)


def counters_equal_the_jobs(model: Model, found: Snapshot) -> None:
    """I1: what was submitted is what is counted over all states."""
    counts = {name: int(n) for name, n in found.get("counts").items() if int(n)}
    wanted = Counter(f"{CLASS}|{job.state}" for job in model.jobs.values())
    submitted = {f"{CLASS}|submitted": len(model.jobs)} if model.jobs else {}
    assert counts == {**wanted, **submitted}, "I1: counters"
    tallies: Counter[str] = Counter()
    for field, times in found.get("tallies").items():
        what, _, lane = field.partition("|")
        assert Lane.parse(lane).resource_class == CLASS
        tallies[what] += int(times)
    assert tallies["submitted"] == len(model.jobs), "what was submitted, for ever"
    assert tallies["started"] == sum(job.attempt for job in model.jobs.values())
    assert sum(tallies[state] for state in ENDED) == sum(job.ends for job in model.jobs.values())
    active = Counter(job.app for job in model.in_state(State.ACTIVE))
    assert _numbers(found.get("running_", CLASS)) == active, "I1: active by app"
    assert _numbers(found.get("shipped")) == model.shipped, "watermark"
    assert _numbers(found.get("verdicts")).get("j", 0) == model.settled, "watermark"


def usage_is_that_of_what_was_accepted(model: Model, found: Snapshot) -> None:
    """I3: each attempt whose settle was accepted counts once, in its job and in its day."""
    for job_id, record in found.under("job_").items():
        usage = parse_usage(record.get("usage", ""))
        assert (usage.asks if usage else 0) == model.jobs[job_id].asks, "usage of a job"
    days = [
        parse_usage(stored) for day in found.under("usage_").values() for stored in day.values()
    ]
    asks = sum(usage.asks for usage in days if usage)
    assert asks == sum(job.asks for job in model.jobs.values()), "usage of a day"


def each_record_is_right(model: Model, found: Snapshot) -> None:
    """I3, I7: state, attempts, failures and crashes of each job; its newest token."""
    records = found.under("job_")
    assert records.keys() == model.jobs.keys() == found.under("payload_").keys()
    for job in model.jobs.values():
        record = records[job.id]
        lease = parse_lease(record.get("lease"))
        numbers = [lease.attempt, *(int(record.get(name, 0)) for name in ("failures", "crashes"))]
        assert (record["state"], numbers) == (job.state, [job.attempt, job.failures, job.crashes])
        assert 0 <= job.crashes <= 3, "I7: crashes"
        assert lease.token.removeprefix("-") == job.token, "token"
        assert bool(record.get("cancel")) is job.cancel
    happened = Counter((line[0], line[1]) for line in found.events)
    for job in model.jobs.values():
        assert happened["ended", job.id] == job.ends, "I4: ended once"
        assert happened["active", job.id] == job.attempt


def a_live_job_has_one_place(model: Model, found: Snapshot) -> None:
    """I2: an entry of its lane or a member of the due set; an ended job has none."""
    places: dict[str, list[str]] = {}
    for lane, stream in found.under("stream_").items():
        for entry in stream.entries.values():
            places.setdefault(entry["j"], []).append(lane)
    due = found.get("due_", CLASS)
    for job_id in due:
        places.setdefault(job_id, []).append("due")
    live = {job.id: ["due"] for job in model.in_state(State.DELAYED)}
    live |= {job.id: [job.lane] for job in model.in_state(*PLACE)}
    assert places == live, "I2: places"
    expiring = {job.id for job in model.jobs.values() if job.expiring}
    assert found.get("expiring").keys() == expiring if expiring else not found.get("expiring")


def pending_equals_leases(model: Model, found: Snapshot, wounded: set[str]) -> None:
    """I1: an active job has a lease and a pending entry, and nothing else has."""
    entries = {job.id: found.under("job_")[job.id].get("entry", "") for job in model.jobs.values()}
    active = {lease_member(job.lane, entries[job.id]): job for job in model.in_state(State.ACTIVE)}
    leases = found.get("leases_", CLASS)
    assert set(leases) == set(active), "I1: leases"
    for member, job in active.items():
        assert (leases[member] <= 1) is job.free, "a deadline"
    pending: set[str] = set()
    for lane, stream in found.under("stream_").items():
        mine = {lease_member(lane, entry) for entry in _pending(stream)}
        wanted = {member for member, job in active.items() if job.lane == lane}
        assert mine == wanted if KEYS.stream(lane) not in wounded else mine <= wanted, "I1: pending"
        pending |= mine
    assert pending <= set(active)


def lanes_are_seated(found: Snapshot, wounded: set[str]) -> None:
    """A lane with something undelivered is offered, at its oldest age; the others are not."""
    streams = found.under("stream_")
    assert set(found.get("streams_", CLASS)) == set(streams)
    seats: dict[str, float] = {}
    for priority in ("high", "normal", "low"):
        seats |= found.get("lanes_", f"{CLASS}:{priority}")
    for lane, stream in streams.items():
        if KEYS.stream(lane) in wounded:
            seats.pop(lane, None)
            continue
        assert stream.entries, "an empty lane stays"
        if stream.undelivered:
            head = stream.entries[stream.undelivered[0]]
            assert seats.pop(lane, None) == float(head["t"]), "a seat"
            assert Lane.parse(lane).resource_class == CLASS
    assert seats == {}, "seats of nothing"


def ended_jobs_are_complete(model: Model, found: Snapshot) -> None:
    """I4: result or error, the listing of its app, the callbacks of its endings."""
    results = {job.id: job.result for job in model.jobs.values() if job.result}
    records = {job: record.get("result") for job, record in found.under("job_").items()}
    small = {job: result.encode() for job, result in records.items() if result}
    assert found.under("result_") | small == results, "I4: result"
    assert not found.under("result_").keys() & small.keys(), "I4: one place for a result"
    assert set(found.under("staged_")) == {f"{job}:{token}" for job, token in model.staged}
    listed: dict[tuple[str, str], set[str]] = {}
    for job in model.in_state(*ENDED):
        where = "dead_" if job.state is State.DEAD else "ended_"
        listed.setdefault((where, job.app), set()).add(job.id)
        if job.state is not State.SUCCEEDED:
            assert found.under("job_")[job.id].get("code"), "I4: an error"
    for where in ("dead_", "ended_"):
        for app, jobs in found.under(where).items():
            assert set(jobs) == listed.pop((where, app), set()), "a listing"
    assert listed == {}


def each_callback_is_right(model: Model, found: Snapshot) -> None:
    """I4, I12: a record for each ending that was asked for, its values frozen."""
    records = found.under("callback_")
    assert records.keys() == model.callbacks.keys(), "I4: callback records"
    for callback in model.callbacks.values():
        record = records[callback.id]
        assert {name: record[name] for name in callback.frozen} == callback.frozen, "I12: frozen"
        assert (record["status"], int(record["tries"])) == (callback.status, callback.tries)
    counts = _numbers(found.get("callback_counts"))
    wanted = Counter(str(callback.status) for callback in model.callbacks.values())
    assert counts == +Counter({**wanted, "recorded": len(records)}), "I12: counters"


def callbacks_have_one_place(model: Model, found: Snapshot) -> None:
    """A callback that waits is an entry or due; one under way is pending with a lease."""
    streams: dict[str, Stream] = found.under("callbacks_")
    places = [row["c"] for stream in streams.values() for row in stream.entries.values()]
    waiting = [c for c in model.callbacks.values() if c.status is CallbackState.WAITING]
    places += found.get("callback_due")
    assert sorted(places) == sorted(c.id for c in waiting), "places of callbacks"
    leases = found.callback_leases
    assert set(leases) == {c.id for c in waiting if c.under_way}, "leases of callbacks"
    for callback_id, (_, deadline) in leases.items():
        assert (deadline <= 1) is model.callbacks[callback_id].lapsed
    pending = {s.entries[entry]["c"] for s in streams.values() for entry in _pending(s)}
    assert pending == set(leases), "pending callbacks"
    seats = found.get("callback_lanes")
    assert set(seats) == set(streams), "seats of endpoints"
    for endpoint, stream in streams.items():
        soon_ms = time.time() * 1000 + SOON_MS
        assert not stream.undelivered or seats[endpoint] < soon_ms, "nobody looks there"


def ended_callbacks_are_listed(model: Model, found: Snapshot) -> None:
    """I12: delivered or a dead letter."""
    for where, status in (("callback_done", "delivered"), ("callback_dead", "dead")):
        ended = {c.id for c in model.callbacks.values() if c.status == status}
        assert set(found.get(where)) == ended, where


def everything_has_its_lifetime(model: Model, found: Snapshot) -> None:
    """Every key is in the table and lives as long as it says; what is live does not vanish."""
    stays = {key for key, ms in found.lifetimes.items() if ms == -1}
    states = {KEYS.key("callback_", each.id): each.status for each in model.callbacks.values()}
    owned: dict[str, str] = {}
    for job in model.jobs.values():
        owned |= dict.fromkeys((KEYS.job(job.id), KEYS.payload(job.id)), job.state)
        owned[KEYS.result(job.id)] = job.state
    owners = states | owned
    for key in found.lifetimes:
        fault = fault_of(key, stays=key in stays, state=owners.get(key))
        assert not fault, f"{key.rpartition(':')[0]} {fault}"
    live = {key for key, state in owned.items() if state not in ENDED and key in found.lifetimes}
    live |= {key for key, status in states.items() if status is CallbackState.WAITING}
    assert live <= stays, "what is live would vanish"


def healed(model: Model, found: Snapshot, wounded: set[str]) -> set[str]:
    """Those of `wounded` that are whole again."""
    lanes = {key for key in wounded if key.startswith(LANES) and _is_whole(found, key)}
    try:
        callbacks_have_one_place(model, found)
    except AssertionError:
        return lanes
    return lanes | {key for key in wounded if key.startswith(CALLBACKS)}


def _is_whole(found: Snapshot, key: str) -> bool:
    """Whether what is leased there was delivered and is pending."""
    stream: Stream | None = found.values.get(key)
    if stream is None:
        return True
    members = (member.rpartition("|") for member in found.get("leases_", CLASS))
    leased = {entry for lane, _, entry in members if KEYS.stream(lane) == key}
    pending = set(_pending(stream)) - set(stream.undelivered)
    return stream.group is not None and leased == pending


def _pending(stream: Stream) -> dict[str, str]:
    return stream.group.pending if stream.group else {}


def _numbers(row: dict[str, Any]) -> dict[str, int]:
    return {name: int(number) for name, number in row.items() if int(number)}
