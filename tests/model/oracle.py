"""Which jobs a take must come upon, in order: the rule of `streams.dispatch` over a snapshot."""

from collections import Counter

from streams.dispatch import Situation, Source, pick
from streams.model import Lane, State, Take
from tests.model.invariants import CLASS
from tests.model.model import CRASHES_MAX, Model
from tests.model.snapshot import Snapshot

Head = tuple[int, str]  # age base, job


def picks(model: Model, before: Snapshot, after: Snapshot, call: Take) -> list[str]:
    """The ids; `after` is asked for nothing but the open time at which the take ran."""
    open_ms = int(after.get("clock_", CLASS)["open"])
    late = expired(before)
    room = call.slots
    if CLASS in model.limits:
        live = len(before.get("leases_", CLASS)) - len(late)
        room = min(room, model.limits[CLASS] - live)
    if room <= 0:
        return []
    sources = [
        (Source(Lane.parse(lane), tuple(base for base, _ in heads)), [job for _, job in heads])
        for lane, heads in waiting(model, before, open_ms).items()
    ]
    sources += [
        (Source(Lane.parse(lane), (base,), expired=True), [job])
        for lane, (base, job) in offered(model, before, late, call)
    ]
    mine = [source for source in sources if source[0].lane.processor in call.processors]
    silent = Counter(Lane.parse(lane).app for lane, _ in late)
    active = Counter(job.app for job in model.in_state(State.ACTIVE))
    turns = {app: int(turn) for app, turn in before.get("turns_", CLASS).items()}
    situation = Situation(
        open_ms,
        turn=turns.pop("", 0),
        turns=turns,
        limits={name.split("|")[1]: n for name, n in model.limits.items() if "|" in name},
        running=active - silent,
    )
    chosen = pick([source for source, _ in mine], situation, room)
    return [mine[each.source][1][each.entry] for each in chosen]


def waiting(model: Model, before: Snapshot, open_ms: int) -> dict[str, list[Head]]:
    """Each lane's undelivered entries, those included that the take promotes first."""
    found: dict[str, list[Head]] = {}
    for lane, stream in before.under("stream_").items():
        entries = [stream.entries[entry] for entry in stream.undelivered]
        found[lane] = [(int(entry["t"]), entry["j"]) for entry in entries]
    due = sorted((score, job_id) for job_id, score in before.get("due_", CLASS).items())
    for _, job_id in due:
        job = model.jobs[job_id]
        if job.due_now:
            found.setdefault(job.lane, []).append((open_ms, job_id))
    return found


def expired(before: Snapshot) -> list[tuple[str, str]]:
    """Lane and entry of each lease that ran out or was handed back, the oldest first."""
    leases = before.get("leases_", CLASS)
    late = sorted((score, member) for member, score in leases.items() if score <= 1)
    return [(member.rpartition("|")[0], member.rpartition("|")[2]) for _, member in late]


def offered(
    model: Model, before: Snapshot, late: list[tuple[str, str]], call: Take
) -> list[tuple[str, Head]]:
    """The late leases as heads. Of jobs whose next death is their last one may run at a time."""
    streams = before.under("stream_")
    name = before.get("clock_", CLASS).get("suspect", "")
    suspect = name if name in model.jobs and _runs(model, name) else ""
    found = []
    for lane, entry in late:
        fields = streams[lane].entries[entry]
        job = model.jobs[fields["j"]]
        if Lane.parse(lane).processor not in call.processors:
            continue
        crashes = job.crashes + (not job.handed_back)
        if crashes == CRASHES_MAX - 1:
            if suspect not in ("", job.id):
                continue
            suspect = job.id
        found.append((lane, (int(fields["t"]), job.id)))
    return found


def _runs(model: Model, job_id: str) -> bool:
    job = model.jobs[job_id]
    return job.state is State.ACTIVE and not job.free
