"""The whole platform under the shipped configuration: each process as the user of its role."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.platform import Platform, accepted, ended, platform
from tests.e2e.receiver import Receiver, receiver
from tests.support.redis_server import RedisServer
from tests.support.roles import GuardedServer, refused
from tests.support.waiting import until


@pytest.fixture
async def told() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


@pytest.fixture
async def stage(
    redis_server: RedisServer, told: Receiver, tmp_path: Path
) -> AsyncIterator[Platform]:
    """Redis as shipped, a gateway, a courier and a worker, each with its own URL."""
    server = GuardedServer(redis_server.binary, tmp_path)
    # What the fixtures of a platform look at, they look at as the administrator.
    async with platform(server, tmp_path, network__allow_ports=told.server.port) as running:
        running.environment["ROUGHNECK_REDIS__URL"] = server.url_of("gateway")
        await running.gateway("--no-courier")
        courier = running.command("courier", "courier", **{"redis.url": server.url_of("courier")})
        await running.worker("w", redis__url=server.url_of("worker"))
        assert courier.running
        yield running
    server.stop()


async def test_the_platform_works_and_nobody_is_refused(stage: Platform, told: Receiver) -> None:
    http = await stage.app("web")
    await told.register(http)
    hook = {"url": f"{told.url}/x"}
    jobs = [await accepted(http, "gate", {"ms": 1}, callback=hook) for _ in range(5)]
    jobs.append(await accepted(http, "gate-cpu", {"ms": 1}, callback=hook))
    for job_id in jobs:
        assert (await ended(http, job_id))["state"] == "succeeded"
    long = await accepted(http, "gate", {"ms": 60_000}, callback=hook)
    await until(stage.active, what="the long job to run")
    later = await accepted(http, "gate", {"ms": 1}, delay_s=3600, callback=hook)
    for job_id in (long, later):
        reply = await http.post(f"/v1/jobs/{job_id}:cancel")
        assert reply.status_code in (200, 202), reply.text
        assert (await ended(http, job_id))["state"] == "cancelled"
    assert (await http.post(f"/v1/jobs/{later}:retry")).status_code in (200, 202)
    await http.post(f"/v1/jobs/{later}:cancel")
    wanted = {*jobs, long, later}
    await until(lambda: wanted <= told.endings.keys(), what="every callback", limit_s=30)
    assert told.faults == []
    for path in ("/v1/jobs", "/v1/callbacks", "/v1/endpoints", f"/v1/jobs/{jobs[0]}/result"):
        assert (await http.get(path)).status_code == 200, path
    scrape = await http.get("/metrics", headers={"authorization": ""})
    assert scrape.status_code == 200
    await stage.audited()

    server = stage.server
    assert isinstance(server, GuardedServer)
    operator = server.url_of("operator")
    for command in (("jobs", "list"), ("classes", "list"), ("workers",), ("callbacks", "list")):
        ran = stage.cli("--redis", operator, *command, "-o", "json")
        assert ran.returncode == 0, ran.stderr
    ran = stage.cli("--redis", operator, "doctor", "-o", "json")
    bad = [one for one in json.loads(ran.stdout) if one["level"] == "problem"]
    assert (bad, ran.returncode) == ([], 0), ran.stdout
    assert stage.cli("--redis", server.url_of("viewer"), "classes", "list").returncode == 0
    # A gateway asks at its start whether Redis is safe, and takes no for an answer.
    asked = {("gateway", command) for command in ("acl", "acl|getuser", "config", "config|get")}
    assert await refused(stage.redis) - asked == set()
