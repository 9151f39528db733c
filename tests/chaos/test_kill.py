"""SIGKILL to the worker, again and again, while attempts run: every job ends once, told once."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import msgspec

from streams.model import State
from tests.e2e.platform import Command, Platform, children, gone, platform
from tests.e2e.receiver import Receiver, receiver
from tests.support.leaks import leaks
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

JOBS, KILLS = 200, 10
CRASHES_MAX = 3
POSTS_CUT = 4  # what the courier has on its way to one endpoint
RUNNING_MIN = 3  # attempts under way when the worker is killed
SCHEDULE = "0.0,0.2,0.5,1.0,2.0,4.0"  # of callbacks


class Death(msgspec.Struct):
    """What a killed worker took with it."""

    leases: set[str]  # jobs that it held in Redis
    running: set[str]  # jobs whose attempt had begun, by the attempts' own ledger
    children: list[int]


def requests(ledger: Path, callback: str) -> list[dict[str, Any]]:
    """Jobs of both classes with delays; every seventh of io and eleventh of cpu fails once."""
    jobs: list[dict[str, Any]] = []
    for n in range(JOBS):
        if n % 4 == 0:
            failing = {"fail": "transient", "fail_attempts": 1} if n % 11 == 0 else {}
            payload = {"message": f"{n}", "delay_ms": 20 + n % 50, **failing}
            jobs.append({"processor": "echo", "payload": payload, "attempts_max": 3})
        else:
            name = "gate" if n % 4 < 3 else "gate-cpu"
            failing = {"fail_attempts": 1} if n % 7 == 0 else {}
            payload = {"ledger": str(ledger), "ms": 50 + n % 300, **failing}
            jobs.append({"processor": name, "payload": payload, "attempts_max": 10})
    return [{**job, "callback": {"url": callback}} for job in jobs]


def begun_not_ended(ledger: Path) -> set[str]:
    """Jobs whose newest attempt wrote that it began and not that it ended."""
    newest: dict[str, str] = {}
    for line in ledger.read_text().splitlines() if ledger.exists() else ():
        job_id, _, what, *_ = line.split()
        newest[job_id] = what
    return {job_id for job_id, what in newest.items() if what == "begin"}


async def kill(stage: Platform, worker: Command, ledger: Path, settled_first: int) -> Death:
    """Kill `worker` while it runs attempts, once `settled_first` jobs have ended."""

    async def at_work() -> list[int]:
        if await stage.count("succeeded", "dead") < settled_first:
            return []
        pids = children(worker.pid)
        running = begun_not_ended(ledger) & await stage.active(worker.id)
        return pids if len(running) >= RUNNING_MIN else []

    pids = await until(at_work, what=f"{worker.name} to be at work", limit_s=30)
    worker.kill()
    # Nobody else takes work, and no lease has run out: what is active is what died.
    leases = await stage.active(worker.id)
    return Death(leases, begun_not_ended(ledger) & leases, pids)


async def submit(http: httpx.AsyncClient, jobs: list[dict[str, Any]]) -> list[str]:
    """Half of the jobs as a batch, half of them one by one; their ids."""
    half = len(jobs) // 2
    reply = await http.post("/v1/jobs:batch", json={"jobs": jobs[:half]})
    ids = [str(item["job"]["id"]) for item in reply.json()["jobs"]]
    for job in jobs[half:]:
        reply = await http.post("/v1/jobs", json=job)
        assert reply.status_code == 202, reply.text
        ids.append(reply.json()["id"])
    assert len(set(ids)) == len(jobs)
    return ids


async def test_two_hundred_jobs_survive_ten_kills_of_their_worker(
    durable_server: RedisServer, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    async with (
        receiver() as told,
        platform(
            durable_server,
            tmp_path,
            network__allow_ports=told.server.port,
            courier__schedule_s=SCHEDULE,
        ) as stage,
    ):
        worker = await stage.worker("w0")
        await stage.gateway()
        http = await stage.app("etyde")
        await told.register(http)
        for command in ("pause", "resume"):  # all jobs are there before the first runs
            if command == "resume":
                ids = await submit(http, requests(ledger, f"{told.url}/done"))
            for resource_class in ("io", "cpu"):
                said = stage.cli("classes", command, resource_class)
                assert said.returncode == 0, said.stderr
        deaths: list[Death] = []
        for n in range(1, KILLS + 1):
            deaths.append(await kill(stage, worker, ledger, settled_first=n * JOBS // (KILLS + 3)))
            worker = await stage.worker(f"w{n}")
            gone(deaths[-1].children)
        await stage.all_ended(JOBS, limit_s=60)

        for death in deaths:
            assert death.leases
            assert death.running
            assert death.children
        attempts = await check_ledger(stage, ids, deaths)
        await check_callbacks(stage, told, ids)
        assert told.refused  # those came again, on the schedule
        await stage.audited()
        assert await leaks(stage.redis) == []
        lost = Counter(job for death in deaths for job in death.leases)
        print(
            f"kills {KILLS}, attempts {attempts}, leases lost {lost.total()},"
            f" most for one job {max(lost.values())}, callbacks {len(told.bodies)},"
            f" sent again unasked {told.repeated}"
        )


async def test_a_courier_killed_between_post_and_answer_repeats_the_same_bytes(
    durable_server: RedisServer, tmp_path: Path
) -> None:
    async with (
        receiver() as told,
        platform(
            durable_server,
            tmp_path,
            network__allow_ports=told.server.port,
            courier__schedule_s=SCHEDULE,
        ) as stage,
    ):
        await stage.worker("w")
        gateway = await stage.gateway()
        http = await stage.app("etyde")
        await told.register(http)
        told.answering.clear()
        job = {"processor": "gate", "payload": {}, "callback": {"url": told.url}}
        reply = await http.post("/v1/jobs:batch", json={"jobs": [job] * 20})
        ids = [str(item["job"]["id"]) for item in reply.json()["jobs"]]
        await stage.all_ended(len(ids), limit_s=20)
        await until(lambda: len(told.bodies) >= POSTS_CUT, what="posts to be on their way")
        cut = set(told.bodies)
        gateway.kill()
        told.answering.set()
        await stage.gateway()
        await check_callbacks(stage, told, ids)
        assert {callback for callback in cut if told.deliveries[callback] >= 2} == cut
        assert await leaks(stage.redis) == []


async def check_ledger(stage: Platform, ids: list[str], deaths: list[Death]) -> int:
    """Every job ended once, and each of its attempts is accounted for; how many there were."""
    jobs = await stage.jobs(ids)
    happened = Counter((event.job_id, event.kind) for event in await stage.events())
    died = Counter(job_id for death in deaths for job_id in death.leases)
    assert {job_id: happened[job_id, "ended"] for job_id in ids} == dict.fromkeys(ids, 1)
    for job_id in ids:
        job = jobs[job_id]
        doomed = died[job_id] >= CRASHES_MAX
        assert job.crashes == died[job_id], job
        assert job.state is (State.DEAD if doomed else State.SUCCEEDED), job
        assert job.attempt == job.failures + job.crashes + (not doomed), job
        assert happened[job_id, "active"] == job.attempt, job
        assert happened[job_id, "retrying"] == job.failures, job
        if doomed:
            assert job.fault
            assert job.fault.code == "crashed"
    counts = await stage.inspector.counts()
    assert sum(n for field, n in counts.items() if field.endswith("|submitted")) == len(ids)
    return sum(job.attempt for job in jobs.values())


async def check_callbacks(stage: Platform, told: Receiver, ids: list[str]) -> None:
    """Each job's end was told truly, by callbacks that are genuine."""

    async def delivered() -> bool:
        return (await stage.callbacks.counts()).get("delivered") == len(ids)

    await until(delivered, what="every callback to be delivered", limit_s=20)
    assert told.faults == []
    endings = told.endings
    assert {job_id: len(endings.get(job_id, ())) for job_id in ids} == dict.fromkeys(ids, 1)
    assert len(told.bodies) == len(ids)
    for job_id, job in (await stage.jobs(ids)).items():
        [ending] = endings[job_id]
        assert (ending["state"], ending["attempt"]) == (job.state, job.attempt)
        result = await stage.inspector.result(job_id)
        assert ending["result"] == (json.loads(result) if result else None)
