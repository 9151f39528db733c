"""Redis dies, forgets its scripts, cuts connections: work goes on by itself within five seconds."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ops.redis_binary import RedisBinary, installed
from streams.model import State
from tests.chaos.load import BURST, Load, load
from tests.e2e.platform import DURABLE, Command, Platform, accepted, platform
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

AWAY_S = 1.5  # how long Redis stays away

pytestmark = pytest.mark.skipif(not installed(), reason="no Redis server is installed")


@pytest.fixture(params=installed(), ids=lambda binary: binary.label)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    binary: RedisBinary = request.param
    newest = request.config.getoption("--redis-version") == "newest"
    if newest and binary != installed()[0]:
        pytest.skip("only the newest server is asked for")
    running = RedisServer(binary, *DURABLE)
    yield running
    running.stop()


@pytest.fixture
async def stage(server: RedisServer, tmp_path: Path) -> AsyncIterator[Platform]:
    async with platform(server, tmp_path) as running:
        await asyncio.gather(running.worker("w"), running.gateway())
        yield running


async def test_work_resumes_by_itself_after_redis_was_killed(
    stage: Platform, server: RedisServer
) -> None:
    took: list[float] = []
    async with load(stage) as submits:
        for _ in range(3):
            await until(stage.active, what="attempts to run")
            server.kill()
            await asyncio.sleep(AWAY_S)  # an outage has a length: nothing to wait for
            server.restart()
            took.append(await submits.flows())
            await submits.flows(BURST, limit_s=30)
    ended = await settled_once(stage, submits)
    assert all(command.running for command in stage.commands)
    assert submits.statuses.keys() == {202}
    assert submits.states[State.SPOOLED] > 0
    print(f"resumed within {max(took):.2f} s, {ended} jobs, {submits.states}")


async def settled_once(stage: Platform, submits: Load) -> int:
    """Every accepted job ended once, and the books balance; how many there are."""
    await until(lambda: everything_ended(stage), what="everything to end", limit_s=30)
    jobs = await stage.jobs(submits.accepted)
    assert jobs.keys() == submits.accepted.keys()
    assert {job.state for job in jobs.values()} == {State.SUCCEEDED}
    endings = Counter(event.job_id for event in await stage.events() if event.kind == "ended")
    assert set(endings.values()) == {1}
    assert endings.keys() >= jobs.keys()  # a submit may be accepted and its answer be lost
    await stage.audited()
    return len(jobs)


async def everything_ended(stage: Platform) -> bool:
    return await stage.count("waiting", "active", "delayed") == 0


@pytest.mark.parametrize(
    "blow", ["CLIENT KILL TYPE normal SKIPME yes", "SCRIPT FLUSH", "CLIENT PAUSE 3000 ALL"]
)
async def test_work_goes_on_when_redis_misbehaves(stage: Platform, blow: str) -> None:
    pause_s = 3.0 if "PAUSE" in blow else 0.0
    async with load(stage) as submits:
        for _ in range(2 if pause_s else 5):
            await until(stage.active, what="attempts to run")
            await stage.redis.execute_command(*blow.split())
            await asyncio.sleep(pause_s)
            await submits.flows()
            await submits.flows(BURST, limit_s=30)
    print(f"{await settled_once(stage, submits)} jobs, {submits.statuses}")
    assert all(command.running for command in stage.commands)


async def test_a_worker_that_stood_still_longer_than_its_lease_is_fenced(
    stage: Platform, tmp_path: Path
) -> None:
    http = await stage.app("etyde")
    [frozen] = [command for command in stage.commands if command.name == "w"]
    open_file = tmp_path / "open"
    payload = {"until": str(open_file), "ledger": str(tmp_path / "ledger")}
    ids = [
        await accepted(http, processor, payload)
        for processor in ("gate", "gate-cpu")
        for _ in range(3)
    ]
    await until(lambda: runs(stage, frozen, ids), what="all to run")
    frozen.signal(signal.SIGSTOP)
    other = await stage.worker("other")
    await until(lambda: runs(stage, other, ids), what="the other worker to take over", limit_s=10)
    open_file.touch()  # now the old attempts can end too
    frozen.signal(signal.SIGCONT)
    await stage.all_ended(len(ids), limit_s=20)
    await until(lambda: not_lost_any_more(frozen, ids), what="the old attempts to be refused")
    happened = Counter((event.job_id, event.kind) for event in await stage.events())
    assert [happened[job_id, "ended"] for job_id in ids] == [1] * len(ids)
    assert [happened[job_id, "active"] for job_id in ids] == [2] * len(ids)
    for job in (await stage.jobs(ids)).values():
        # The worker had not died, so its lost lease is forgiven.
        assert (job.state, job.crashes, job.failures) == (State.SUCCEEDED, 0, 0)
    await stage.audited()


async def runs(stage: Platform, worker: Command, ids: list[str]) -> bool:
    return await stage.active(worker.id) == set(ids)


def not_lost_any_more(worker: Command, ids: list[str]) -> bool:
    """Whether the worker has learnt of every job that it is not its own any more."""
    told = worker.said("the lease was lost") + worker.said("the verdict changed nothing")
    return {record["job_id"] for record in told} == set(ids)


async def test_a_gateway_without_redis_spools_at_once_and_is_back_with_it(
    stage: Platform, server: RedisServer
) -> None:
    http = await stage.app("etyde")
    job = {"processor": "gate", "payload": {}}
    await accepted(http, "gate", {})
    server.kill()
    reply = await http.post("/v1/jobs", json=job)
    assert (reply.status_code, reply.json()["state"]) == (202, State.SPOOLED)
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "spooling")
    assert (await http.get("/healthz")).status_code == 200
    listing = await http.get("/v1/jobs")  # what only Redis knows is refused
    assert (listing.status_code, listing.json()["code"]) == (503, "unavailable")
    assert int(listing.headers["retry-after"]) >= 1
    server.restart()

    async def ended() -> bool:
        told = await http.get(f"/v1/jobs/{reply.json()['id']}")
        return told.status_code == 200 and told.json()["state"] == State.SUCCEEDED

    await until(ended, what="the spooled job to end")
    assert (await http.get("/readyz")).json()["status"] == "ok"
    await accepted(http, "gate", {})
