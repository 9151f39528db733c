"""Two versions at work on one Redis, as during an upgrade: the one before, and this one.

The one before is the newest release's tree, or that of PREVIOUS while there is none, from git.
"""

import subprocess
import tarfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.redis_binary import RedisBinary
from tests.e2e.platform import DURABLE, Command, Platform, accepted, ended, platform, variables
from tests.e2e.receiver import Receiver, receiver
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PREVIOUS = "9f1491857a13102405df15635355731884038282"

OWN = "tests/e2e/processors"  # each version has its own: a newer one may say what an older cannot


def git(*arguments: str) -> bytes:
    """What git answers, empty where it knows nothing of it."""
    try:
        ran = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        return b""
    return ran.stdout if ran.returncode == 0 else b""


def previous_version() -> str:
    """The newest release that is not this one's own commit, else PREVIOUS; empty: no history."""
    here = git("rev-parse", "HEAD").decode().strip()
    for tag in git("tag", "--list", "v*", "--sort=-v:refname", "--merged").decode().split():
        if git("rev-list", "-n1", tag).decode().strip() != here:
            return tag
    return PREVIOUS if git("cat-file", "-t", PREVIOUS) else ""


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the version before."""
    version = previous_version()
    if not version:
        pytest.skip("this tree has no history that holds an earlier version")
    folder = tmp_path_factory.mktemp("before")
    archive = git("archive", version, "streams", "processors", "gateway", "ops", OWN)
    with tarfile.open(fileobj=BytesIO(archive)) as opened:
        opened.extractall(folder, filter="data")
    return folder


@pytest.fixture
async def told() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


@pytest.fixture
async def stage(
    redis_binary: RedisBinary, told: Receiver, tmp_path: Path
) -> AsyncIterator[Platform]:
    server = RedisServer(redis_binary, *DURABLE)
    async with platform(server, tmp_path, network__allow_ports=told.server.port) as running:
        yield running
    server.stop()


class Versions:
    """Starts processes of either version."""

    def __init__(self, stage: Platform, before: Path) -> None:
        self.stage = stage
        self.spooled: list[str] = []
        self._new = stage.environment
        own = variables({"processors.folders": before / OWN})
        self._old = {**stage.environment, **own, "PYTHONPATH": str(before)}

    async def worker(self, name: str, *, old: bool) -> Command:
        self.stage.environment = self._old if old else self._new
        return await self.stage.worker(name)

    async def gateway(self, *, old: bool) -> Command:
        self.stage.environment = self._old if old else self._new
        return await self.stage.gateway()


async def test_work_goes_on_through_an_upgrade_and_back(
    stage: Platform, told: Receiver, before: Path
) -> None:
    """Old to new amid attempts; new to old once all has ended; and again, each time a gateway too.

    Leases of jobs are written otherwise than by PREVIOUS: new workers read both, old ones do not.
    """
    versions = Versions(stage, before)
    gateway = await versions.gateway(old=True)
    http = await stage.app("web")
    await told.register(http)
    jobs: list[str] = []
    worker = await versions.worker("w0", old=True)
    for turn, old in enumerate((False, True, False), 1):  # the version that comes
        gate = stage.folder / f"gate-{turn}"
        batch = await _submitted(http, told, gate)
        jobs += batch
        await until(stage.active, what="jobs to be active")
        if old:
            gate.touch()
            await _all_ended(http, batch)
        worker.kill() if turn == 1 else await _stopped(worker)
        gateway = await _followed(versions, gateway, old=old)
        worker = await versions.worker(f"w{turn}", old=old)
        gate.touch()
        await _all_ended(http, batch)
        heirs, versions.spooled = versions.spooled, []
        await _all_ended(await stage.app("heir"), heirs)
    callbacks = {job_id for job_id in jobs if not job_id.startswith("flow:")}
    await until(lambda: callbacks <= told.endings.keys(), what="every callback", limit_s=60)
    assert told.faults == []
    await stage.audited()


async def _submitted(http: httpx.AsyncClient, told: Receiver, gate: Path) -> list[str]:
    """Short, held, delayed and failing jobs, each with a callback, and a flow."""
    callback = {"url": f"{told.url}/x"}
    held = {"until": str(gate)}
    jobs: list[str] = []
    for processor in ("gate", "gate-cpu"):
        jobs += [await accepted(http, processor, {"ms": 1}, callback=callback) for _ in "123"]
        jobs.append(await accepted(http, processor, held, callback=callback, attempts_max=5))
    jobs.append(await accepted(http, "gate", {"ms": 1}, delay_s=5, callback=callback))
    again = {"fail_attempts": 1, **held}
    jobs.append(await accepted(http, "gate", again, callback=callback, attempts_max=5))
    flow = {"stages": [_stage("a", payload=held), _stage("b", after=["a"])]}
    reply = await http.post("/v1/flows", json=flow)
    assert reply.status_code == 202, reply.text
    return [*jobs, f"flow:{reply.json()['id']}"]


async def _all_ended(http: httpx.AsyncClient, jobs: list[str]) -> None:
    for job_id in jobs:
        assert (await ended(http, job_id.removeprefix("flow:"), 60))["state"] == "succeeded"


async def _stopped(command: Command) -> None:
    command.process.terminate()
    assert await command.ended(60) == 0, command.tail()


async def _followed(versions: Versions, gateway: Command, *, old: bool) -> Command:
    """A gateway takes another's place, and ships what that one spooled while Redis was away."""
    stage = versions.stage
    http = await stage.app("heir")
    job_id = await until(lambda: _tried(http), what="the key to be known")
    stage.server.kill()
    versions.spooled = [job_id, *[await accepted(http, "gate", {"ms": 1}) for _ in "12345"]]
    gateway.kill()
    stage.server.restart()
    return await versions.gateway(old=old)


async def _tried(http: httpx.AsyncClient) -> str:
    reply = await http.post("/v1/jobs", json={"processor": "gate", "payload": {"ms": 1}})
    return str(reply.json().get("id", ""))


def _stage(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "processor": "gate", "payload": {"ms": 1}, **fields}
