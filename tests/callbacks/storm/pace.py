"""Whether a dead and a tar-pit endpoint slow the others: twins at the same moment, one beside them.

Both twins have a Redis, receivers and a courier of their own, and share the machine; whatever else
runs on it weighs on both. Each round the other one has the bad endpoints.
"""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.callbacks.storm.scene import SCALED, Scene, opened
from tests.support.waiting import until

HEALTHY = [f"127.0.1.{n}" for n in range(1, 9)]
BAD = {"127.0.2.1": "dead", "127.0.2.2": "tar pit"}
BACKLOG = 100  # callbacks to each of them
# They must be at their worst for a whole round: no breaker, timeouts that are longer than it.
PATIENT = SCALED | {
    "courier.total_timeout_s": "5",
    "courier.connect_timeout_s": "3",
    "courier.breaker_failures": "1000000",
    "courier.breaker_window": "1000000",
    "courier.grace_s": "1",
}

Twin = tuple[Scene, list[tuple[str, str]]]  # with its healthy endpoints and their addresses


@dataclass
class Pace:
    """Seconds for the healthy endpoints' callbacks of each round."""

    alone_s: list[float]
    beside_s: list[float]

    @property
    def ratio(self) -> float:
        """How much longer it took beside them, by the median of the rounds."""
        rounds = zip(self.alone_s, self.beside_s, strict=True)
        return statistics.median(beside / alone for alone, beside in rounds)


async def pace(folder: Path, seed: int, *, rounds: int = 14, callbacks: int = 500) -> Pace:
    """Measure that many rounds of as many callbacks to the healthy ones."""
    async with AsyncExitStack() as stack:
        twins = [await _twin(stack, folder / name, seed) for name in ("left", "right")]
        await asyncio.gather(*(_round(twin, callbacks // 2, beside=False) for twin in twins))
        alone_s, beside_s = [], []
        for index in range(rounds):
            await asyncio.gather(*(_quiet(scene) for scene, _ in twins))
            first, second = twins if index % 2 else twins[::-1]
            took_s = await asyncio.gather(
                _round(first, callbacks, beside=False), _round(second, callbacks, beside=True)
            )
            alone_s.append(took_s[0])
            beside_s.append(took_s[1])
        return Pace(alone_s, beside_s)


async def _twin(stack: AsyncExitStack, folder: Path, seed: int) -> Twin:
    folder.mkdir()  # noqa: ASYNC240 - nothing waits for it
    tempers = dict.fromkeys(HEALTHY, "healthy") | BAD
    scene = await stack.enter_async_context(opened(folder, tempers, seed, PATIENT))
    healthy = [(await scene.register(address), address) for address in HEALTHY]
    await scene.couriers.start()
    return scene, healthy


async def _round(twin: Twin, callbacks: int, *, beside: bool) -> float:
    """Seconds until the healthy ones have had theirs; `beside` bad ones with a backlog in front."""
    scene, healthy = twin
    bad = [(await scene.register(address), address) for address in BAD] if beside else []
    await scene.record([one for _ in range(BACKLOG) for one in bad])
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


async def _quiet(scene: Scene) -> None:
    """Until nothing is left of the round before."""

    async def over() -> bool:
        return not (await scene.counts()).get("waiting", 0)

    await until(over, what="the end of the round before", limit_s=120)
