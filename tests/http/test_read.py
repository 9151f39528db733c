"""Jobs as they stand: reading, listing, results, cancel, retry."""

from typing import Any

import pytest
from redis.asyncio import Redis

from streams.ids import new_job_id
from tests.http.edge import CLOCK, KEYS, Edge

WEEK_MS = 7 * 86_400_000


async def test_a_job_that_succeeded(edge: Edge) -> None:
    job_id = await edge.submit(tags=["t"])
    await edge.succeed()
    reply = await edge.get(f"/v1/jobs/{job_id}")
    job = reply.json()
    assert reply.status_code == 200
    assert job["submitted_at"] <= job["started_at"] <= job["ended_at"]
    assert job["submitted_at"].endswith("Z")
    times = {name: job[name] for name in ("submitted_at", "started_at", "ended_at", "worker")}
    assert job == times | {
        "id": job_id,
        "app": "etyde",
        "processor": "echo",
        "resource_class": "io",
        "priority": "normal",
        "model": "",
        "state": "succeeded",
        "attempt": 1,
        "attempts_max": 3,
        "failures": 0,
        "crashes": 0,
        "timeout_s": 60.0,
        "due_at": None,
        "expires_at": None,
        "progress": None,
        "note": "",
        "cancel_requested": False,
        "error": None,
        "callback": None,
        "tags": ["t"],
        "unique": None,
        "links": {
            "self": f"/v1/jobs/{job_id}",
            "result": f"/v1/jobs/{job_id}/result",
            "cancel": f"/v1/jobs/{job_id}:cancel",
        },
        "flow": "",
        "stage": "",
        "usage": None,
        "position": None,
        "estimated_start_at": None,
    }


async def test_a_dead_job_says_why(edge: Edge) -> None:
    job_id = await edge.submit()
    await edge.die()
    job = (await edge.get(f"/v1/jobs/{job_id}")).json()
    assert (job["state"], job["error"]) == ("dead", {"code": "boom", "message": "it broke"})


async def test_a_result_is_the_processors_bytes(edge: Edge) -> None:
    job_id = await edge.submit()
    await edge.succeed(b'{ "said": 12345678901234567 }')
    reply = await edge.get(f"/v1/jobs/{job_id}/result")
    assert (reply.status_code, reply.content) == (200, b'{ "said": 12345678901234567 }')
    assert reply.headers["content-type"] == "application/json"


async def test_an_unfinished_job_has_no_result(edge: Edge) -> None:
    job_id = await edge.submit()
    reply = await edge.get(f"/v1/jobs/{job_id}/result")
    assert (reply.status_code, reply.json()["code"]) == (409, "unfinished")


async def test_a_dead_job_has_no_result(edge: Edge) -> None:
    job_id = await edge.submit()
    await edge.die()
    reply = await edge.get(f"/v1/jobs/{job_id}/result")
    assert (reply.status_code, reply.json()["code"]) == (409, "wrong_state")


async def test_a_result_that_outlived_its_retention_is_gone(edge: Edge, redis: Redis) -> None:
    job_id = await edge.submit()
    await edge.succeed()
    await redis.hdel(KEYS.job(job_id), "result")
    reply = await edge.get(f"/v1/jobs/{job_id}/result")
    assert (reply.status_code, reply.json()["code"]) == (410, "job_gone")


@pytest.mark.parametrize("path", ["", "/result"])
async def test_a_job_that_never_was(edge: Edge, path: str) -> None:
    for job_id in (new_job_id(CLOCK.now_ms()), "nonsense", "0-zzzz"):
        reply = await edge.get(f"/v1/jobs/{job_id}{path}")
        assert (reply.status_code, reply.json()["code"]) == (404, "unknown_job")


async def test_a_job_older_than_retention_is_gone(edge: Edge) -> None:
    job_id = new_job_id(CLOCK.now_ms() - WEEK_MS - 1_000)
    reply = await edge.get(f"/v1/jobs/{job_id}")
    assert (reply.status_code, reply.json()["code"]) == (410, "job_gone")


async def test_a_listing_in_pages_holds_every_job_once(edge: Edge) -> None:
    submitted = {await edge.submit() for _ in range(7)}
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await edge.get(f"/v1/jobs?limit=3&cursor={cursor}")).json()
        assert len(page["items"]) <= 3
        found += [job["id"] for job in page["items"]]
        cursor = page["next"]
    assert sorted(found) == sorted(submitted)


async def test_filters(edge: Edge) -> None:
    waiting, ended = await edge.submit(), await edge.submit(priority="high")
    assert await edge.succeed() == ended
    assert await ids(edge, "?state=waiting") == [waiting]
    assert await ids(edge, "?state=succeeded&processor=echo") == [ended]
    assert await ids(edge, "?processor=other") == []


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("?state=broken", "$.state"),
        ("?limit=0", "$.limit"),
        ("?limit=201", "$.limit"),
        ("?limit=many", "$.limit"),
        ("?cursor=%21%21", "$.cursor"),
        ("?cursor=bm90IGE=", "$.cursor"),
        ("?colour=red", "$.colour"),
        ("?state=dead&state=waiting", "$.state"),
    ],
)
async def test_filters_that_are_none(edge: Edge, query: str, path: str) -> None:
    reply = await edge.get(f"/v1/jobs{query}")
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, path)


async def test_cancel_a_waiting_job(edge: Edge) -> None:
    job_id = await edge.submit()
    reply = await edge.post(f"/v1/jobs/{job_id}:cancel", {"reason": "not needed"})
    assert (reply.status_code, reply.json()) == (200, {"id": job_id, "outcome": "cancelled"})
    job = (await edge.get(f"/v1/jobs/{job_id}")).json()
    assert (job["state"], job["error"]["message"]) == ("cancelled", "not needed")


async def test_cancel_a_running_job_is_a_request(edge: Edge) -> None:
    job_id = await edge.submit()
    await edge.take()
    reply = await edge.post(f"/v1/jobs/{job_id}:cancel")
    assert (reply.status_code, reply.json()["outcome"]) == (202, "requested")
    job = (await edge.get(f"/v1/jobs/{job_id}")).json()
    assert (job["state"], job["cancel_requested"]) == ("active", True)


async def test_cancel_an_ended_job(edge: Edge) -> None:
    job_id = await edge.submit()
    await edge.succeed()
    reply = await edge.post(f"/v1/jobs/{job_id}:cancel")
    assert (reply.status_code, reply.json()["code"]) == (409, "wrong_state")


@pytest.mark.parametrize("body", [{"reason": 3}, {"because": "x"}, []])
async def test_cancel_with_a_body_that_is_none(edge: Edge, body: Any) -> None:
    job_id = await edge.submit()
    assert (await edge.post(f"/v1/jobs/{job_id}:cancel", body)).status_code == 422


async def test_retry_a_dead_job(edge: Edge) -> None:
    job_id = await edge.submit()
    await edge.die()
    reply = await edge.post(f"/v1/jobs/{job_id}:retry")
    assert (reply.status_code, reply.json()["state"]) == (202, "waiting")
    assert await edge.succeed() == job_id


async def test_retry_a_job_that_waits_or_succeeded(edge: Edge) -> None:
    job_id = await edge.submit()
    waiting = await edge.post(f"/v1/jobs/{job_id}:retry")
    await edge.succeed()
    succeeded = await edge.post(f"/v1/jobs/{job_id}:retry")
    assert [waiting.status_code, succeeded.status_code] == [409, 409]
    assert succeeded.json()["code"] == "wrong_state"


async def test_head_is_a_get_without_a_body(edge: Edge) -> None:
    job_id = await edge.submit()
    assert (await edge.call("HEAD", f"/v1/jobs/{job_id}")).status_code == 200


async def ids(edge: Edge, query: str) -> list[str]:
    return [job["id"] for job in (await edge.get(f"/v1/jobs{query}")).json()["items"]]
