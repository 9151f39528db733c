"""Why a job waits, in sentences made of facts: nothing is said here that was not measured."""

from collections.abc import Iterator

import msgspec

from gateway.wire import JobView, moment
from gateway.wire_control import Explanation, Reason
from streams.circumstances import (
    COUNTED_MAX,
    Blocked,
    Circumstances,
    Hands,
    InLine,
    RateUse,
    Room,
)
from streams.model import Job, Lane, State

STARTS_MIN = 3  # of a lane, before its pace means anything


class Spooled(msgspec.Struct, frozen=True):
    """What bears on a job that only the gateway's journal has."""

    rows: int
    away: bool  # Redis takes no jobs now


def explain(job: Job, facts: Circumstances, spool: Spooled | None = None) -> Explanation:
    """What stands between the job and its start, the decisive things first."""
    line = facts.line
    start_ms = estimated_start_ms(facts, job) if line else None
    return Explanation(
        id=job.id,
        state=job.state,
        reasons=tuple(_reasons(job, facts, spool)),
        position=line.ahead + 1 if line else None,
        position_at_least=line is not None and line.ahead >= COUNTED_MAX,
        estimated_start_at=moment(start_ms) if start_ms else None,
    )


def foretold(view: JobView, told: Explanation) -> JobView:
    """The view of a job with its place in line and the estimated time of its start."""
    return msgspec.structs.replace(
        view, position=told.position, estimated_start_at=told.estimated_start_at
    )


def estimated_start_ms(facts: Circumstances, job: Job) -> int | None:
    """When it will start by learned times, else if its lane goes on as it went; None: not known."""
    line, room = facts.line, facts.room
    stands = any(reason.stops for reason in obstacles(job.lane, facts))
    if line is None or room is None or stands or line.ahead >= COUNTED_MAX:
        return None
    if line.start_in_ms is not None:
        return facts.now_ms + line.start_in_ms
    if line.pace.starts < STARTS_MIN or not line.pace.over_ms:
        return None
    return facts.now_ms + round((line.ahead + 1) * line.pace.over_ms / line.pace.starts)


def _reasons(job: Job, facts: Circumstances, spool: Spooled | None) -> Iterator[Reason]:
    match job.state:
        case State.SPOOLED:
            yield _spooled(spool)
        case State.BLOCKED if facts.blocked:
            yield _blocked(job, facts.blocked)
        case State.ACTIVE:
            yield from _active(job, facts)
        case State.DELAYED | State.WAITING:
            yield from _not_started(job, facts)
        case _:
            yield _ended(job)


def _not_started(job: Job, facts: Circumstances) -> Iterator[Reason]:
    if job.state is State.DELAYED:
        yield _delayed(job, facts.now_ms)
    yield from obstacles(job.lane, facts)
    if facts.line is not None:
        yield from _in_line(job, facts.line)
    if job.expires_at_ms and not job.attempt:
        left = span(job.expires_at_ms - facts.now_ms)
        yield Reason("expires", f"It expires in {left} unless it has started by then.")


def obstacles(lane: Lane, facts: Circumstances) -> Iterator[Reason]:
    """What keeps the whole class, or all jobs of a lane, from starting."""
    room, hands = facts.room, facts.hands
    if room is not None and room.paused:
        name = lane.resource_class
        yield Reason("class_paused", f"Class {name} is paused.", stops=True)
    if hands is not None:
        yield from _no_hands(lane, hands)
    if room is not None:
        yield from _limits(lane, room)
    if hands is not None and hands.slots and hands.running >= hands.slots:
        yield Reason(
            "slots_full",
            f"{count(hands.with_model, 'worker')} could run it, with {count(hands.slots, 'slot')}, "
            "all in use.",
        )


def _no_hands(lane: Lane, hands: Hands) -> Iterator[Reason]:
    if not hands.able:
        lives = "lives" if hands.workers == 1 else "live"
        alive = f"{count(hands.workers, 'worker')} {lives}" if hands.workers else "no worker lives"
        yield Reason(
            "no_worker",
            f"No live worker of class {lane.resource_class} has the processor {lane.processor}: "
            f"{alive}.",
            stops=True,
        )
    elif not hands.with_model and hands.troubles:
        yield Reason(
            "host_away",
            f"No Ollama host can be asked for {lane.model} now: {'; '.join(hands.troubles)}.",
            stops=True,
        )
    elif not hands.with_model:
        yield Reason(
            "no_model",
            f"{count(hands.able, 'worker')} could run it, and none of their hosts has the model "
            f"{lane.model}.",
            stops=True,
        )


def _limits(lane: Lane, room: Room) -> Iterator[Reason]:
    name, app = lane.resource_class, lane.app
    full = [pool for pool, limit in room.limits.items() if _is_full(room.leases[pool], limit)]
    if full and len(full) == len(room.limits):
        said = ", ".join(f"{pool} {room.leases[pool]} of {room.limits[pool]}" for pool in full)
        zero = all(room.limits[pool] == 0 for pool in full)
        yield Reason("pool_full", f"As many run as may at once: {said}.", stops=zero)
    if room.app_limit is not None and room.app_running >= room.app_limit:
        yield Reason(
            "app_at_limit",
            f"App {app} runs {room.app_running} jobs in class {name}, and may run "
            f"{room.app_limit} at once.",
            stops=room.app_limit == 0,
        )
    for code, whose, use in (
        ("class_rate", f"class {name}", room.class_rate),
        ("app_rate", f"app {app} in class {name}", room.app_rate),
    ):
        if use is not None and not use.left:
            yield _rate(code, whose, use)


def _is_full(leases: int, limit: int | None) -> bool:
    return limit is not None and leases >= limit


def _rate(code: str, whose: str, use: RateUse) -> Reason:
    said = f"{use.rate.jobs} in {span(use.rate.per_ms)}"
    if use.wait_ms < 0:
        return Reason(code, f"The rate of {whose} is {said}: none may start.", stops=True)
    when = f"the next may start in {span(use.wait_ms)}"
    return Reason(code, f"The rate of {whose} is used up ({said}): {when}.")


def _in_line(job: Job, line: InLine) -> Iterator[Reason]:
    lane = job.lane
    model = f", {lane.model}" if lane.model else ""
    own = f"its lane ({lane.app}, {lane.priority}, {lane.processor}{model})"
    if line.ahead:
        least = "At least " if line.ahead >= COUNTED_MAX else ""
        are = "is" if line.ahead == 1 else "are"
        yield Reason("behind", f"{least}{count(line.ahead, 'job')} {are} before it in {own}.")
    else:
        yield Reason("next_in_lane", f"It is the next of {own}.")
    if line.lanes_ahead:
        are = "is" if line.lanes_ahead == 1 else "are"
        yield Reason(
            "others_ahead",
            f"{count(line.lanes_ahead, 'other lane')} of the class {are} more urgent, with "
            f"{count(line.others_ahead, 'job')} in them at most.",
        )
    if line.pace.starts:
        yield Reason(
            "pace",
            f"{count(line.pace.starts, 'job')} of its lane started in the last "
            f"{span(line.pace.over_ms)}.",
        )


def _delayed(job: Job, now_ms: int) -> Reason:
    left = job.due_ms - now_ms
    when = f"in {span(left)}" if left > 0 else "any moment"
    if job.attempt and job.fault is not None:
        return Reason(
            "retrying",
            f"Attempt {job.attempt} ended with {job.fault.code} ({job.fault.message}); "
            f"{job.failures} of {job.attempts_max} have failed. The next is due {when}.",
        )
    return Reason("delayed", f"It was asked to start later; it is due {when}.")


def _blocked(job: Job, blocked: Blocked) -> Reason:
    if blocked.waits_for:
        names = ", ".join(blocked.waits_for)
        stages = count(len(blocked.waits_for), "stage")
        said = f"Stage {job.stage} of flow {job.flow} waits for {stages}: {names}."
    elif job.flow:
        said = f"Stage {job.stage} of flow {job.flow} waits for nothing any more: it starts now."
    else:
        said = (
            f"It is a flow: {count(blocked.stages_left, 'stage')} with "
            f"{count(blocked.jobs_open, 'job')} have not ended."
        )
    return Reason("blocked", said)


def _active(job: Job, facts: Circumstances) -> Iterator[Reason]:
    if facts.lease_ms is not None and facts.lease_ms <= 0:
        yield Reason(
            "worker_silent",
            f"Worker {job.worker} has not renewed its lease for {span(-facts.lease_ms)}: another "
            f"may take the job. {job.crashes} of its attempts were lost so before.",
        )
        yield from obstacles(job.lane, facts)
        return
    ran = span(facts.now_ms - job.started_ms)
    far = f", {job.progress:.0%} done" if job.progress is not None else ""
    asked = " It was asked to stop." if job.cancel_requested else ""
    yield Reason("running", f"Attempt {job.attempt} has run for {ran} on {job.worker}{far}.{asked}")


def _ended(job: Job) -> Reason:
    why = f" with {job.fault.code}: {job.fault.message}" if job.fault else ""
    return Reason("ended", f"It ended {job.state} after {count(job.attempt, 'attempt')}{why}.")


def _spooled(spool: Spooled | None) -> Reason:
    if spool is None:
        return Reason("spooled", "Only a gateway's journal has it.")
    why = "Redis takes no jobs now" if spool.away else "it is on its way to Redis"
    return Reason(
        "spooled", f"Only this gateway's journal has it, with {spool.rows} spooled in all: {why}."
    )


def count(number: int, what: str) -> str:
    """`1 job`, `2,000 jobs`."""
    plural = "" if number == 1 else "s"
    return f"{number:,} {what}{plural}"


def span(ms: float) -> str:
    """A time span as one says it: `0.4 s`, `12 s`, `3 min`, `2.5 h`, `4 d`."""
    seconds = max(0.0, ms / 1_000)
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, unit, name in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} d"
