"""The suites of `roughneck bench`, by name: what each measures, on how many jobs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import msgspec

from ops.bench import arrivals, crowds, drains, journeys, outages
from ops.bench.figures import Figure
from ops.bench.stage import Stage

Measure = Callable[[Stage], Awaitable[Sequence[Figure]]]


class Suite(msgspec.Struct, frozen=True):
    """One suite: its parts run one after the other, each on an empty Redis."""

    says: str
    parts: Sequence[Measure]
    logged: bool = False  # only with the append-only file, whatever was asked for


class Size(msgspec.Struct, frozen=True):
    """How much is measured."""

    jobs: int = 20_000
    slots: Sequence[int] = (1, 10, 100)
    seconds: int = 10  # of latency and of idling
    backlog: int = 1_000_000


def suites(size: Size) -> Mapping[str, Suite]:
    """All suites, in the order in which they run."""
    jobs, some = size.jobs, max(1_000, size.jobs // 4)
    waiting = (min(1_000, size.backlog), size.backlog)
    long = max(jobs, size.backlog // 10)  # what a worker reads at its start takes it a moment
    drain = [partial(drains.drain, slots=each, jobs=_for(each, jobs)) for each in size.slots]
    return {
        "drain": Suite("waiting jobs, by slots", drain),
        "enqueue": Suite("submits to Redis", [partial(arrivals.enqueue, jobs=some)]),
        "http": Suite("submits to a gateway", [partial(arrivals.http, jobs=some)]),
        "latency": Suite(
            "submit to start",
            [
                partial(journeys.latency, rate=100, seconds=size.seconds),
                partial(journeys.latency, rate=1_000, seconds=size.seconds),
            ],
        ),
        "idle": Suite("nothing to do", [partial(journeys.idle, seconds=size.seconds)]),
        "memory": Suite("of Redis, for a job", [partial(arrivals.memory, jobs=jobs)]),
        "backlog": Suite("as more wait", [partial(drains.backlog, waiting=waiting, jobs=long)]),
        "lanes": Suite("as lanes grow", [partial(drains.by_lanes, counts=(3, 150), jobs=jobs)]),
        "apps": Suite("as apps grow", [partial(drains.by_apps, counts=(3, 150), jobs=jobs)]),
        "workers": Suite(
            "one and two",
            [
                partial(drains.workers, jobs=jobs, slots=100),
                partial(drains.workers, jobs=some, slots=10, sleep_s=0.01),
            ],
        ),
        "schedules": Suite("many", [partial(crowds.schedules, count=500, jobs=some)]),
        "dead-letters": Suite("many", [partial(crowds.dead_letters, count=jobs, jobs=some)]),
        "flows": Suite("of three stages", [partial(journeys.flows, count=some // 5)]),
        "callbacks": Suite("signed, delivered", [partial(journeys.callbacks, count=some // 5)]),
        "recovery": Suite("a killed worker's jobs", [outages.recovery]),
        "restart": Suite("worker and Redis", [partial(outages.restart, jobs=jobs)], logged=True),
    }


def _for(slots: int, jobs: int) -> int:
    """With one slot each job is a round trip: fewer of them say as much."""
    return jobs if slots > 1 else max(1_000, jobs // 10)
