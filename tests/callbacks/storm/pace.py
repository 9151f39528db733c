"""Whether a dead and a tar-pit endpoint slow the others: interleaved rounds, with and without."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from tests.callbacks.storm.scene import SCALED, Scene, opened
from tests.support.waiting import until

HEALTHY = [f"127.0.1.{n}" for n in range(1, 9)]
BAD = {"127.0.2.1": "dead", "127.0.2.2": "tar pit"}
# Endless failures must stay under way for a whole round, at full width: no breaker, long timeouts.
PATIENT = SCALED | {
    "courier.total_timeout_s": "5",
    "courier.connect_timeout_s": "3",
    "courier.breaker_failures": "1000000",
    "courier.breaker_window": "1000000",
    "courier.grace_s": "1",
}


@dataclass
class Pace:
    """Seconds for the healthy endpoints' callbacks of each round."""

    alone_s: list[float]
    beside_s: list[float]

    @property
    def ratio(self) -> float:
        """How much longer it took beside them, by the medians of neighbouring rounds."""
        pairs = zip(self.alone_s, self.beside_s, strict=True)
        return statistics.median(beside / alone for alone, beside in pairs)


async def pace(folder: Path, seed: int, *, rounds: int = 7, callbacks: int = 1_600) -> Pace:
    """Measure `rounds` pairs; which of a pair comes first alternates."""
    tempers = dict.fromkeys(HEALTHY, "healthy") | BAD
    async with opened(folder, tempers, seed, PATIENT) as scene:
        healthy = [(await scene.register(address), address) for address in HEALTHY]
        await scene.couriers.start()
        await _round(scene, healthy, callbacks // 4, beside=False)  # until it is warm
        found: dict[bool, list[float]] = {False: [], True: []}
        for index in range(rounds):
            for beside in (bool(index % 2), not index % 2):
                found[beside].append(await _round(scene, healthy, callbacks, beside=beside))
        return Pace(found[False], found[True])


async def _round(
    scene: Scene, healthy: list[tuple[str, str]], callbacks: int, *, beside: bool
) -> float:
    """Seconds until the healthy ones have had theirs; `beside` bad ones with a backlog in front."""
    await until(lambda: _quiet(scene), what="the end of the round before", limit_s=120)
    bad = [(await scene.register(address), address) for address in BAD] if beside else []
    await scene.record([one for _ in range(100) for one in bad])
    before = (await scene.counts()).get("delivered", 0)
    began = time.monotonic()
    await scene.record([healthy[n % len(healthy)] for n in range(callbacks)])

    async def told() -> bool:
        return (await scene.counts()).get("delivered", 0) - before >= callbacks

    await until(told, what="the healthy ones' callbacks", limit_s=120)
    took_s = time.monotonic() - began
    for endpoint, _ in bad:
        await scene.registrar.store.delete(endpoint)
    return took_s


async def _quiet(scene: Scene) -> bool:
    """Whether nothing is left of the round before."""
    return not (await scene.counts()).get("waiting", 0)
