"""What happened just now, over all workers: jobs and failures of the last minute.

One worker counts, and publishes for all; what it counts into is `Panes`. How much happened is
told by the tallies; events, which are many, are read for what was before, and for why jobs failed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from streams.events import Entry, Event, parse_event
from streams.keyspace import Keyspace
from streams.model import Lane, State
from streams.scripts import Client, Scripts, pairs, text, translated

PANE_S = 10
MINUTE_S = 60
FRESH_MS = 10_000  # an older publication is that of a worker that is gone
KEY_TTL_S = 60
ERRORS_MAX = 100  # of all processors
TALLIES_MAX = 20_000  # that are read at once: some milliseconds of Redis

SAID = {"submitted": "submitted", "replayed": "submitted", "started": "started"}  # of tallies
SAID |= {str(state): str(state) for state in State if state.ended}
FAILURES = ("retried", "put_back", str(State.DEAD))  # tallies; their events have the codes

Key = tuple[str, str, str]  # processor, what happened, the code of an error


class Panes(Protocol):
    """Counts by key, kept apart by panes of PANE_S seconds for a minute."""

    def add(self, key: Key, at_s: float, count: int) -> None:
        """Count something that happened at that time."""
        ...

    def between(self, from_s: float, until_s: float) -> Mapping[Key, int]:
        """The sums over the panes that begin in that time."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...


class Recent(msgspec.Struct, frozen=True):
    """What happened in the last minute, as far back as was seen."""

    by: str  # the worker that counted
    at_ms: int
    jobs: dict[str, dict[str, int]]  # processor → submitted, started, or the state of an end
    failures: dict[str, dict[str, int]]  # processor → code of the error


class Moment(msgspec.Struct, frozen=True):
    """The server's time, the newest event then, and how often what had ever happened."""

    ms: int
    newest: str
    tallies: dict[str, int] | None  # `what|lane` → times; None where there are too many


def changed(before: Moment, after: Moment) -> tuple[Counter[Key], bool] | None:
    """What happened between two moments, and whether any attempt failed.

    None where tallies do not tell: one has gone down, since Redis was emptied or lost its tail.
    """
    sums: Counter[Key] = Counter()
    failed = False
    if before.tallies is None or after.tallies is None:
        return None
    if before.tallies.keys() - after.tallies.keys():
        return None
    for field, times in after.tallies.items():
        more = times - before.tallies.get(field, 0)
        if more < 0:
            return None
        if more:
            what, _, lane = field.partition("|")
            failed = failed or what in FAILURES
            if what in SAID:
                sums[Lane.parse(lane).processor, SAID[what], ""] += more
    return sums, failed


def pane_of(ms: int) -> float:
    """The beginning of a moment's pane, in seconds."""
    return float(ms // 1_000 // PANE_S * PANE_S)


def keys_of(entries: Iterable[Entry]) -> Counter[tuple[Key, float]]:
    """What to count of events: the key, and the pane's beginning in seconds.

    Events are many and kinds of them few: of each kind one is taken apart.
    """
    alike: Counter[tuple[float, bytes, bytes, bytes]] = Counter()
    for entry in entries:
        pane_s = pane_of(int(entry.id.partition("-")[0]))
        for line in entry.lines.split(b"\n"):
            kind, _, lane, rest = line.split(b"\t", 3)
            if kind != b"progress":  # of which hardly two are alike
                state, _, more = rest.partition(b"\t")
                alike[pane_s, kind, lane, state + b"\t1\t" + more.partition(b"\t")[2]] += 1
    found: Counter[tuple[Key, float]] = Counter()
    for (pane_s, kind, lane, rest), count in alike.items():
        event = parse_event("0-0-0", text(b"\t".join((kind, b"", lane, rest))))
        for what, error in _told(event):
            found[(event.lane.processor, what, error), pane_s] += count
    return found


def recent_of(panes: Panes, by: str, now_ms: int) -> Recent:
    """The last minute."""
    now_s = now_ms / 1_000
    sums = panes.between(now_s - MINUTE_S, now_s + PANE_S)
    jobs: dict[str, dict[str, int]] = {}
    failures: dict[str, dict[str, int]] = {}
    for (processor, what, error), count in Counter(sums).most_common():
        if what != "failed":
            jobs.setdefault(processor, {})[what] = count
        elif sum(map(len, failures.values())) < ERRORS_MAX:
            failures.setdefault(processor, {})[error] = count
    return Recent(by, now_ms, jobs, failures)


class WindowStore:
    """What was published. Every method may raise errors.Unavailable."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._key = keyspace.key("recent")

    async def read(self) -> Recent | None:
        """The newest publication, None where nobody counts."""
        with translated():
            stored = await self._redis.get(self._key)
        return msgspec.json.decode(stored, type=Recent) if stored else None

    async def publish(self, recent: Recent) -> None:
        """Let everybody read it for a minute."""
        with translated():
            await self._redis.set(self._key, msgspec.json.encode(recent), ex=KEY_TTL_S)


class Moments:
    """Tells how things stand. May raise errors.Unavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def now(self) -> Moment:
        """All of one moment."""
        ms, newest, told = await self._scripts.run("moment", TALLIES_MAX)
        if told is None:
            return Moment(ms, text(newest), None)
        return Moment(ms, text(newest), {text(field): int(times) for field, times in pairs(told)})


def _told(event: Event) -> Iterable[tuple[str, str]]:
    """What an event counts as, with the code of the error if it is a failure."""
    code = event.fields.get("code", "")
    match event.kind:
        case "submitted":
            yield "submitted", ""
        case "active":
            yield "started", ""
        case "retrying":
            yield "failed", code
        case "ended":
            yield str(event.state), ""
            if event.state is State.DEAD:
                yield "failed", code
