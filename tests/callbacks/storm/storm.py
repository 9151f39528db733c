"""Many callbacks to receivers of which some fail: what became of each, and whether all is right."""

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streams.callbacks import CallbackFilter, CallbackState
from tests.callbacks.storm.scene import SCALED, Scene, opened
from tests.support.waiting import until

TEMPERS = (
    *("erring", "broken", "throttled", "resetting"),
    *("slow", "silent", "gone", "redirecting"),
)


@dataclass
class Outcome:
    """What became of a storm."""

    counts: Mapping[str, int]
    tempers: Counter[str]
    seen: Mapping[str, tuple[int, int, int]]  # webhook-id → attempts, accepted, bodies
    forged: int
    delivered: set[str]
    dead: dict[str, str]  # webhook-id → reason
    kills: int
    took_s: float
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def twice(self) -> int:
        """Deliveries that were accepted once more, with the same id and the same bytes."""
        return sum(accepted - 1 for _, accepted, _ in self.seen.values() if accepted > 1)

    def wrong(self, recorded: int) -> list[str]:
        """A sentence for each promise that was not kept."""
        found = []
        ended = len(self.delivered) + len(self.dead)
        if (self.counts["recorded"], self.counts["waiting"], ended) != (recorded, 0, recorded):
            found.append(f"{recorded} were recorded, {ended} ended: {dict(self.counts)}")
        if unreasoned := [one for one, reason in self.dead.items() if not reason]:
            found.append(f"{len(unreasoned)} dead letters without a reason")
        if untold := [one for one in self.delivered if self.seen.get(one, (0, 0, 0))[1] == 0]:
            found.append(f"{len(untold)} count as delivered and were accepted by nobody")
        if changed := [one for one, (_, _, bodies) in self.seen.items() if bodies != 1]:
            found.append(f"{len(changed)} came with different bytes")
        if self.forged:
            found.append(f"{self.forged} deliveries that the oracle did not verify")
        if strange := self.seen.keys() - self.delivered - self.dead.keys():
            found.append(f"{len(strange)} deliveries of callbacks that nobody recorded")
        return found


async def storm(
    folder: Path, callbacks: int, failing: float, seed: int, *, endpoints: int = 40, kills: int = 2
) -> Outcome:
    """Record `callbacks` over the endpoints, a share of which is `failing`; wait for all ends."""
    luck = random.Random(seed)
    bad = round(endpoints * failing)
    tempers = {f"127.0.1.{n + 1}": "healthy" for n in range(endpoints)}
    for index, address in enumerate(luck.sample(sorted(tempers), bad)):
        tempers[address] = TEMPERS[index % len(TEMPERS)]
    async with opened(folder, tempers, seed, scaled(callbacks)) as scene:
        registered = [(await scene.register(address), address) for address in tempers]
        for _ in range(2):
            await scene.couriers.start()
        began = time.monotonic()
        await scene.record([luck.choice(registered) for _ in range(callbacks)])
        for kill in range(1, kills + 1):
            share = callbacks * kill // (2 * kills + 2)
            await until(lambda least=share: _ended(scene, least), what="some", limit_s=120)
            await scene.couriers.kill()
            await scene.couriers.start()
        await until(
            lambda: _ended(scene, callbacks), what="every end", limit_s=300 + callbacks / 20
        )
        return await _outcome(scene, Counter(tempers.values()), time.monotonic() - began)


def scaled(callbacks: int) -> dict[str, str]:
    """Settings for a storm of that size: the longer it lasts, the more patient."""
    patience_s = 4 + callbacks / 1_000
    return SCALED | {
        "courier.total_timeout_s": str(patience_s),
        "courier.lease_ms": str(round(patience_s * 1_500)),
        "courier.give_up_s": str(5 + callbacks / 300),
    }


async def _ended(scene: Scene, least: int) -> bool:
    counts = await scene.counts()
    return counts.get("delivered", 0) + counts.get("dead", 0) >= least


async def _outcome(scene: Scene, tempers: Counter[str], took_s: float) -> Outcome:
    report = await scene.receiving.ask(report=True)
    ended: dict[CallbackState, dict[str, str]] = {}
    for state in (CallbackState.DELIVERED, CallbackState.DEAD):
        rows = ended[state] = {}
        wanted, cursor = CallbackFilter(states=(state,)), ""
        while True:
            page = await scene.store.page(wanted, cursor, 1_000)
            rows.update({view.record.id: view.reason for view in page.items})
            if not (cursor := page.cursor):
                break
    dead = ended[CallbackState.DEAD]
    return Outcome(
        counts=await scene.counts(),
        tempers=tempers,
        seen=report["seen"],
        forged=report["forged"],
        delivered=set(ended[CallbackState.DELIVERED]),
        dead=dead,
        kills=scene.couriers.killed,
        took_s=took_s,
        reasons=Counter(_kind(reason) for reason in dead.values()),
    )


def _kind(reason: str) -> str:
    """A reason without the name of its endpoint."""
    words = [word for word in reason.split() if not word.startswith("ep_")]
    return " ".join(words)
