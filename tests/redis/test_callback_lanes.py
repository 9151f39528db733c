"""One lane of callbacks for each endpoint: room, order, the breaker, and what disables it."""

import msgspec
import pytest
from redis.asyncio import Redis

from streams.broker import Broker
from streams.callbacks import CallbackFilter, CallbackLease, CallbackState, CallbackStore
from streams.deliveries import (
    BreakerRule,
    DeadDelivery,
    Delivered,
    DeliveryLimits,
    DeliverySettlement,
    DeliveryVerdict,
    RetryDelivery,
)
from streams.directory import Endpoint
from streams.endpoints import EndpointHealth
from streams.errors import OutOfMemory
from streams.model import CallbackRequest, State
from streams.settings import EngineSettings
from tests.redis.scenes import KEYS
from tests.support.build import new_job

RULE = BreakerRule(failures=3, window=6, open_ms=60_000, open_max_ms=150_000, give_up_ms=10**9)
FAILED = RetryDelivery(60_000, "no", 503, error="status_5xx")
GONE = DeadDelivery("it said 410", 410, gone=True)


class Post:
    """A courier's hand on a store, with endpoints to send to."""

    def __init__(self, redis: "Redis", broker: Broker) -> None:
        self.redis = redis
        self.broker = broker
        self.store = CallbackStore(redis, KEYS, EngineSettings())
        self.sequence = 0

    async def register(self, *names: str, host: str = "", **fields: object) -> None:
        for name in names:
            url = f"https://{host or name + '.example'}/"
            one = Endpoint(name, "etyde", url, (), (State.CANCELLED,), 1, **fields)  # type: ignore[arg-type]
            await self.store.endpoints.put(one)

    async def record(self, endpoint: str, count: int = 1) -> list[str]:
        """That many callbacks of jobs that end one after another; the jobs' ids."""
        told = CallbackRequest("https://app.example/hook", endpoint)
        jobs = [new_job(callback=told) for _ in range(count)]
        await self.broker.submit(jobs)
        for job in jobs:
            await self.broker.cancel(job.id, "over")
        return [job.id for job in jobs]

    async def take(self, slots: int = 100, **limits: int) -> list[CallbackLease]:
        self.sequence += 1
        given = DeliveryLimits(**limits)
        taken = await self.store.take("courier-a", self.sequence, slots, 30_000, given)
        self.look_again_ms = taken.look_again_ms
        return list(taken.leases)

    async def settle(self, lease: CallbackLease, verdict: DeliveryVerdict) -> str:
        """Settle one; what became of its endpoint."""
        one = DeliverySettlement(lease.id, lease.token, verdict)
        (settled,) = await self.store.settle_all([one], RULE)
        return settled.endpoint

    async def health(self, endpoint: str = "a") -> EndpointHealth:
        return (await self.store.endpoints.health([endpoint]))[endpoint]

    async def later(self, endpoint: str = "a") -> None:
        """The breaker's time has passed, leases have run out, and what waits is due."""
        key = KEYS.key("endpoint_", endpoint)
        if await self.redis.hexists(key, "until"):
            await self.redis.hset(key, "until", 1)
        for name in ("callback_leases", "callback_due", "callback_lanes"):
            members = await self.redis.zrange(KEYS.key(name), 0, -1)
            if members:
                await self.redis.zadd(KEYS.key(name), dict.fromkeys(members, 1), xx=True)

    async def state_of(self, state: CallbackState) -> list[str]:
        page = await self.store.page(CallbackFilter(states=(state,)))
        return [view.reason for view in page.items]


@pytest.fixture
def post(redis: "Redis", broker: Broker) -> Post:
    return Post(redis, broker)


def whither(leases: list[CallbackLease]) -> list[str]:
    return sorted(lease.record.endpoint for lease in leases)


async def test_an_endpoint_gets_four_at_once_and_one_more_for_each_that_ends(post: Post) -> None:
    await post.register("a", "b")
    await post.record("a", 10)
    await post.record("b", 2)
    first = await post.take()
    assert whither(first) == ["a"] * 4 + ["b"] * 2
    assert await post.take() == []
    await post.settle(next(one for one in first if one.record.endpoint == "a"), Delivered(200))
    assert whither(await post.take()) == ["a"]


async def test_few_slots_go_round_all_endpoints(post: Post) -> None:
    await post.register("a", "b", "c")
    for name in ("a", "b", "c"):
        await post.record(name, 8)
    given = [lease for _ in range(6) for lease in await post.take(1, endpoint=8)]
    assert whither(given) == ["a", "a", "b", "b", "c", "c"]


async def test_a_host_gets_no_more_than_its_share(post: Post) -> None:
    await post.register("a", "b", "c", host="shared.example")
    await post.register("d")
    for name in ("a", "b", "c", "d"):
        await post.record(name, 4)
    first = await post.take(host=6)
    assert whither(first).count("d") == 4
    shared = [one for one in first if one.record.endpoint != "d"]
    assert len(shared) == 6
    for lease in shared[:2]:
        await post.settle(lease, Delivered(200))
    await post.redis.zadd(KEYS.key("callback_lanes"), {"a": 1, "b": 1, "c": 1}, xx=True)
    again = [one for one in await post.take(host=6) if one.id not in {s.id for s in first}]
    assert len(again) == 2
    for lease in (*shared[2:], *again):
        await post.settle(lease, Delivered(200))
    assert set(await post.redis.hgetall(KEYS.key("callback_hosts"))) <= {b"d.example"}


async def test_an_ordered_endpoint_waits_for_the_head(post: Post) -> None:
    await post.register("a", ordered=True)
    jobs = await post.record("a", 3)
    order = []
    (head,) = await post.take()
    await post.settle(head, FAILED)
    assert await post.take() == [], "the head is not due, and nothing overtakes it"
    await post.later()
    (again,) = await post.take()
    assert (again.id, again.attempt, again.token != head.token) == (head.id, 2, True)
    assert await post.store.settle(head.id, head.token, Delivered(200)) == "lost"
    order.append(again.record.job_id)
    await post.settle(again, DeadDelivery("given up", 500))
    for _ in range(2):
        (lease,) = await post.take()
        order.append(lease.record.job_id)
        await post.settle(lease, Delivered(200))
    assert order == jobs
    assert await post.redis.exists(KEYS.key("callbacks_", "a")) == 0


async def test_failures_in_a_row_open_the_breaker_and_one_probe_closes_it(post: Post) -> None:
    await post.register("a")
    await post.record("a", 8)
    first = await post.take()
    whats = [await post.settle(lease, FAILED) for lease in first]
    assert whats == ["", "", "opened", ""], "the fourth was under way: no news"
    assert await post.take() == []
    assert 0 < post.look_again_ms <= 1_000
    assert (await post.health()).failures == 3
    await post.later()
    (probe,) = await post.take()
    await post.redis.zadd(KEYS.key("callback_lanes"), {"a": 1})
    assert await post.take() == [], "one probe at a time"
    assert await post.settle(probe, Delivered(200)) == "closed"
    assert (await post.health()) == EndpointHealth()
    assert len(await post.take()) == 4


async def test_each_failed_probe_doubles_the_time_up_to_the_cap(post: Post) -> None:
    await post.register("a")
    await post.record("a", 10)
    for lease in await post.take():
        await post.settle(lease, FAILED)
    spans = []
    for _ in range(3):
        await post.later()
        (probe,) = await post.take(1)
        await post.settle(probe, FAILED)
        now_ms = int((await post.redis.time())[0]) * 1_000
        spans.append(round(((await post.health()).open_until_ms - now_ms) / 1_000, -1))
    assert spans == [120, 150, 150]


async def test_open_time_uses_no_attempts(post: Post) -> None:
    await post.register("a")
    await post.record("a", 6)
    for lease in await post.take():
        await post.settle(lease, FAILED)
    page = await post.store.page()
    before = sorted(view.tries for view in page.items)
    for _ in range(5):
        await post.redis.zadd(KEYS.key("callback_lanes"), {"a": 1})
        assert await post.take() == []
    page = await post.store.page()
    assert sorted(view.tries for view in page.items) == before == [0, 0, 1, 1, 1, 1]


async def test_more_than_half_of_the_last_ones_open_the_breaker(post: Post) -> None:
    await post.register("a")
    await post.record("a", 20)
    whats = []
    for verdict in (FAILED, FAILED, Delivered(200), FAILED, FAILED, Delivered(200)):
        await post.later()
        (lease,) = await post.take(1)
        whats.append(await post.settle(lease, verdict))
    assert whats == ["", "", "", "", "opened", "closed"], "never three in a row, but four of six"


async def test_what_says_nothing_of_the_receiver_opens_nothing(post: Post) -> None:
    await post.register("a")
    await post.record("a", 12)
    silent = (
        RetryDelivery(0, "no key", counts=False),
        DeadDelivery("10.0.0.1 is private", error="refused"),
        DeadDelivery("no secret", error="unsigned"),
    )
    for verdict in silent * 4:
        (lease,) = await post.take(1)
        await post.settle(lease, verdict)
    assert await post.health() == EndpointHealth()


async def test_410_disables_and_the_rest_become_dead_letters_until_enabled(post: Post) -> None:
    await post.register("a")
    await post.record("a", 7)
    (first, *rest) = await post.take()
    assert await post.settle(first, GONE) == "disabled"
    await post.record("a")
    await post.settle(rest[0], FAILED)
    assert await post.take() == []
    told = "endpoint a is disabled: it said 410"
    assert sorted(await post.state_of(CallbackState.DEAD)) == [*[told] * 4, "it said 410"]
    for lease in rest[1:]:
        await post.settle(lease, Delivered(200))
    await post.later()
    assert await post.take() == []
    counts = await post.store.counts()
    assert counts == {"recorded": 8, "waiting": 0, "delivered": 2, "dead": 6}
    assert await post.store.endpoints.enable("a") > 0
    dead = [id_ async for ids in post.store.matching(CallbackFilter(endpoint="a")) for id_ in ids]
    assert await post.store.replay(dead) == 8
    assert len(await post.take(endpoint=9)) == 8


async def test_a_verdict_about_an_endpoint_as_it_was_does_not_disable_it_as_it_is(
    post: Post,
) -> None:
    await post.register("a")
    await post.record("a", 2)
    first, second = await post.take()
    endpoint = await post.store.endpoints.get("a")
    assert endpoint is not None
    moved = await post.store.endpoints.change(
        "a", lambda one: msgspec.structs.replace(one, url="https://new.example/")
    )
    assert moved is not None
    assert await post.settle(first, GONE) == ""
    await post.record("a", 2)
    third, fourth = await post.take()
    assert await post.settle(third, GONE) == "disabled"
    assert await post.store.endpoints.enable("a") > 0
    assert await post.settle(second, GONE) == ""
    assert await post.settle(fourth, GONE) == "", (
        "it was on its way before the endpoint was enabled"
    )
    assert (await post.health()).disabled == ""


async def test_nothing_but_failures_for_days_disables(post: Post) -> None:
    await post.register("a")
    await post.record("a", 6)
    for lease in await post.take():
        await post.settle(lease, FAILED)
    assert (await post.health()).disabled == ""
    await post.redis.hset(KEYS.key("endpoint_", "a"), "failing", 1)
    await post.later()
    (probe,) = await post.take(1)
    assert await post.settle(probe, FAILED) == "disabled"
    assert "nothing but failures for 11 days" in (await post.health()).disabled


async def test_of_a_deleted_endpoint_nothing_is_remembered(post: Post) -> None:
    await post.register("a")
    await post.record("a", 6)
    leases = await post.take()
    assert await post.store.endpoints.delete("a")
    assert not await post.store.endpoints.delete("a")
    for lease in leases:
        await post.settle(lease, FAILED)
    assert await post.redis.exists(KEYS.key("endpoint_", "a")) == 0
    assert [one.edition for one in await post.take()] == ["", ""], "the courier says what is wrong"


async def test_the_breaker_also_holds_back_what_a_dead_courier_left(post: Post) -> None:
    await post.register("a")
    await post.record("a", 4)
    leases = await post.take()
    for lease in leases[:3]:
        await post.settle(lease, FAILED)
    await post.redis.zadd(KEYS.key("callback_leases"), {await member(post, leases[3]): 1}, xx=True)
    assert await post.take() == []
    await post.later()
    (probe,) = await post.take()
    assert probe.id in {lease.id for lease in leases}


async def member(post: Post, lease: CallbackLease) -> str:
    (found,) = [
        name.decode()
        for name in await post.redis.zrange(KEYS.key("callback_leases"), 0, -1)
        if name.decode().startswith(lease.id)
    ]
    return found


async def test_the_sweep_finds_what_was_taken_by_hand_and_lanes_that_nobody_looks_at(
    post: Post,
) -> None:
    await post.register("a")
    await post.record("a", 2)
    assert await post.take(0) == []
    await post.redis.xgroup_create(KEYS.key("callbacks_", "a"), "couriers", "0")
    await post.redis.xreadgroup("couriers", "somebody", {KEYS.key("callbacks_", "a"): ">"}, 1)
    await post.redis.delete(KEYS.key("callback_lanes"))
    await post.redis.hset(KEYS.key("callback_hosts"), "gone.example", 99)
    assert await post.store.sweep("a") == (2, "-")
    assert await post.store.sweep("a") == (0, "-")
    await post.store.recount_hosts()
    assert len(await post.take()) == 2
    assert await post.redis.hgetall(KEYS.key("callback_hosts")) == {b"a.example": b"2"}


async def test_endpoints_are_changed_only_by_who_has_read_them(post: Post) -> None:
    await post.register("a")
    store, calls = post.store.endpoints, 0

    def change(endpoint: Endpoint) -> Endpoint:
        return msgspec.structs.replace(endpoint, events=(*endpoint.events, State.DEAD))

    async def overtaken() -> None:
        nonlocal calls
        real = store._raw

        async def raw(endpoint_id: str) -> bytes:
            nonlocal calls
            calls += 1
            found = await real(endpoint_id)
            if calls == 1:  # somebody else writes between our read and our write
                store._raw = real  # type: ignore[method-assign]
                await store.change(
                    "a", lambda one: msgspec.structs.replace(one, secrets=("sealed",))
                )
                store._raw = raw  # type: ignore[method-assign]
            return found

        store._raw = raw  # type: ignore[method-assign]
        await store.change("a", change)
        store._raw = real  # type: ignore[method-assign]

    await overtaken()
    changed = await store.get("a")
    assert changed is not None
    assert (changed.secrets, changed.events) == (("sealed",), (State.CANCELLED, State.DEAD))
    assert await store.change("none", change) is None


async def test_callbacks_are_found_by_endpoint_and_by_when_their_jobs_ended(post: Post) -> None:
    await post.register("a", "b")
    await post.record("a", 3)
    await post.record("b", 1)
    for lease in await post.take():
        await post.settle(lease, DeadDelivery("no"))
    views = (await post.store.page()).items
    ends = sorted(view.record.ended_ms for view in views)

    async def found(**given: object) -> int:
        wanted = CallbackFilter(**given)  # type: ignore[arg-type]
        return sum([len(ids) async for ids in post.store.matching(wanted)])

    assert await found(endpoint="a") == 3
    assert await found(endpoint="a", app="govejle") == 0
    assert await found(states=(CallbackState.DELIVERED,)) == 0
    assert await found(since_ms=ends[-1]) == ends.count(ends[-1])
    assert await found(until_ms=ends[0]) == 0
    assert await found(since_ms=ends[0], until_ms=ends[-1] + 1) == 4


async def test_deliveries_go_on_when_redis_is_full(post: Post) -> None:
    await post.register("a")
    await post.record("a", 6)
    await post.redis.config_set("maxmemory", 1)
    try:
        leases = await post.take()
        assert len(leases) == 4
        assert await post.store.renew([(one.id, one.token) for one in leases]) == frozenset()
        for lease, verdict in zip(leases, (Delivered(200), FAILED, GONE, FAILED), strict=True):
            await post.settle(lease, verdict)
        assert await post.take() == []
        with pytest.raises(OutOfMemory):
            await post.store.replay([leases[0].id])
    finally:
        await post.redis.config_set("maxmemory", 0)
    counts = await post.store.counts()
    assert counts == {"recorded": 6, "waiting": 2, "delivered": 1, "dead": 3}
