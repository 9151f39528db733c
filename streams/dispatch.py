"""The dispatch rule as a pure function: what a take leases next, and after that.

lua/lib/dispatch.lua is the same rule where it runs; the tests hold the two against each other.
A group is one (priority, model), and its score the age of its oldest head over the priority's
target. The best group is chosen, but the resident model's best keeps a lead of HYSTERESIS; then it
is the turn of the group's app that was served least recently; then comes that app's oldest head.
"""

from collections.abc import Mapping, Sequence

import msgspec

from streams.model import Lane, Priority

HYSTERESIS = 0.5
TARGET_MS = {Priority.HIGH: 120_000, Priority.NORMAL: 3_600_000, Priority.LOW: 14_400_000}
URGENCY = {Priority.HIGH: 3, Priority.NORMAL: 2, Priority.LOW: 1}

Group = tuple[Priority, str]


class Source(msgspec.Struct, frozen=True):
    """What leases may come from: a lane's undelivered entries, or one lease that ran out.

    `bases` are the age bases of its entries, oldest first: the class's open time when each became
    runnable.
    """

    lane: Lane
    bases: tuple[int, ...]
    expired: bool = False


class Situation(msgspec.Struct, frozen=True):
    """What else the rule looks at. An app without a limit may run any number,
    one without a rate may start any."""

    open_ms: int
    resident: str = ""
    turns: Mapping[str, int] = {}  # app → its latest turn, 0 for one that never had any
    turn: int = 0  # the latest turn of all
    limits: Mapping[str, int] = {}  # app → how many of its jobs may run at once
    running: Mapping[str, int] = {}  # app → how many run, expired leases left out
    starts: Mapping[str, int] = {}  # app, or nothing for all → how many its rate lets start


class Pick(msgspec.Struct, frozen=True):
    """One lease of a take: which source (by index), which of its entries, and the scores then."""

    source: int
    entry: int
    score: float
    best: float  # the best group's score, at most HYSTERESIS above `score`


def score(base_ms: int, open_ms: int, priority: Priority) -> float:
    """How urgent a head of that age base is: 1 when it has waited for its priority's target."""
    return (open_ms - base_ms) / TARGET_MS[priority]


def pick(sources: Sequence[Source], situation: Situation, room: int) -> list[Pick]:
    """The leases that a take with `room` free slots makes, in order."""
    dispatch = _Dispatch(sources, situation)
    picked: list[Pick] = []
    while len(picked) < room and (heads := dispatch.heads()):
        picked.append(dispatch.lease(heads))
    return picked


class _Dispatch:
    """The rule's state from one pick to the next."""

    def __init__(self, sources: Sequence[Source], situation: Situation) -> None:
        self.sources = sources
        self.situation = situation
        self.resident = situation.resident
        self.given = [0] * len(sources)
        self.turn = situation.turn
        self.turns = dict(situation.turns)
        self.running = dict(situation.running)
        self.starts = dict(situation.starts)

    def heads(self) -> list[int]:
        """Sources that have an entry left and whose app is at none of its limits."""
        return [
            index
            for index, source in enumerate(self.sources)
            if self.given[index] < len(source.bases) and not self._limited(source.lane.app)
        ]

    def lease(self, heads: Sequence[int]) -> Pick:
        scores: dict[Group, float] = {}
        for index in heads:
            lane = self.sources[index].lane
            name = (lane.priority, lane.model)
            own = score(self._base(index), self.situation.open_ms, lane.priority)
            scores[name] = max(own, scores.get(name, own))
        group = choose_group(scores, self.resident)
        index = self._choose_source([i for i in heads if self._group(i) == group])
        app, entry = self.sources[index].lane.app, self.given[index]
        self.given[index] += 1
        self.turn += 1
        self.turns[app] = self.turn
        self.running[app] = self.running.get(app, 0) + 1
        for whose in ("", app):
            if whose in self.starts:
                self.starts[whose] -= 1
        self.resident = group[1]
        return Pick(index, entry, scores[group], max(scores.values()))

    def _choose_source(self, heads: Sequence[int]) -> int:
        oldest: dict[str, int] = {}
        for index in sorted(heads, key=self._seniority):
            oldest.setdefault(self.sources[index].lane.app, index)
        app = min(oldest, key=lambda a: (self.turns.get(a, 0), self._base(oldest[a]), a))
        return oldest[app]

    def _seniority(self, index: int) -> tuple[int, bool, str, int]:
        """Of heads of the same age one that had been leased before comes first: it keeps its
        place."""
        source = self.sources[index]
        return (self._base(index), not source.expired, source.lane.name, index)

    def _limited(self, app: str) -> bool:
        limit = self.situation.limits.get(app)
        if limit is not None and self.running.get(app, 0) >= limit:
            return True
        return any(self.starts.get(whose, 1) < 1 for whose in ("", app))

    def _base(self, index: int) -> int:
        return self.sources[index].bases[self.given[index]]

    def _group(self, index: int) -> Group:
        lane = self.sources[index].lane
        return (lane.priority, lane.model)


def choose_group(scores: Mapping[Group, float], resident: str) -> Group:
    """The best group, or the resident model's best while it is less than HYSTERESIS behind."""

    def order(group: Group) -> tuple[float, int, str]:
        return (-scores[group], -URGENCY[group[0]], group[1])

    own = min((group for group in scores if group[1] == resident), key=order, default=None)
    other = min((group for group in scores if group[1] != resident), key=order, default=None)
    if own is None or (other is not None and scores[own] + HYSTERESIS < scores[other]):
        assert other is not None
        return other
    return own
