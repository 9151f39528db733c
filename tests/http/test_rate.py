"""Limits of apps: requests, bytes, jobs in flight; shared over gateways, kept without Redis."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.mirror import Mirror
from gateway.problems import RateLimited
from gateway.rate import BYTES, REQUESTS, Rates, quota_of, taken
from streams.clock import SystemClock
from streams.directory import AppLimits
from streams.errors import Unavailable
from streams.rates import Quota, RateStore
from tests.http.edge import Edge, echo, started_edge, stores


class Still(SystemClock):
    """Time moves when it is told to."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def monotonic(self) -> float:
        return self.at


class Away(RateStore):
    """A Redis that does not answer; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def take(self, *_: object) -> tuple[int, float]:
        self.asked += 1
        raise Unavailable("no route")


@contextlib.asynccontextmanager
async def limited(store: RateStore, clock: Still, **limits: AppLimits) -> AsyncIterator[Rates]:
    async def load() -> dict[str, AppLimits]:
        return {name.replace("every", "*"): one for name, one in limits.items()}

    mirror = Mirror("limits", load, SystemClock(), 2.0)
    await mirror.refresh()
    yield Rates(store, mirror, clock)


async def spent(rates: Rates, count: int, app: str = "web", what: str = REQUESTS) -> int:
    """How many of `count` requests pass."""
    passed = 0
    for _ in range(count):
        with contextlib.suppress(RateLimited):
            await rates.spend(app, what, 1)
            passed += 1
    return passed


RATE = st.floats(0.1, 5_000)


@given(RATE, st.integers(1, 1_000), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 1_500))))
def test_no_order_of_requests_gets_more_than_burst_and_rate(
    per_s: float, burst: int, asked: list[tuple[float, int]]
) -> None:
    quota, full_at, now, granted = Quota(per_s, burst), 0.0, 100.0, 0
    for pause_s, needed in asked:
        now += pause_s
        before = granted
        full_at, wait_s = taken(full_at, now, quota, needed)
        if wait_s:
            later, again = taken(full_at, now + wait_s, quota, needed)
            assert again == 0, "after the wait that was told it passes"
            assert later > full_at
        else:
            granted += needed
        # What was granted before this call and a full allowance fit into the time; one is lent.
        assert before <= burst + (now - 100.0) * per_s + 1_500 + 1e-3


async def test_the_limit_holds_over_two_gateways(redis: Redis) -> None:
    store, clock = stores(redis, redis).rates, Still()
    limits = AppLimits(requests_per_s=1, burst=40)
    async with limited(store, clock, web=limits) as one, limited(store, clock, web=limits) as two:
        passed = await asyncio.gather(spent(one, 60), spent(two, 60))
    assert 40 <= sum(passed) <= 42


async def test_a_share_is_taken_ahead_so_that_redis_is_asked_seldom(redis: Redis) -> None:
    store, clock = stores(redis, redis).rates, Still()
    async with limited(store, clock, web=AppLimits(requests_per_s=1_000)) as rates:
        assert await spent(rates, 500) == 500
    calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert calls <= 4


async def test_a_refusal_tells_when_and_is_remembered(redis: Redis) -> None:
    store, clock = stores(redis, redis).rates, Still()
    async with limited(store, clock, web=AppLimits(requests_per_s=0.5, burst=1)) as rates:
        await rates.spend("web", REQUESTS, 1)
        with pytest.raises(RateLimited) as refused:
            await rates.spend("web", REQUESTS, 1)
        assert 1.8 < refused.value.after_s <= 2.0
        await redis.config_resetstat()
        assert await spent(rates, 100) == 0
        assert "cmdstat_evalsha" not in await redis.info("commandstats")


async def test_more_than_the_burst_passes_once_when_nothing_was_used(redis: Redis) -> None:
    store, clock = stores(redis, redis).rates, Still()
    async with limited(store, clock, web=AppLimits(bytes_per_minute=600)) as rates:
        await rates.spend("web", BYTES, 1_800)
        with pytest.raises(RateLimited) as refused:
            await rates.spend("web", BYTES, 1)
        assert 119 < refused.value.after_s <= 121


async def test_without_redis_each_gateway_counts_alone(redis: Redis) -> None:
    store, clock = Away(), Still()
    async with limited(store, clock, web=AppLimits(requests_per_s=10, burst=5)) as rates:
        assert await spent(rates, 20) == 5
        assert store.asked == 1  # not again for a second
        clock.at += 0.5
        assert await spent(rates, 20) == 5
        clock.at += 1.0
        assert await spent(rates, 20) == 5
        assert store.asked > 1


async def test_a_redis_that_hangs_does_not_hold_requests_up(redis: Redis) -> None:
    class Hangs(Away):
        async def take(self, *_: object) -> tuple[int, float]:
            await asyncio.Event().wait()
            raise AssertionError

    async with limited(Hangs(), Still(), web=AppLimits(requests_per_s=10)) as rates:
        async with asyncio.timeout(2.0):
            assert await spent(rates, 5) == 5


async def test_limits_of_all_hold_for_those_without_their_own(redis: Redis) -> None:
    store, clock = stores(redis, redis).rates, Still()
    every, own = AppLimits(requests_per_s=1, burst=2), AppLimits(requests_per_s=1, burst=3)
    async with limited(store, clock, every=every, web=own) as rates:
        assert await spent(rates, 10, "web") == 3
        assert await spent(rates, 10, "other") == 2
        assert await spent(rates, 10, "*") == 10


async def test_a_changed_limit_holds_at_once(redis: Redis) -> None:
    rows = {"web": AppLimits(requests_per_s=100)}

    async def load() -> dict[str, AppLimits]:
        return rows

    mirror = Mirror("limits", load, SystemClock(), 2.0)
    await mirror.refresh()
    rates = Rates(stores(redis, redis).rates, mirror, Still())
    assert await spent(rates, 10) == 10
    rows["web"] = AppLimits(requests_per_s=1)
    await mirror.refresh()
    assert await spent(rates, 10) == 0  # the ten were used of the same allowance


def test_a_quota_says_how_many_at_once() -> None:
    assert quota_of(AppLimits(requests_per_s=0.2), REQUESTS) == Quota(0.2, 1)
    assert quota_of(AppLimits(requests_per_s=2.5), REQUESTS) == Quota(2.5, 3)
    assert quota_of(AppLimits(requests_per_s=2.5, burst=9), REQUESTS) == Quota(2.5, 9)
    assert quota_of(AppLimits(bytes_per_minute=600), BYTES) == Quota(10, 600)
    assert quota_of(AppLimits(), REQUESTS) is None


@pytest.fixture
async def strict(redis: Redis, redis_url: str) -> AsyncIterator[Edge]:
    """A gateway at which the app `etyde` may have few of everything."""
    async with started_edge(redis, redis_url) as edge:
        limits = {"requests_per_s": 0.01, "burst": 5, "jobs_in_flight": 3}
        reply = await edge.call("PATCH", "/v1/apps/etyde", limits, key="operator")
        assert reply.status_code == 200
        yield edge


async def test_an_app_over_its_rate_hears_when_to_come_back(strict: Edge) -> None:
    statuses = [(await strict.get("/v1/jobs")).status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    reply = await strict.get("/v1/jobs")
    assert reply.json()["code"] == "rate_limited"
    assert 90 <= int(reply.headers["retry-after"]) <= 100
    assert reply.headers["ratelimit"] == f'"requests";r=0;t={reply.headers["retry-after"]}'
    assert reply.headers["ratelimit-policy"] == '"requests";q=5'
    assert (await strict.get("/v1/jobs", key="other")).status_code == 200
    assert (await strict.get("/v1/jobs", key="operator")).status_code == 200


async def test_each_job_of_a_batch_counts(strict: Edge) -> None:
    batch = {"jobs": [echo()] * 3}
    assert (await strict.post("/v1/jobs:batch", batch)).status_code == 200
    codes = [(await strict.get("/v1/jobs")).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


async def test_jobs_in_flight_are_limited(strict: Edge) -> None:
    await strict.call("PATCH", "/v1/apps/etyde", {"requests_per_s": None}, key="operator")
    for _ in range(3):
        await strict.submit()
    refused = await strict.post("/v1/jobs", echo())
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["ratelimit-policy"] == '"jobs-in-flight";q=3'
    await strict.succeed()
    await strict.parts.rates.count()
    await strict.submit()
    assert (await strict.post("/v1/jobs:batch", {"jobs": [echo()]})).status_code == 429


async def test_bytes_are_limited(strict: Edge) -> None:
    limits = {"requests_per_s": None, "jobs_in_flight": None, "bytes_per_minute": 500}
    await strict.call("PATCH", "/v1/apps/etyde", limits, key="operator")
    large = echo(payload={"text": "x" * 450})
    assert (await strict.post("/v1/jobs", large)).status_code == 202
    assert (await strict.post("/v1/jobs", large)).status_code == 429


async def test_what_an_app_may_ask_is_shown_to_it(strict: Edge) -> None:
    mine = (await strict.get("/v1/apps", key="reader")).json()["items"]
    assert [(one["app"], one["own"], one["jobs_in_flight"]) for one in mine] == [("etyde", True, 3)]
    assert (await strict.get("/v1/apps/govejle", key="reader")).status_code == 404
    theirs = (await strict.get("/v1/apps/govejle", key="operator")).json()
    assert (theirs["own"], theirs["burst"]) == (False, None)
    forbidden = await strict.call("PATCH", "/v1/apps/etyde", {"burst": 9}, key="app-operator")
    assert forbidden.status_code == 403
    assert math.isclose((await strict.get("/v1/apps/etyde")).json()["requests_per_s"], 0.01)
