"""When a waiting job starts: the dispatch rule played ahead over what waits. Pure.

What comes in later is not foreseen, so urgent work that is yet to come makes an estimate too early.
How far estimates are off is learned too (`streams.loops.forecaster`).
"""

import heapq
from collections.abc import Sequence

import msgspec

from streams.dispatch import choose_group, score
from streams.learned import Learned
from streams.model import Lane, Priority

STEPS_MAX = 2_000  # starts that are played; what lies beyond is not estimated


class Queued(msgspec.Struct, frozen=True):
    """What waits in one lane: how many, and the age bases of the first and the last."""

    lane: Lane
    count: int
    first_ms: int
    last_ms: int

    def base_ms(self, index: int) -> int:
        """The age base of the entry of that index, as if all had come evenly."""
        if self.count < 2:
            return self.first_ms
        return self.first_ms + (self.last_ms - self.first_ms) * index // (self.count - 1)


class Server(msgspec.Struct, frozen=True):
    """One pool: how many attempts it may run at once, how many it runs, and what it can run."""

    pool: str
    slots: int
    running: int
    processors: frozenset[str]
    models: frozenset[str] = frozenset()
    resident: str = ""

    def can_run(self, lane: Lane) -> bool:
        """Whether jobs of the lane may run here."""
        return lane.processor in self.processors and (not lane.model or lane.model in self.models)


class Outlook(msgspec.Struct, frozen=True):
    """A class as it stands: its open time, what waits, who serves it, who was served when."""

    open_ms: int
    lanes: tuple[Queued, ...]
    servers: tuple[Server, ...]
    learned: Learned
    turns: dict[str, int] = {}


def start_in_ms(outlook: Outlook, lane: Lane, ahead: int) -> int | None:
    """In how many ms the entry with `ahead` others before it in `lane` starts.

    None where nobody serves it, nothing is learned, or it lies too far behind.
    """
    if not any(server.slots and server.can_run(lane) for server in outlook.servers):
        return None
    if outlook.learned.run_ms(lane) is None:
        return None
    return _Play(outlook).until(lane.name, ahead)


class _Play:
    """The state of the class from one start to the next."""

    def __init__(self, outlook: Outlook) -> None:
        self.outlook = outlook
        self.given = {queued.lane.name: 0 for queued in outlook.lanes}
        self.turns = dict(outlook.turns)
        self.turn = max(self.turns.values(), default=0)
        self.free: list[tuple[float, int, str]] = []  # (when, which server, its resident model)
        for index, server in enumerate(outlook.servers):
            for slot in range(server.slots):
                busy = self._half_run_ms(server) if slot < server.running else 0.0
                heapq.heappush(self.free, (busy, index, server.resident))

    def until(self, lane: str, ahead: int) -> int | None:
        for _ in range(STEPS_MAX):
            if not self.free:
                return None
            at, index, resident = heapq.heappop(self.free)
            queued = self._choose(self.outlook.servers[index], at, resident)
            if queued is None:
                continue  # nothing for this slot, and nothing more will come
            if queued.lane.name == lane and self.given[lane] == ahead:
                return round(at)
            self._start(queued, at, index, resident)
        return None

    def _start(self, queued: Queued, at: float, index: int, resident: str) -> None:
        lane, learned = queued.lane, self.outlook.learned
        self.given[lane.name] += 1
        self.turn += 1
        self.turns[lane.app] = self.turn
        load = learned.load_ms(lane.model) if lane.model and lane.model != resident else 0.0
        run = learned.run_ms(lane)
        heapq.heappush(self.free, (at + load + (run or 0.0), index, lane.model or resident))

    def _choose(self, server: Server, at: float, resident: str) -> Queued | None:
        heads = [
            queued
            for queued in self.outlook.lanes
            if self.given[queued.lane.name] < queued.count and server.can_run(queued.lane)
        ]
        if not heads:
            return None
        scores: dict[tuple[Priority, str], float] = {}
        for queued in heads:
            group = (queued.lane.priority, queued.lane.model)
            own = score(self._base(queued), self.outlook.open_ms + round(at), queued.lane.priority)
            scores[group] = max(own, scores.get(group, own))
        group = choose_group(scores, resident)
        return self._turn_of([q for q in heads if (q.lane.priority, q.lane.model) == group])

    def _turn_of(self, heads: Sequence[Queued]) -> Queued:
        oldest: dict[str, Queued] = {}
        for queued in sorted(heads, key=self._base):
            oldest.setdefault(queued.lane.app, queued)
        app = min(oldest, key=lambda a: (self.turns.get(a, 0), self._base(oldest[a]), a))
        return oldest[app]

    def _base(self, queued: Queued) -> int:
        return queued.base_ms(self.given[queued.lane.name])

    def _half_run_ms(self, server: Server) -> float:
        """What runs has run for half of its time, on average."""
        runs = [
            run
            for queued in self.outlook.lanes
            if server.can_run(queued.lane) and (run := self.outlook.learned.run_ms(queued.lane))
        ]
        return sum(runs) / len(runs) / 2 if runs else 0.0
