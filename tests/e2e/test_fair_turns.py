"""Ten thousand jobs of one app delay another app's job by one turn at most."""

import time
from collections.abc import Sequence

import httpx

from streams.events import Event
from tests.e2e.platform import Platform, accepted, ended

MANY, BATCH = 10_000, 1_000
TRIES = 20
SLOTS = 4
WORK_MS = 20


async def fill(http: httpx.AsyncClient) -> None:
    jobs = [{"processor": "gate", "payload": {"ms": WORK_MS}}] * BATCH
    for _ in range(MANY // BATCH):
        reply = await http.post("/v1/jobs:batch", json={"jobs": jobs})
        assert reply.json()["accepted"] == BATCH


def starts_before(events: Sequence[Event], job_id: str) -> int:
    """How many jobs of others started after this one was submitted and before it started."""
    kinds = [(event.kind, event.job_id) for event in events]
    submitted, started = kinds.index(("submitted", job_id)), kinds.index(("active", job_id))
    return sum(event.kind == "active" for event in events[submitted:started])


async def test_ten_thousand_waiting_jobs_of_one_app_cost_another_one_turn(bare: Platform) -> None:
    await bare.gateway()
    await bare.worker("w", worker__io_slots=SLOTS)
    many, few = await bare.app("many"), await bare.app("few")
    await fill(many)
    began = time.monotonic()
    ids = []
    for _ in range(TRIES):
        ids.append(await accepted(few, "gate", {}))
        assert (await ended(few, ids[-1]))["state"] == "succeeded"
    took_s = time.monotonic() - began
    left = await bare.count("waiting")
    assert left > MANY // 2  # there was a crowd all the time
    events = await bare.events()
    waited_for = [starts_before(events, job_id) for job_id in ids]
    assert max(waited_for) <= 1, waited_for
    print(f"{TRIES} jobs past {left} waiting ones in {took_s:.1f} s, starts before: {waited_for}")
    await bare.audited()
