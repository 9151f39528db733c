"""Keys: made, rotated, bound to networks, revoked; when they were used; what is audited."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway.app import MODULES, build_app, is_audited
from gateway.audit import AuditLog
from gateway.auth import Scope, mint_key, rotated
from gateway.parts import GatewayParts
from gateway.settings import GatewaySettings
from streams.errors import WrongState
from tests.http.edge import CLOCK, Edge, echo, make_keys, started_edge, stores
from tests.support.waiting import until

DAY_MS = 86_400_000


async def test_two_keys_live_while_an_app_changes_over(edge: Edge) -> None:
    made = await edge.post("/v1/keys", {"app": "etyde", "scopes": ["read"]}, key="admin")
    old = made.json()
    reply = await edge.post(f"/v1/keys/{old['id']}:rotate", {"overlap_s": 60}, key="admin")
    new = reply.json()
    assert (reply.status_code, reply.headers["location"]) == (201, f"/v1/keys/{new['id']}")
    assert (new["app"], new["scopes"]) == ("etyde", ["read"])
    for text in (old["key"], new["key"]):
        assert (await edge.get("/v1/jobs", key=text)).status_code == 200
    keys = (await edge.get("/v1/keys", key="admin")).json()["items"]
    (shown,) = [key for key in keys if key["id"] == old["id"]]
    assert (shown["replaced_by"], "key" in shown) == (new["id"], False)
    again = await edge.post(f"/v1/keys/{old['id']}:rotate", key="admin")
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")


async def test_without_overlap_the_old_key_ends_at_once(edge: Edge) -> None:
    key_id = edge.keys["app"].split("_")[1]
    reply = await edge.post(f"/v1/keys/{key_id}:rotate", {"overlap_s": 0}, key="admin")
    assert (await edge.get("/v1/jobs")).status_code == 401
    assert (await edge.get("/v1/jobs", key=reply.json()["key"])).status_code == 200


@pytest.mark.parametrize(
    ("expires_ms", "new_expires_ms", "old_expires_ms"),
    [
        (0, 0, 11 * DAY_MS),
        (30 * DAY_MS, 40 * DAY_MS, 11 * DAY_MS),  # as long a life as the old one was given
        (10 * DAY_MS + 5, 20 * DAY_MS + 5, 10 * DAY_MS + 5),  # never longer than it had
    ],
)
def test_how_long_both_live(expires_ms: int, new_expires_ms: int, old_expires_ms: int) -> None:
    old, _ = mint_key("web", ("read",), now_ms=0, expires_ms=expires_ms, networks=("::1/128",))
    new, text, before = rotated(old, now_ms=10 * DAY_MS, overlap_s=86_400)
    assert (new.expires_ms, before.expires_ms) == (new_expires_ms, old_expires_ms)
    assert (new.app, new.scopes, new.networks) == (old.app, old.scopes, old.networks)
    assert text.startswith(f"rn_{new.id}_")
    with pytest.raises(WrongState):
        rotated(before, now_ms=0, overlap_s=0)


async def test_a_key_is_good_from_its_networks_only(edge: Edge) -> None:
    body = {"app": "etyde", "scopes": ["read"], "networks": ["10.8.0.0/24", "::1"]}
    made = (await edge.post("/v1/keys", body, key="admin")).json()
    assert made["networks"] == ["10.8.0.0/24", "::1/128"]
    for address, status in [("10.8.0.9", 200), ("::1", 200), ("10.8.1.9", 401), ("", 401)]:
        assert await status_from(edge.parts, address, made["key"]) == status
    bad = {**body, "networks": ["10.8.0.7/24"]}
    reply = await edge.post("/v1/keys", bad, key="admin")
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, "$.networks")


async def status_from(parts: GatewayParts, address: str, key: str, **headers: str) -> int:
    transport = httpx.ASGITransport(app=build_app(parts), client=(address, 1))
    bearer = {"authorization": f"Bearer {key}", **headers}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        return (await http.get("/v1/jobs", headers=bearer)).status_code


async def test_behind_a_proxy_the_forwarded_address_counts(redis: Redis, redis_url: str) -> None:
    settings = GatewaySettings(trusted_proxies=("127.0.0.1",))
    async with started_edge(redis, redis_url, settings) as edge:
        record, key = mint_key(
            "etyde", ("read",), now_ms=CLOCK.now_ms(), networks=("203.0.113.0/24",)
        )
        await edge.parts.directory.put_key(record)
        forwarded = {"x-forwarded-for": "203.0.113.5"}
        assert await status_from(edge.parts, "127.0.0.1", key, **forwarded) == 200
        assert await status_from(edge.parts, "127.0.0.1", key) == 401
        assert await status_from(edge.parts, "192.0.2.1", key, **forwarded) == 401
        assert (await edge.get("/metrics", key="")).status_code == 401


@pytest.mark.parametrize("app", ["web\n", "WEB", "", "*x", "a/b"])
async def test_names_of_apps_are_checked_to_their_end(edge: Edge, app: str) -> None:
    reply = await edge.post("/v1/keys", {"app": app, "scopes": ["read"]}, key="admin")
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input")


async def test_refusals_cannot_be_told_apart_by_time(edge: Edge) -> None:
    """Unknown, wrong secret, expired: each looks once more at Redis before it is refused."""
    record, expired = mint_key("etyde", ("read",), now_ms=1, expires_ms=2)
    await edge.parts.directory.put_key(record)
    await edge.parts.keys.refresh()
    wrong = f"{edge.keys['app'][:-8]}AAAAAAAA"
    looks: list[float] = []
    look_again = edge.parts.keys.look_again

    async def counted() -> None:
        looks.append(time.monotonic())
        await look_again()

    edge.parts.keys.look_again = counted  # type: ignore[method-assign]  # to count
    for key in ("rn_0123456789ab_unknown", wrong, expired):
        before = len(looks)
        assert (await edge.get("/v1/jobs", key=key)).status_code == 401
        assert len(looks) == before + 1
    assert (await edge.get("/v1/jobs")).status_code == 200
    assert len(looks) == 3


async def test_when_a_key_was_used_is_written_once_a_minute(edge: Edge, redis: Redis) -> None:
    key_id = edge.keys["app"].split("_")[1]
    before_ms = CLOCK.now_ms()
    await redis.config_resetstat()
    for _ in range(20):
        await edge.get("/v1/jobs")
    await edge.parts.uses.write()
    stats = await redis.info("commandstats")
    assert stats["cmdstat_hset"]["calls"] == 1
    assert (await edge.parts.directory.key_uses())[key_id] >= before_ms
    keys = (await edge.get("/v1/keys", key="admin")).json()["items"]
    used = {key["id"]: key["last_used_at"] for key in keys}
    assert used[key_id] is not None
    assert used[edge.keys["metrics"].split("_")[1]] is None


async def test_a_revoked_key_leaves_nothing(edge: Edge, redis: Redis) -> None:
    key_id = edge.keys["app"].split("_")[1]
    await edge.get("/v1/jobs")
    await edge.parts.uses.write()
    await edge.get("/v1/jobs")
    assert (await edge.call("DELETE", f"/v1/keys/{key_id}", key="admin")).status_code == 204
    await edge.parts.uses.write()
    assert key_id not in await edge.parts.directory.key_uses()


def test_what_operators_can_do_is_audited() -> None:
    operations = [one for module in MODULES for one in module.OPERATIONS]
    changing = {
        one.run.__name__
        for one in operations
        if one.method != "GET" and one.scope in (Scope.OPERATE, Scope.ADMIN)
    }
    assert {"pause_class", "limit_app", "create_key", "replay_dead_letters"} <= changing
    for one in operations:
        assert is_audited(one, "etyde") == (
            one.run.__name__ in changing or one.scope is Scope.ADMIN
        )
        assert is_audited(one, "*") == (one.method != "GET" or one.scope is Scope.ADMIN)


@pytest.fixture
async def audited(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[Edge]:
    async with Redis.from_url(redis_url) as reading:
        made = stores(redis, reading)
        keys = await make_keys(made.directory)
        audit = AuditLog(tmp_path / "audit.log")
        parts = GatewayParts(GatewaySettings(), made, audit=audit)
        async with parts:
            yield Edge(parts, keys)


async def test_the_audit_log_tells_who_did_what_from_where(audited: Edge, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    await audited.post("/v1/classes/io:pause", key="operator")
    await audited.post("/v1/classes/io:resume", key="app-operator")  # refused
    await audited.get("/v1/classes", key="operator")  # changes nothing
    await audited.post("/v1/jobs", echo())  # an app's own affair
    made = await audited.post("/v1/keys", {"app": "web", "scopes": ["read"]}, key="admin")
    await audited.post("/v1/jobs/0-nothing:cancel", key="admin")
    await until(lambda: len(path.read_bytes().splitlines()) == 4, what="the lines")
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    told = [
        (line["action"], line["app"], line.get("subject"), line["from"], line["status"])
        for line in lines
    ]
    assert told == [
        ("pause_class", "*", "io", "127.0.0.1", 200),
        ("resume_class", "etyde", "io", "127.0.0.1", 403),
        ("create_key", "*", made.json()["id"], "127.0.0.1", 201),
        ("cancel_job", "*", "0-nothing", "127.0.0.1", 404),
    ]
    assert lines[0]["key"] == audited.keys["operator"].split("_")[1]
    assert made.json()["key"].split("_", 2)[2] not in path.read_text()
