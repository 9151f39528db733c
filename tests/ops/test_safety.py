"""What is said about a server that somebody else runs."""

import pytest
from redis.asyncio import Redis

from ops.redis_binary import RedisBinary
from ops.safety import Concern, ServerReport, Severity, concerns, survey
from tests.support.redis_server import RedisServer

SAFE = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory": "1000000",
    "maxmemory-policy": "noeviction",
    "protected-mode": "yes",
    "bind": "127.0.0.1 -::1",
    "cluster-enabled": "no",
}

TOLD = {  # by INFO, to whom may not read the configuration
    "appendonly": "yes",
    "maxmemory": "1000000",
    "maxmemory-policy": "noeviction",
    "cluster-enabled": "no",
}


def report(
    version: tuple[int, ...] = (7, 2, 4),
    used: int = 0,
    has_password: bool = True,
    last_write_ok: bool = True,
    **options: str,
) -> ServerReport:
    changed = {name.replace("_", "-"): value for name, value in options.items()}
    return ServerReport(version, used, {**SAFE, **changed}, has_password, last_write_ok)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (report(), []),
        (report(version=(6, 0, 16)), [(Severity.REFUSED, "lacks XAUTOCLAIM")]),
        (report(version=(6, 2, 14)), [(Severity.NOTED, "out of support")]),
        (report(appendonly="no"), [(Severity.UNSAFE, "appendonly is off")]),
        (report(appendfsync="no"), [(Severity.UNSAFE, "appendfsync is `no`")]),
        (report(last_write_ok=False), [(Severity.UNSAFE, "last write")]),
        (report(maxmemory_policy="allkeys-lru"), [(Severity.UNSAFE, "allkeys-lru")]),
        (report(maxmemory="0"), [(Severity.NOTED, "maxmemory is not set")]),
        (report(used=900_000), [(Severity.NOTED, "memory is 90 % used")]),
        (report(cluster_enabled="yes"), [(Severity.NOTED, "part of a cluster")]),
        (report(has_password=False), []),
        (report(has_password=False, bind="10.8.0.1"), []),
        (
            report(has_password=False, bind="10.8.0.1", protected_mode="no"),
            [(Severity.UNSAFE, "anyone who reaches")],
        ),
        (
            report(has_password=False, bind="* -::*", protected_mode="no"),
            [(Severity.UNSAFE, "anyone who reaches")],
        ),
        (report(bind="*", protected_mode="no"), []),
        (
            report(version=(6, 0, 0), appendonly="no", maxmemory="0"),
            [
                (Severity.REFUSED, "XAUTOCLAIM"),
                (Severity.UNSAFE, "appendonly"),
                (Severity.NOTED, "maxmemory"),
            ],
        ),
        (ServerReport((7, 0, 0), 0, TOLD, has_password=True, config_read=False), []),
    ],
)
def test_each_danger_is_named(given: ServerReport, expected: list[tuple[Severity, str]]) -> None:
    found = concerns(given)
    assert [concern.severity for concern in found] == [severity for severity, _ in expected]
    for concern, (_, part) in zip(found, expected, strict=True):
        assert part in concern.what
        assert concern.remedy


async def test_a_bare_server_is_surveyed(redis: "Redis", redis_server: RedisServer) -> None:
    seen = await survey(redis)
    assert seen.label == redis_server.binary.label.removeprefix("valkey-")
    assert {concern.what.partition(":")[0] for concern in concerns(seen)} == {
        "appendonly is off",
        *([f"Redis {seen.label} is out of support"] if seen.version < (7,) else []),
        "maxmemory is not set",
    }


async def test_a_user_who_may_not_read_the_configuration_is_told(
    redis: "Redis", redis_server: RedisServer
) -> None:
    await redis.acl_setuser(
        "guest", enabled=True, passwords=["+secret"], categories=["+@all", "-@admin"]
    )
    async with Redis(port=redis_server.port, username="guest", password="secret") as guest:
        seen = await survey(guest)
    await redis.acl_deluser("guest")
    assert not seen.config_read
    assert seen.options == {**TOLD, "appendonly": "no", "maxmemory": "0"}
    assert seen.has_password


async def test_a_password_is_noticed(redis_binary: RedisBinary) -> None:
    server = RedisServer(redis_binary, "requirepass hidden")
    try:
        async with Redis(port=server.port, password="hidden") as client:
            assert (await survey(client)).has_password
    finally:
        server.stop()


def test_a_concern_reads_as_one_sentence() -> None:
    assert Concern(Severity.NOTED, "it is old", "renew it").sentence == "it is old; renew it"
