"""What goes wrong when, drawn from a seed: the same seed, the same plan."""

import random
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from tests.chaos.cutting import Cut
from tests.chaos.ledger import FULL, LOST_TAIL


class Blow(StrEnum):
    """A kind of fault."""

    KILL_WORKER = "worker killed"
    PAUSE_WORKER = "worker stopped beyond its lease"
    KILL_GATEWAY = "gateway killed"
    KILL_REDIS = "Redis killed"
    LOSE_TAIL = LOST_TAIL
    FILL_REDIS = FULL
    CUT = "connections cut"


class Fault(msgspec.Struct, frozen=True):
    """One blow, due when so many jobs have ended."""

    after: int
    blow: Blow
    cut: Cut = Cut.NOW  # of CUT
    draw: float = 0.0  # picks the victim


def drawn(seed: int, jobs: int, counts: Mapping[Blow, int]) -> list[Fault]:
    """So many faults of each kind, spread over the time in which jobs end."""
    rng = random.Random(seed)
    blows = [blow for blow, count in counts.items() for _ in range(count)]
    rng.shuffle(blows)
    moments = sorted(rng.randint(jobs // 50, jobs * 9 // 10) for _ in blows)
    return [
        Fault(after, blow, rng.choice(list(Cut)), rng.random())
        for after, blow in zip(moments, blows, strict=True)
    ]
