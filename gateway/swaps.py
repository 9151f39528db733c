"""Which model an Ollama host will load next, and about when: the dispatch rule, looked ahead.

An estimate: it takes heads to age as they do, and the resident model's jobs to go as they went.
"""

from collections.abc import Collection, Sequence

import msgspec

from streams.dispatch import HYSTERESIS, TARGET_MS
from streams.inspector import LaneView
from streams.pulse import LanePace

NO_PACE = LanePace()


class Swap(msgspec.Struct, frozen=True):
    """The next model of a host, and in how many seconds; None where nothing leads to it yet."""

    model: str
    in_s: float | None


class Demand(msgspec.Struct, frozen=True):
    """What waits for one model. `score` is the dispatch rule's; it rises by `rises_per_s`."""

    waiting: int
    score: float
    rises_per_s: float
    out_per_s: float


def demands(lanes: Sequence[tuple[LaneView, LanePace]]) -> dict[str, Demand]:
    """What waits, by model."""
    found: dict[str, Demand] = {}
    for view, pace in lanes:
        if not view.waiting:
            continue
        target_ms = TARGET_MS[view.lane.priority]
        own = Demand(
            view.waiting, view.oldest_age_ms / target_ms, 1_000 / target_ms, pace.out_per_s
        )
        model = view.lane.model
        found[model] = _together(found[model], own) if model in found else own
    return found


def next_swap(resident: str, wanted: dict[str, Demand], models: Collection[str]) -> Swap | None:
    """The next swap of a host that has `models`; None when nothing waits for another one."""
    others = {model: one for model, one in wanted.items() if model != resident and model in models}
    if not others:
        return None
    own = wanted.get(resident)
    if own is None:
        return Swap(max(others, key=lambda model: others[model].score), 0.0)
    at, model = min((_overtakes_s(own, one), name) for name, one in others.items())
    if own.out_per_s and own.waiting / own.out_per_s < at:
        at = own.waiting / own.out_per_s
        model = max(others, key=lambda name: others[name].score)
    return Swap(model, None if at == float("inf") else at)


def _overtakes_s(own: Demand, other: Demand) -> float:
    """When another model's score leaves the resident's behind by the hysteresis."""
    behind = own.score + HYSTERESIS - other.score
    # While the resident's jobs go, its head stays about as old as it is.
    gains = other.rises_per_s - (0.0 if own.out_per_s else own.rises_per_s)
    if behind <= 0:
        return 0.0
    return behind / gains if gains > 0 else float("inf")


def _together(one: Demand, other: Demand) -> Demand:
    best = max(one, other, key=lambda demand: demand.score)
    return Demand(
        one.waiting + other.waiting,
        best.score,
        best.rises_per_s,
        one.out_per_s + other.out_per_s,
    )
