"""The journal through the gateway: over HTTP, with real processes, killed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.copies import DiskCopy
from gateway.parts import GatewayParts
from gateway.settings import GatewaySettings
from ops.links import open_redis
from ops.redis_binary import RedisBinary
from ops.settings import RedisSettings
from streams.directory import ApiKey
from streams.errors import Unavailable
from streams.model import Done
from tests.http.edge import Edge, card, echo, make_keys, stores
from tests.journal.outage import Plan, stage
from tests.journal.scene import Scene, client
from tests.support.redis_server import RedisServer
from tests.support.waiting import until


@contextlib.asynccontextmanager
async def opened(
    redis: "Redis", folder: Path, keys: dict[str, str], settings: GatewaySettings | None = None
) -> AsyncIterator[Edge]:
    """A gateway with a journal, on whatever state Redis is in."""
    scene = Scene(redis, folder, settings or GatewaySettings(refresh_s=0.2))
    given = redis.connection_pool.connection_kwargs
    async with client(f"redis://{given['host']}:{given['port']}/0") as reading:
        parts = GatewayParts(
            scene.settings,
            stores(redis, reading),
            checks={"redis": redis.ping},
            acceptor=scene.acceptor,
            copies=folder / "copies",
        )
        async with parts:
            edge = Edge(parts, keys)
            async with edge.http:
                yield edge


@pytest.fixture
async def keys(wire: "Redis") -> dict[str, str]:
    """Keys and a manifest, as they stand in Redis."""
    made = stores(wire, wire)
    await made.directory.publish_processor(card())
    return await make_keys(made.directory)


async def test_an_outage_as_an_app_sees_it(
    mortal: RedisServer, wire: "Redis", folder: Path, keys: dict[str, str]
) -> None:
    async with opened(wire, folder, keys) as edge:
        mortal.kill()
        reply = await edge.post("/v1/jobs", echo(), headers={"idempotency-key": "k"})
        assert (reply.status_code, reply.json()["state"]) == (202, "spooled")
        where = reply.headers["location"]
        assert (await edge.get(where)).json()["state"] == "spooled"
        assert (await edge.get(where, key="other")).status_code == 404
        assert (await edge.get(f"{where}/result")).status_code == 409
        assert (await edge.post(f"{where}:cancel")).status_code == 503
        again = await edge.post("/v1/jobs", echo(), headers={"idempotency-key": "k"})
        assert (again.status_code, again.json()["created"]) == (202, False)
        other = await edge.post(
            "/v1/jobs", echo(payload={"text": "ho"}), headers={"idempotency-key": "k"}
        )
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        ready = (await edge.get("/readyz", key="")).json()
        assert ready["status"] == "spooling"
        assert ready["dependencies"]["redis"] == "failing"
        assert ready["journal"]["rows"] == 1
        metrics = (await edge.get("/metrics", key="")).text
        assert 'roughneck_journal_rows{state="spooled"} 1.0' in metrics
        mortal.restart()

        async def arrived() -> bool:
            return (await edge.get(where)).json().get("state") == "waiting"

        await until(arrived, what="the job to arrive")
        await until(_is(edge, "ok"), what="readiness")


async def test_who_waits_for_a_spooled_job_gets_its_result(
    mortal: RedisServer, wire: "Redis", folder: Path, keys: dict[str, str]
) -> None:
    async with opened(wire, folder, keys) as edge:
        mortal.kill()
        waiting = asyncio.ensure_future(
            edge.post("/v1/jobs", echo(), headers={"prefer": "wait=20"})
        )
        await until(lambda: edge.parts.watch.waiting, what="the request to wait")
        mortal.restart()

        async def leased() -> object:
            with contextlib.suppress(Unavailable):
                return await edge.hand.take()
            return None

        [lease] = await until(leased, what="the job")
        await edge.settle(lease, Done(b'{"said":"hi"}'))
        reply = await waiting
        assert (reply.status_code, reply.json()["result"]) == (200, {"said": "hi"})


async def test_a_gateway_starts_without_redis(
    mortal: RedisServer, wire: "Redis", folder: Path, keys: dict[str, str]
) -> None:
    async with opened(wire, folder, keys):
        pass
    mortal.kill()
    async with opened(wire, folder, keys) as edge:
        assert (await edge.post("/v1/jobs", echo())).status_code == 202
        bad = await edge.post("/v1/jobs", echo(payload={"text": 3}))
        assert (bad.status_code, bad.json()["code"]) == (422, "invalid_input")
        assert (await edge.post("/v1/jobs", echo(), key="rn_abc_def")).status_code == 401
        assert (await edge.get("/readyz", key="")).json()["status"] == "spooling"


async def test_without_redis_and_without_copies_nothing_is_let_in(
    mortal: RedisServer, wire: "Redis", folder: Path, keys: dict[str, str]
) -> None:
    mortal.kill()
    async with opened(wire, folder, keys) as edge:
        assert (await edge.post("/v1/jobs", echo())).status_code == 503
        assert (await edge.get("/readyz", key="")).status_code == 503


async def test_a_revoked_key_is_refused_soon_and_after_a_restart(
    wire: "Redis", folder: Path, keys: dict[str, str]
) -> None:
    async with opened(wire, folder, keys) as edge:
        assert (await edge.post("/v1/jobs", echo())).status_code == 202
        await edge.parts.directory.delete_key(keys["app"].split("_")[1])

        async def refused() -> bool:
            return (await edge.post("/v1/jobs", echo())).status_code == 401

        await until(refused, what="the revocation", limit_s=5.0)
    copy = DiskCopy(folder / "copies" / "keys.json", ApiKey)
    kept = copy.read()
    assert kept is not None
    assert keys["app"].split("_")[1] not in kept
    assert keys["app"].split("_", 2)[2] not in (folder / "copies" / "keys.json").read_text("utf-8")


async def test_a_full_spool_and_a_refused_priority_over_http(
    mortal: RedisServer, wire: "Redis", folder: Path, keys: dict[str, str]
) -> None:
    settings = GatewaySettings(spool_rows_max=2, refresh_s=0.2)
    async with opened(wire, folder, keys, settings) as edge:
        await wire.config_set("maxmemory", "1mb")
        await until(lambda: edge.parts.acceptor.spool().away, what="pressure")  # type: ignore[union-attr]
        low = await edge.post("/v1/jobs", echo(priority="low"))
        assert (low.status_code, low.json()["code"]) == (503, "out_of_memory")
        batch = {"jobs": [echo(), echo(priority="low"), echo()]}
        reply = (await edge.post("/v1/jobs:batch", batch)).json()
        assert [item["status"] for item in reply["jobs"]] == [202, 503, 202]
        full = await edge.post("/v1/jobs", echo())
        assert (full.status_code, full.json()["code"]) == (503, "spool_full")
        assert 1 <= int(full.headers["retry-after"]) <= 300
        assert (await edge.get("/readyz", key="")).status_code == 503
        assert edge.parts.acceptor.spool().rows == 2  # type: ignore[union-attr]


async def test_readers_outlive_a_cut_of_every_connection(
    wire: "Redis", keys: dict[str, str], tmp_path: Path, mortal: RedisServer
) -> None:
    """Every pooled connection is dead at once: no read is answered with 503 because of it."""
    reading = open_redis(RedisSettings(url=mortal.url), "reads", reads_again=True)
    async with reading:
        await asyncio.gather(*(reading.ping() for _ in range(20)))
        await wire.client_kill_filter(_type="normal", skipme=True)
        answers = await asyncio.gather(*(reading.get("a") for _ in range(20)))
        assert answers == [None] * 20


async def test_a_short_outage_with_a_killed_gateway(redis_binary: RedisBinary) -> None:
    async with stage(Plan(outage_s=2.0, kills=2, rate=200.0, seed=3), redis_binary) as drive:
        outcome = await drive.run()
    assert outcome.good, outcome.table()
    assert outcome.kills == 2


async def test_a_redis_that_lost_its_last_second(mortal: RedisServer) -> None:
    plan = Plan(rollbacks=1, lose_s=1.0, rate=200.0, seed=4)
    async with stage(plan, mortal.binary) as drive:
        outcome = await drive.run()
    assert outcome.good, outcome.table()
    assert outcome.lost_bytes > 1_000
    assert outcome.alarms >= 1


def _is(edge: Edge, status: str):  # type: ignore[no-untyped-def]
    async def ask() -> bool:
        return bool((await edge.get("/readyz", key="")).json()["status"] == status)

    return ask
