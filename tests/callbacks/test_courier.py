"""The courier over a real store and receivers on loopback."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx
import msgspec
import pytest
from redis.asyncio import Redis
from standardwebhooks.webhooks import Webhook

from gateway.courier_metrics import CourierMetrics
from gateway.rendering import render
from gateway.signing import new_secret
from streams.callbacks import CallbackState
from streams.directory import Endpoint
from tests.callbacks.office import Office
from tests.support.redis_server import free_port
from tests.support.waiting import until
from tests.web.local_server import Answer, Received, local_server, response

OK = response(200, b"thanks")
GONE = "the receiver answered 410 Gone"
ROOT = Path(__file__).parents[2]


def verified(endpoint: Endpoint, request: Received, secret: int = 0) -> dict[str, object]:
    """The body as a receiver reads it, after `standardwebhooks` has verified it."""
    body: dict[str, object] = Webhook(endpoint.secrets[secret]).verify(
        request.body, request.headers
    )
    return body


def in_turn(*answers: bytes) -> Answer:
    """Answers one after another, the last one for ever."""
    left = list(answers)

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    return answer


async def test_a_callback_arrives_once_signed_and_says_what_happened(redis: Redis) -> None:
    office = Office(redis)
    async with local_server(OK) as server:
        endpoint = await office.endpoint(server.origin + "/hooks")
        async with office.courier(server):
            job_id = await office.end_job(server.origin + "/hooks/1")
            view = await office.the_callback(CallbackState.DELIVERED)
    (request,) = server.received
    body = verified(endpoint, request)
    assert request.target == "/hooks/1"
    assert request.headers["webhook-id"] == view.record.id
    assert request.body == render(view.record)
    assert body["type"] == "job.succeeded"
    assert isinstance(body["data"], dict)
    assert (body["data"]["job_id"], body["data"]["result"]) == (job_id, {"n": 1})
    assert [attempt.status for attempt in view.attempts] == [200]
    counts = await office.store.counts()
    assert (counts["recorded"], counts["waiting"], counts["delivered"]) == (1, 0, 1)


async def test_while_a_secret_is_rotated_either_one_verifies(redis: Redis) -> None:
    office = Office(redis)
    async with local_server(OK) as server:
        endpoint = await office.endpoint(server.origin, secrets=(new_secret(), new_secret()))
        async with office.courier(server):
            await office.end_job(server.origin)
            await office.the_callback(CallbackState.DELIVERED)
    (request,) = server.received
    assert verified(endpoint, request, 0) == verified(endpoint, request, 1)


@pytest.mark.parametrize("status", [301, 302, 400, 404, 429, 500, 503])
async def test_a_failure_is_tried_again_with_the_same_id_and_bytes(
    redis: Redis, status: int
) -> None:
    office = Office(redis)
    failure = response(status, b"not now", Location="http://127.0.0.1:1/")
    async with local_server(in_turn(failure, OK)) as server:
        endpoint = await office.endpoint(server.origin)
        async with office.courier(server):
            await office.end_job(server.origin)
            view = await office.the_callback(CallbackState.DELIVERED)
    assert [attempt.status for attempt in view.attempts] == [status, 200]
    first_attempt = view.attempts[0]
    assert first_attempt.reason == f"the receiver answered {status}"
    assert (first_attempt.error, first_attempt.answer) == (f"status_{status // 100}xx", "not now")
    first, second = server.received
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert verified(endpoint, first) == verified(endpoint, second)


async def test_the_last_failure_makes_a_dead_letter_and_a_replay_delivers_it(redis: Redis) -> None:
    office = Office(redis)
    async with local_server(response(500)) as server:
        await office.endpoint(server.origin)
        async with office.courier(server):
            await office.end_job(server.origin)
            view = await office.the_callback(CallbackState.DEAD)
            assert view.reason == "3 attempts failed, the last: the receiver answered 500"
            assert len(view.attempts) == 3
            server.answer = OK
            assert await office.store.replay([view.record.id]) == 1
            await office.the_callback(CallbackState.DELIVERED)
    assert len({(r.headers["webhook-id"], r.body) for r in server.received}) == 1


async def test_410_disables_the_endpoint_and_what_follows_is_not_sent(redis: Redis) -> None:
    office = Office(redis)
    async with local_server(response(410)) as server:
        endpoint = await office.endpoint(server.origin)
        async with office.courier(server):
            await office.end_job(server.origin)
            view = await office.the_callback(CallbackState.DEAD)
            assert view.reason == GONE
            health = (await office.endpoints.health([endpoint.id]))[endpoint.id]
            assert (health.disabled, health.disabled_ms > 0) == (GONE, True)
            await office.end_job(server.origin)
            await until(lambda: both_dead(office), what="the second dead letter")
        assert len(server.received) == 1
    reasons = {one.reason for one in await office.callbacks(CallbackState.DEAD)}
    assert f"endpoint ep_1 is disabled: {GONE}" in reasons


async def both_dead(office: Office) -> bool:
    return len(await office.callbacks(CallbackState.DEAD)) == 2


async def test_what_cannot_be_delivered_is_dead_with_a_reason(redis: Redis) -> None:
    office = Office(redis)
    async with local_server(OK) as server:
        await office.endpoint("http://10.0.0.1", id="inside")
        await office.endpoint(server.origin + "/hooks", id="moved")
        await office.endpoint(server.origin, id="unsigned", secrets=("whsec_short",))
        async with office.courier(server):
            await office.end_job(server.origin, endpoint="deleted")
            await office.end_job("http://10.0.0.1/", endpoint="inside")
            await office.end_job(server.origin + "/other", endpoint="moved")
            await office.end_job(server.origin, endpoint="unsigned")
            await until(lambda: all_four_dead(office), what="four dead letters")
        assert server.received == []
    reasons = {
        view.record.endpoint: view.reason for view in await office.callbacks(CallbackState.DEAD)
    }
    assert reasons["deleted"] == "endpoint deleted was deleted"
    assert reasons["inside"] == "10.0.0.1 is private, which no setting allows"
    assert reasons["moved"].endswith("/other no longer lies under endpoint moved")
    assert reasons["unsigned"].startswith("the callback cannot be signed")


async def all_four_dead(office: Office) -> bool:
    return len(await office.callbacks(CallbackState.DEAD)) == 4


async def test_a_dead_endpoint_delays_no_other(redis: Redis) -> None:
    office = Office(redis)

    async def hang(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with local_server(OK) as healthy, local_server(hang) as dead:
        await office.endpoint(healthy.origin, id="healthy")
        await office.endpoint(dead.origin, id="dead")
        for _ in range(25):
            await office.end_job(dead.origin, endpoint="dead")
        for _ in range(50):
            await office.end_job(healthy.origin, endpoint="healthy")
        async with office.courier(healthy, dead, concurrency=16, total_timeout_s=5.0, grace_s=0.1):
            await until(lambda: len(healthy.received) == 50, what="the healthy ones", limit_s=4)
            assert dead.open_max == 4


async def test_an_open_breaker_uses_no_attempts(redis: Redis) -> None:
    office = Office(redis)
    async with local_server(response(500)) as server:
        await office.endpoint(server.origin)
        for _ in range(6):
            await office.end_job(server.origin)
        changes = {"breaker_failures": 3, "breaker_first_s": 60.0, "endpoint_concurrency": 1}
        async with office.courier(server, **changes) as courier:
            await until(lambda: breaker_is_open(office), what="an open breaker")
            await until(lambda: courier.active == 0, what="nothing under way")
            views = await office.callbacks()
    assert len(server.received) == 3
    assert sum(view.tries for view in views) == 3
    assert {view.state for view in views} == {CallbackState.WAITING}


async def breaker_is_open(office: Office) -> bool:
    health = (await office.endpoints.health(["ep_1"]))["ep_1"]
    return health.open_until_ms > 0


async def test_a_delivery_longer_than_its_lease_keeps_it(redis: Redis) -> None:
    office = Office(redis)

    async def slow(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1.0)
        writer.write(OK)

    async with local_server(slow) as server:
        await office.endpoint(server.origin)
        changes = {"lease_ms": 300, "renew_s": 0.1, "total_timeout_s": 5.0}
        async with office.courier(server, **changes), office.courier(server, **changes):
            await office.end_job(server.origin)
            await office.the_callback(CallbackState.DELIVERED)
    assert len(server.received) == 1


async def test_a_stop_lets_deliveries_end(redis: Redis) -> None:
    office = Office(redis)

    async def slow(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(OK)

    async with local_server(slow) as server:
        await office.endpoint(server.origin)
        async with office.courier(server):
            await office.end_job(server.origin)
            await until(lambda: server.open == 1, what="a delivery under way")
    (view,) = await office.callbacks()
    assert view.state is CallbackState.DELIVERED


COURIER_PROCESS = """
import asyncio, sys
from pathlib import Path
from redis.asyncio import Redis
from tests.callbacks.office import Office
from tests.web.local_server import LocalServer

async def main():
    async with Redis.from_url(sys.argv[1]) as redis:
        office = Office(redis, Path(sys.argv[3]))
        async with office.courier(LocalServer(int(sys.argv[2])), lease_ms=500):
            await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_courier_killed_before_its_settle_repeats_id_and_bytes(
    redis: Redis, redis_url: str
) -> None:
    office = Office(redis)
    victim: asyncio.subprocess.Process | None = None

    async def kill_first(request: Received, writer: asyncio.StreamWriter) -> None:
        if victim is not None and victim.returncode is None:
            os.kill(victim.pid, signal.SIGKILL)
            await victim.wait()
        writer.write(OK)

    async with local_server(kill_first) as server:
        endpoint = await office.endpoint(server.origin)
        victim = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", COURIER_PROCESS, redis_url, str(server.port)),
            str(office.seals.path),
            cwd=ROOT,
        )
        try:
            await office.end_job(server.origin)
            await until(lambda: len(server.received) == 1, what="the first post", limit_s=20)
            await victim.wait()
            async with office.courier(server):
                view = await office.the_callback(CallbackState.DELIVERED)
        finally:
            if victim.returncode is None:
                victim.kill()
    first, second = server.received
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert verified(endpoint, first) == verified(endpoint, second)
    assert view.tries == 2


async def test_two_couriers_keep_to_one_limit_and_one_breaker(redis: Redis) -> None:
    office = Office(redis)
    gate = asyncio.Event()

    async def fail(request: Received, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(response(500))

    async with local_server(fail) as server:
        await office.endpoint(server.origin)
        await office.record(server.origin, count=20)
        changes = {"breaker_failures": 4, "breaker_first_s": 60.0, "total_timeout_s": 10.0}
        async with office.courier(server, **changes), office.courier(server, **changes):
            await until(lambda: server.open == 4, what="four under way")
            gate.set()
            await until(lambda: breaker_is_open(office), what="an open breaker")
            await until(lambda: len(office.reports) == 4, what="their ends")
    assert (server.open_max, len(server.received)) == (4, 4)


async def test_an_ordered_endpoint_is_told_in_order_whatever_fails(redis: Redis) -> None:
    office = Office(redis)
    async with local_server(in_turn(response(500), OK, response(503), OK)) as server:
        await office.endpoint(server.origin, ordered=True)
        jobs = await office.record(server.origin, count=4)
        async with office.courier(server):
            await until(lambda: len(office.reports) == 6, what="four callbacks")
    told = [str(msgspec.json.decode(one.body)["data"]["job_id"]) for one in server.received]
    assert list(dict.fromkeys(told)) == jobs
    assert (len(told), server.open_max) == (6, 1)


async def test_a_delivery_is_counted_by_what_became_of_it(redis: Redis) -> None:
    office, metrics = Office(redis), CourierMetrics()
    async with local_server(in_turn(response(429), OK, response(410))) as server:
        await office.endpoint(server.origin)
        async with office.courier(server):
            for _ in range(2):
                await office.end_job(server.origin)
                count = len(office.reports)
                await until(lambda: len(office.reports) > count, what="an attempt")  # noqa: B023
            await until(lambda: len(office.reports) == 3, what="three attempts")
    for report in office.reports:
        metrics(report)
    counted = {
        (sample.labels["outcome"], sample.labels["error"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "roughneck_callback_deliveries_total"
    }
    assert counted == {("retried", "status_4xx"): 1, ("delivered", ""): 1, ("dead", "gone"): 1}
    changes = metrics.registry.get_sample_value(
        "roughneck_endpoint_changes_total", {"change": "disabled"}
    )
    assert changes == 1


async def test_a_courier_alone_answers_scrapes_on_its_port(redis: Redis) -> None:
    told = CourierMetrics()
    port = free_port()
    stop = told.serve("127.0.0.1", port)
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    finally:
        await asyncio.to_thread(stop)
    assert "roughneck_callback_delivery_seconds_count 0.0" in text
