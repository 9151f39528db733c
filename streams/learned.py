"""How long things take, as far as was seen: means that follow what changes, kept in Redis.

A mean takes in a new value by SHARE, the first ones by as much as makes it their plain average;
lua/learn.lua does the same where several workers learn at once. The spread is the mean of how far
values lay from the mean.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from streams.keyspace import Keyspace
from streams.model import Lane
from streams.scripts import Client, Scripts, text, translated

SHARE = 0.1
KEPT_MAX = 2_000  # values held by one process that could not be written


class Mean(msgspec.Struct, frozen=True):
    """A mean in ms of `count` values, and how far they lie from it."""

    count: int
    mean_ms: float
    spread_ms: float

    @classmethod
    def of(cls, stored: str) -> "Mean":
        """The mean that learn.lua wrote."""
        count, mean_ms, spread_ms = stored.split(" ")
        return cls(int(count), float(mean_ms), float(spread_ms))


class Offness(msgspec.Struct, frozen=True):
    """How far estimates of starts were off, over the newest of `compared`. Milliseconds."""

    compared: int
    off_ms: float  # whatever the sign
    late_ms: float  # how much later than foretold; negative: earlier
    wait_ms: float  # how long it was until the start


class Learned(msgspec.Struct, frozen=True):
    """Everything that was learned, by field."""

    means: Mapping[str, Mean] = {}

    def run_ms(self, lane: Lane) -> float | None:
        """How long an attempt of the lane's jobs takes, without loads; None: nothing like it ran.

        What never ran takes as long as others on its model, else as others of its class.
        """
        own = self.means.get(run_field(lane))
        if own is not None:
            return own.mean_ms
        start, end = f"run|{lane.resource_class}|", f"|{lane.model}"
        alike = {name: mean for name, mean in self.means.items() if name.startswith(start)}
        near = [mean.mean_ms for name, mean in alike.items() if lane.model and name.endswith(end)]
        others = near or [mean.mean_ms for mean in alike.values()]
        return sum(others) / len(others) if others else None

    def known_load_s(self, model: str) -> float | None:
        """How many seconds a load of the model takes; None where none was seen."""
        own = self.means.get(load_field(model))
        return round(own.mean_ms / 1_000, 3) if own else None

    def load_ms(self, model: str) -> float:
        """How long it takes to load a model; one that was never seen, as long as the others."""
        own = self.means.get(load_field(model))
        if own is not None:
            return own.mean_ms
        others = [mean.mean_ms for name, mean in self.means.items() if name.startswith("load|")]
        return sum(others) / len(others) if others else 0.0


def offness_fields(resource_class: str) -> list[str]:
    """Where it is kept how far estimates for a class were off."""
    return [f"{what}|{resource_class}" for what in ("off", "late", "wait")]


def offness_of(stored: Sequence[bytes | None]) -> Offness | None:
    """How far estimates were off, from what the fields hold; None: none was compared yet."""
    if not all(stored):
        return None
    off, late, wait = (Mean.of(text(one)) for one in stored)
    return Offness(off.count, off.mean_ms, late.mean_ms, wait.mean_ms)


def run_field(lane: Lane) -> str:
    """Where the run time of a lane's attempts is kept."""
    return f"run|{lane.resource_class}|{lane.processor}|{lane.model}"


def load_field(model: str) -> str:
    """Where the load time of a model is kept."""
    return f"load|{model}"


def of_batch(values_ms: Sequence[float]) -> Mean:
    """The plain mean of some values and their mean distance from it."""
    mean = sum(values_ms) / len(values_ms)
    return Mean(len(values_ms), mean, sum(abs(v - mean) for v in values_ms) / len(values_ms))


async def read_learned(redis: Client, keyspace: Keyspace) -> Learned:
    """All that was learned: some hundred fields. Raises Unavailable."""
    with translated():
        rows = await redis.hgetall(keyspace.key("learned"))
    return Learned({text(name): Mean.of(text(stored)) for name, stored in rows.items()})


class LearnedTimes:
    """Adds to what was learned. May raise errors.Unavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def add(self, seen: Mapping[str, Sequence[float]]) -> None:
        """Take in what was seen, values in ms by field. Not repeatable."""
        arguments: list[str | int | float] = []
        for field, values in seen.items():
            if values:
                batch = of_batch(values)
                arguments += [field, batch.count, f"{batch.mean_ms:.3f}", f"{batch.spread_ms:.3f}"]
        if arguments:
            await self._scripts.run("learn", *arguments)


def merged(known: Mean | None, batch: Mean) -> Mean:
    """What learn.lua makes of a mean and a batch: the same rule, for the tests."""
    if known is None:
        return batch
    n = batch.count
    share = max(1 - (1 - SHARE) ** n, n / (known.count + n))
    mean = known.mean_ms + share * (batch.mean_ms - known.mean_ms)
    far = max(batch.spread_ms, abs(batch.mean_ms - known.mean_ms))
    return Mean(known.count + n, mean, known.spread_ms + share * (far - known.spread_ms))


def gathered(values: Iterable[tuple[str, float]], into: dict[str, list[float]]) -> bool:
    """Add values to those that wait to be written. Beyond KEPT_MAX they are dropped: then False."""
    held = sum(map(len, into.values()))
    for field, value in values:
        if held >= KEPT_MAX:
            return False
        into.setdefault(field, []).append(value)
        held += 1
    return True
