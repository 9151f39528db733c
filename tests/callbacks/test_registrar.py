"""Endpoints and callbacks over HTTP: order, filters, replay by endpoint and time, metrics."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from streams.deliveries import DeadDelivery, Delivered
from tests.http.edge import Edge, started_edge

HOOKS = "https://etyde.example/hooks"


@pytest.fixture
async def edge(redis: "Redis", redis_url: str) -> AsyncIterator[Edge]:
    async with started_edge(redis, redis_url) as edge:
        yield edge


async def endpoint(edge: Edge, path: str, **fields: object) -> str:
    given = {"url": f"{HOOKS}/{path}", **fields}
    made = await edge.post("/v1/endpoints", given, key="app-operator")
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def end_three(edge: Edge, path: str) -> None:
    """Three jobs that tell that endpoint; two callbacks are dead then, one is delivered."""
    for _ in range(3):
        await edge.submit(callback={"url": f"{HOOKS}/{path}/1"})
        await edge.succeed()
    store = edge.parts.callbacks
    leases = (await store.take(f"courier-1-{path}", 1, 9)).leases
    for lease, verdict in zip(leases, (DeadDelivery("no"),) * 2 + (Delivered(200),), strict=True):
        await store.settle(lease.id, lease.token, verdict)


async def test_order_is_registered_and_changed(edge: Edge) -> None:
    made = await endpoint(edge, "a", ordered=True)
    here = f"/v1/endpoints/{made}"
    assert (await edge.get(here)).json()["ordered"] is True
    changed = await edge.call("PATCH", here, {"ordered": False}, key="app-operator")
    assert changed.json()["ordered"] is False


async def test_callbacks_are_filtered_and_replayed_by_endpoint_and_time(edge: Edge) -> None:
    first, second = await endpoint(edge, "a"), await endpoint(edge, "b")
    await end_three(edge, "a")
    await end_three(edge, "b")

    async def listed(query: str) -> int:
        reply = await edge.get(f"/v1/callbacks?{query}")
        assert reply.status_code == 200, reply.text
        return len(reply.json()["items"])

    assert await listed("limit=50") == 6
    assert await listed(f"endpoint={first}") == 3
    assert await listed(f"endpoint={first}&state=dead") == 2
    assert await listed("since=2099-01-01T00:00:00Z") == 0
    assert await listed("until=2099-01-01T00:00:00Z&since=2020-01-01T00:00:00Z") == 6

    async def replay(**given: object) -> tuple[int, int, bool]:
        reply = await edge.post("/v1/callbacks:replay", given, key="app-operator")
        assert reply.status_code == 200, reply.text
        said = reply.json()
        return said["matched"], said["replayed"], said["more"]

    assert await replay(dry_run=True) == (4, 0, False)
    assert await replay(endpoint=first, until="2020-01-01T00:00:00Z") == (0, 0, False)
    assert await replay(endpoint=first, limit=1) == (1, 1, True)
    assert await replay(endpoint=first, since="2020-01-01T00:00:00Z") == (1, 1, False)
    assert await replay(endpoint=second, state="delivered") == (1, 1, False)
    assert await replay() == (2, 2, False)
    assert await listed("state=waiting") == 5


@pytest.mark.parametrize(
    "body", [{"since": "2026-11-23T10:00:00"}, {"state": "waiting"}, {"endpoint": 5}, {"upto": 1}]
)
async def test_a_replay_that_makes_no_sense_is_refused(edge: Edge, body: dict[str, object]) -> None:
    reply = await edge.post("/v1/callbacks:replay", body, key="app-operator")
    assert reply.status_code == 422


async def test_secrets_are_sealed_where_they_are_kept_and_in_what_is_read(
    edge: Edge, redis: "Redis"
) -> None:
    made = (await edge.post("/v1/endpoints", {"url": HOOKS}, key="app-operator")).json()
    rotated = (await edge.post(f"/v1/endpoints/{made['id']}:rotate", key="app-operator")).json()
    stored = await redis.hget("{rn}:endpoints", made["id"])
    for secret in (made["secret"], rotated["secret"]):
        assert secret.removeprefix("whsec_").encode() not in stored
    assert stored.count(b"sealed.v1.") == 2


async def test_without_the_key_file_no_endpoint_is_made_and_the_answer_says_later(
    edge: Edge,
) -> None:
    edge.seals.path.unlink()
    reply = await edge.post("/v1/endpoints", {"url": HOOKS}, key="app-operator")
    assert (reply.status_code, reply.json()["code"]) == (503, "unavailable")
    assert (await edge.get("/v1/endpoints")).json()["items"] == []


async def test_the_scrape_tells_of_callbacks_and_endpoints(edge: Edge) -> None:
    await endpoint(edge, "a")
    await end_three(edge, "a")
    await edge.submit(callback={"url": f"{HOOKS}/a/1"})
    await edge.succeed()
    text = (await edge.get("/metrics", key="metrics")).text
    for line in (
        'roughneck_callbacks{state="dead"} 2.0',
        'roughneck_callbacks{state="delivered"} 1.0',
        'roughneck_callbacks{state="waiting"} 1.0',
        "roughneck_callbacks_recorded_total 4.0",
        "roughneck_endpoints_open 0.0",
        "roughneck_endpoints_disabled 0.0",
        'roughneck_endpoints_waiting{older_than="3600"} 0.0',
    ):
        assert line in text.splitlines()
