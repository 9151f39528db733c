"""How fast lanes fill and empty: counted over the stream of events, a few entries at a time.

Reading costs the same however much happens: what is beyond ENTRIES_MAX between two looks is
skipped, and rates are taken over the time that was seen. A lane's history is reckoned backwards
from what waits now, so the first look has one too, as far as events are kept.
"""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from streams.events import Event, parse_event
from streams.keyspace import Keyspace
from streams.scripts import Client, text, translated

BUCKET_MS = 5_000
RATE_MS = 60_000  # the time over which rates are taken
KEPT_MS = 300_000  # the time over which a history goes
FIRST_MAX, ENTRIES_MAX = 1_000, 500
RECENT_MAX = 200  # events kept for those who want to see them

# What an event does to its lane's backlog. A retry comes back when it is due; a hand-back at once.
COMES = frozenset({"submitted", "retrying", "handed_back"})
GOES = "active"


class LanePace(msgspec.Struct, frozen=True):
    """Jobs a second that came into a lane, that were started, and that ended."""

    in_per_s: float = 0.0
    out_per_s: float = 0.0
    ended_per_s: float = 0.0


class Beat(msgspec.Struct):
    """What happened in one bucket of time: events by (lane, kind), and how long was looked at."""

    at_ms: int  # the beginning of the bucket
    seen_ms: int = 0
    counts: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)


class Pulse:
    """Follows the events; after five minutes without a `look` it begins anew."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._key = keyspace.key("events")
        self._beats: deque[Beat] = deque()
        self._lines: deque[tuple[str, str]] = deque(maxlen=RECENT_MAX)
        self._after = ""
        self._looked_ms = 0

    async def look(self) -> None:
        """Count what happened since the last look. Raises errors.Unavailable."""
        with translated():
            seconds, micros = await self._redis.time()
            now_ms = int(seconds) * 1_000 + int(micros) // 1_000
            first = self._looked_ms < now_ms - KEPT_MS
            if first:
                self._beats.clear()
                self._lines.clear()
                self._looked_ms = 0
            rows = await self._first(now_ms) if first else await self._next()
            full = len(rows) >= (FIRST_MAX if first else ENTRIES_MAX)
            newest = await self._redis.xrevrange(self._key, count=1) if full and not first else rows
        self._count(rows, now_ms, full=full, first=first)
        self._after = text(newest[-1][0]) if newest else self._after or f"{now_ms}-0"
        self._looked_ms = now_ms

    async def _first(self, now_ms: int) -> list[Any]:
        oldest = now_ms - KEPT_MS
        rows = await self._redis.xrevrange(self._key, "+", oldest, count=FIRST_MAX)
        return list(reversed(rows))

    async def _next(self) -> list[Any]:
        return list(await self._redis.xrange(self._key, f"({self._after}", "+", count=ENTRIES_MAX))

    def _count(self, rows: Sequence[Any], now_ms: int, *, full: bool, first: bool) -> None:
        since = self._looked_ms or now_ms - KEPT_MS
        until = now_ms
        if full and first:
            since = _at(rows[0][0])
        elif full:
            until = _at(rows[-1][0])
        self._see(max(since, now_ms - KEPT_MS), until)
        for raw, fields in rows:
            entry, beat = text(raw), self._beat(_at(raw))
            for number, line in enumerate(text(fields[b"e"]).split("\n")):
                kind, _, lane, _ = line.split("\t", 3)
                beat.counts[lane, kind] += 1
                self._lines.append((f"{entry}-{number}", line))
        while self._beats and self._beats[0].at_ms < now_ms - KEPT_MS - BUCKET_MS:
            self._beats.popleft()

    def _see(self, since: int, until: int) -> None:
        """Note that the time between was looked at."""
        while since < until:
            beat = self._beat(since)
            end = min(until, beat.at_ms + BUCKET_MS)
            beat.seen_ms += end - since
            since = end

    def _beat(self, at_ms: int) -> Beat:
        """The bucket of a moment, which is one of the newest."""
        start = at_ms - at_ms % BUCKET_MS
        for beat in reversed(self._beats):
            if beat.at_ms == start:
                return beat
            if beat.at_ms < start:
                break
        beat = Beat(start)
        place = sum(one.at_ms < start for one in self._beats)
        self._beats.insert(place, beat)
        return beat

    # ------------------------------------------------------------------ what was seen

    def paces(self) -> dict[str, LanePace]:
        """The pace of every lane where something happened in the last minute, by its name."""
        beats = [beat for beat in self._beats if beat.at_ms > self._looked_ms - RATE_MS]
        seconds = max(1.0, sum(beat.seen_ms for beat in beats) / 1_000)
        sums: dict[str, Counter[str]] = {}
        for beat in beats:
            for (lane, kind), count in beat.counts.items():
                word = "in" if kind in COMES else kind
                sums.setdefault(lane, Counter())[word] += count
        return {
            lane: LanePace(one["in"] / seconds, one[GOES] / seconds, one["ended"] / seconds)
            for lane, one in sums.items()
        }

    def history(self, lane: str, waiting: int, points: int = 20) -> tuple[int, ...]:
        """What waited in a lane over the last minutes, oldest first; the last point is now.

        Fewer points where less was seen. A burst that a skipped stretch hid makes it inexact.
        """
        step = KEPT_MS // points
        found, at, left = [waiting], self._looked_ms - step, waiting
        beats = list(self._beats)
        while beats and len(found) < points:
            while beats and beats[-1].at_ms >= at:
                left = max(0, left - _net(beats.pop(), lane))
            if not beats:
                break
            found.append(left)
            at -= step
        return tuple(reversed(found))

    def recent(self, after: str = "") -> Iterator[Event]:
        """The newest events, at most 200, oldest first; those after an id where one is given."""
        for event_id, line in self._lines:
            if not after or _place(event_id) > _place(after):
                yield parse_event(event_id, line)


def _net(beat: Beat, lane: str) -> int:
    came = sum(beat.counts[lane, kind] for kind in COMES)
    return came - beat.counts[lane, GOES]


def _at(entry: Any) -> int:
    return int(text(entry).partition("-")[0])


def _place(event_id: str) -> tuple[int, ...]:
    return tuple(map(int, event_id.split("-")))
