"""Who may do what, and what each key sees."""

import pytest
from redis.asyncio import Redis

from gateway.auth import mint_key
from streams.directory import ApiKey
from tests.http.edge import CLOCK, Edge, echo
from tests.support.waiting import until


async def test_a_good_key_is_let_in(edge: Edge) -> None:
    assert (await edge.get("/v1/jobs")).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "Basic abc", "Bearer", "Bearer rn_", "Bearer rn_abc", "Bearer rn_nobody_secret", "rn_a_b"],
)
async def test_whatever_is_wrong_the_answer_is_the_same(edge: Edge, header: str) -> None:
    reply = await edge.get("/v1/jobs", key="", headers={"authorization": header} if header else {})
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == 'Bearer realm="roughneck"'
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json() == {
        "type": "urn:roughneck:problem:not_authenticated",
        "title": "A valid key is needed",
        "status": 401,
        "code": "not_authenticated",
        "detail": "the key is missing, unknown, expired, revoked, or not for this address",
        "instance": "/v1/jobs",
    }


async def test_a_wrong_secret_of_a_real_key_is_refused(edge: Edge) -> None:
    forged = edge.keys["app"][:-1] + ("A" if edge.keys["app"][-1] != "A" else "B")
    assert (await edge.get("/v1/jobs", key=forged)).status_code == 401


async def test_an_expired_key_is_refused(edge: Edge) -> None:
    record, text = mint_key("etyde", ("read",), now_ms=1, expires_ms=CLOCK.now_ms() - 1)
    await edge.parts.directory.put_key(record)
    await edge.parts.keys.refresh()
    assert (await edge.get("/v1/jobs", key=text)).status_code == 401


async def test_a_key_made_elsewhere_works_without_waiting_for_the_refresh(edge: Edge) -> None:
    record, text = mint_key("etyde", ("read",), now_ms=CLOCK.now_ms())
    await edge.parts.directory.put_key(record)
    await until(lambda: allowed(edge, text), what="the new key", limit_s=1.0)


async def test_a_key_revoked_elsewhere_is_refused_within_five_seconds(edge: Edge) -> None:
    key_id = edge.keys["app"].split("_")[1]
    await edge.parts.directory.delete_key(key_id)
    await until(lambda: refused(edge), what="the revocation", limit_s=5.0)


async def test_keys_still_work_while_redis_is_away(edge: Edge, redis: Redis) -> None:
    async def away() -> dict[str, ApiKey]:
        raise ConnectionError("no route")

    edge.parts.keys._load = away
    reply = await edge.get("/v1/jobs", key="rn_unknown_key")
    assert reply.status_code == 401
    assert (await edge.get("/v1/jobs")).status_code == 200


@pytest.mark.parametrize(
    ("key", "method", "path"),
    [
        ("reader", "POST", "/v1/jobs"),
        ("metrics", "GET", "/v1/jobs"),
        ("app", "POST", "/v1/dead-letters:replay"),
        ("app", "POST", "/v1/endpoints"),
        ("operator", "GET", "/v1/keys"),
        ("app-operator", "POST", "/v1/classes/io:pause"),
        ("operator", "POST", "/v1/jobs"),
    ],
)
async def test_a_key_without_the_scope(edge: Edge, key: str, method: str, path: str) -> None:
    reply = await edge.call(method, path, echo(), key=key)
    assert (reply.status_code, reply.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("path", ["", "/result", ":cancel", ":retry"])
async def test_another_apps_job_does_not_exist(edge: Edge, path: str) -> None:
    job_id = await edge.submit()
    method = "POST" if path.startswith(":") else "GET"
    reply = await edge.call(method, f"/v1/jobs/{job_id}{path}", key="other")
    assert (reply.status_code, reply.json()["code"]) == (404, "unknown_job")
    unknown = await edge.call(method, f"/v1/jobs/{job_id[:-1]}0{path}", key="other")
    assert unknown.status_code == 404


async def test_an_operator_of_all_apps_sees_every_job(edge: Edge) -> None:
    job_id = await edge.submit()
    assert (await edge.get(f"/v1/jobs/{job_id}", key="operator")).status_code == 200
    assert (await edge.get(f"/v1/jobs/{job_id}", key="admin")).status_code == 200


async def test_a_listing_holds_the_keys_own_app_only(edge: Edge) -> None:
    mine, theirs = await edge.submit(), await edge.submit(key="other")
    assert await ids(edge, "app") == {mine}
    assert await ids(edge, "other") == {theirs}
    assert await ids(edge, "operator") == {mine, theirs}
    assert await ids(edge, "operator", "?app=govejle") == {theirs}
    assert (await edge.get("/v1/jobs?app=govejle")).status_code == 403


async def ids(edge: Edge, key: str, query: str = "") -> set[str]:
    reply = await edge.get(f"/v1/jobs{query}", key=key)
    return {job["id"] for job in reply.json()["items"]}


async def allowed(edge: Edge, key: str) -> bool:
    return (await edge.get("/v1/jobs", key=key)).status_code == 200


async def refused(edge: Edge) -> bool:
    return (await edge.get("/v1/jobs")).status_code == 401
