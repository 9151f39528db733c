"""Drives the whole platform through a plan of faults, and keeps the ledger of what happened."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec

from ops.redis_binary import RedisBinary
from tests.chaos.cutting import Cut, CuttingProxy, cutting_proxy
from tests.chaos.ledger import Findings, Hit, judged, parsed
from tests.chaos.plan import Blow, Fault
from tests.e2e.platform import DURABLE, LEASE_S, Command, Platform, platform
from tests.e2e.receiver import Receiver, receiver
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

WORKERS = 3
BATCH = 20
AHEAD = 30  # jobs submitted beyond those that are done: fewer than slots, so that some are free
VICTIM_LIMIT_S = 60.0
PAUSE_S = 2.5 * LEASE_S
SILENT_S = 3.0
TAIL_S = 2.0
FULL_S = 2.0
SETTINGS = {
    "courier__schedule_s": "0.0,0.2,0.5,1.0,2.0,4.0,4.0,4.0",
    "engine__journal_after_ms": 20,  # so that most attempts count as long
    "engine__open_gap_ms": 1_000,  # in the lease's proportion
    "engine__return_grace_ms": 2_000,
}


class Course(msgspec.Struct, frozen=True):
    """What is to be driven."""

    jobs: int
    plan: Sequence[Fault]
    folder: Path
    job_ms: int = 1_600  # the longest job, so that a blow finds all workers at work
    end_limit_s: float = 120.0


class Running:
    """Who is at work, by the attempts' own ledger, read on from where it was read last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._rest = ""
        self._open: dict[tuple[str, str, str], frozenset[int]] = {}
        self.done: set[str] = set()  # jobs of which an attempt has come to its end

    def of(self, pid: int) -> int:
        """How many attempts this worker is running."""
        self.read()
        return sum(pid in workers for workers in self._open.values())

    def read(self) -> int:
        """Read what is new; how many jobs are done."""
        if self._path.exists():
            with self._path.open() as file:
                file.seek(self._read)
                lines = (self._rest + file.read()).split("\n")
                self._read, self._rest = file.tell(), lines.pop()
            for line in lines:
                job_id, attempt, what, who, parent, _ = line.split()
                key = (job_id, attempt, who)
                if what == "begin":
                    self._open[key] = frozenset((int(who), int(parent)))
                else:
                    self._open.pop(key, None)
                    self.done.add(job_id)
        return len(self.done)


class Drive:
    """One course on one platform."""

    def __init__(
        self, stage: Platform, told: Receiver, links: Sequence[CuttingProxy], course: Course
    ) -> None:
        self.stage = stage
        self.told = told
        told.forgetful = any(fault.blow is Blow.LOSE_TAIL for fault in course.plan)
        self.course = course
        self.hits: list[Hit] = []
        self.accepted: list[str] = []
        self.ledger = course.folder / "ledger"
        self._worker_link, self._gateway_link = links
        self._running = Running(self.ledger)
        self._workers: list[Command] = []
        self._paused: list[Command] = []
        self._started = 0
        self._struck = False  # all faults have

    # ------------------------------------------------------------------ the course

    async def run(self) -> Findings:
        for _ in range(WORKERS):
            self._workers.append(self._worker())
        await self.stage.gateway()
        http = await self.stage.app("etyde")
        await self.told.register(http)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._submit(http))
            for fault in self.course.plan:
                await self._reached(fault.after, self._running.read, "to be done")
                if fault.blow is Blow.PAUSE_WORKER:
                    group.create_task(self._strike(fault))
                else:
                    await self._strike(fault)
            self._struck = True
        total = len(self.accepted)
        await self._reached(total, lambda: len(self.told.bodies), "to be told of")
        return await self._judge()

    async def _submit(self, http: httpx.AsyncClient) -> None:
        """Submit until every fault has struck; what was not answered 202 is sent again."""
        submitted = 0
        while submitted < self.course.jobs or not self._struck:
            await until(
                lambda at=submitted: at < self._running.read() + AHEAD, what="room", limit_s=120
            )
            batch = [self._request(submitted + n) for n in range(BATCH)]
            submitted += len(batch)
            while batch:
                try:
                    reply = await http.post("/v1/jobs:batch", json={"jobs": batch})
                    answers = reply.json()["jobs"] if reply.status_code < 300 else []
                except httpx.TransportError:
                    answers = []
                taken = [item["job"]["id"] if item.get("job") else "" for item in answers]
                self.accepted += filter(None, taken)
                batch = [job for job, done in zip(batch, taken, strict=False) if not done] or (
                    [] if taken else batch
                )
                if batch:
                    await asyncio.sleep(0.2)

    def _request(self, number: int) -> dict[str, object]:
        return {
            "processor": "gate" if number % 8 else "gate-cpu",
            "payload": {"ledger": str(self.ledger), "ms": 100 + number * 137 % self.course.job_ms},
            "attempts_max": 20,
            "idempotency_key": f"course-{number}",
            "callback": {"url": f"{self.told.url}/done"},
        }

    async def _reached(self, count: int, progress: Callable[[], int], what: str) -> None:
        """Wait until so many jobs are that far; an end of all progress is a failure."""
        seen = -1
        while seen < progress() < count:
            seen = progress()
            try:
                await until(
                    lambda before=seen: progress() > before,  # type: ignore[misc]
                    what=f"job {seen + 1} of {count} {what}",
                    limit_s=self.course.end_limit_s,
                )
            except AssertionError as error:
                raise AssertionError(f"{error}; {await self.stage.inspector.counts()}") from None

    # ------------------------------------------------------------------ faults

    async def _strike(self, fault: Fault) -> None:
        match fault.blow:
            case Blow.KILL_WORKER:
                await self._kill_worker(fault)
            case Blow.PAUSE_WORKER:
                await self._pause_worker(fault)
            case Blow.KILL_GATEWAY:
                await self._kill_gateway()
            case Blow.CUT:
                await self._cut(fault)
            case Blow.KILL_REDIS | Blow.LOSE_TAIL | Blow.FILL_REDIS:
                await self._harm_redis(fault.blow)

    def _worker(self) -> Command:
        self._started += 1
        given = {"worker.name": f"w{self._started}", "redis.url": self._worker_link.url}
        classes = ("--class", "io", "--class", "cpu")
        return self.stage.command(f"w{self._started}", "worker", *classes, **given)

    async def _victim(self, draw: float) -> int:
        """The place of a worker that is running attempts."""

        def at_work() -> list[int]:
            return [
                place
                for place, worker in enumerate(self._workers)
                if worker.running
                and worker not in self._paused
                and self._running.of(worker.pid) > 0
            ]

        def enough() -> list[int]:
            places = at_work()
            return places if len(places) >= min(2, WORKERS) else []  # somebody must be left

        places = await until(enough, what="two workers at work", limit_s=VICTIM_LIMIT_S)
        return places[int(draw * len(places))]

    async def _kill_worker(self, fault: Fault) -> None:
        place = await self._victim(fault.draw)
        worker = self._workers[place]
        now = time.monotonic()
        worker.process.kill()
        self.hits.append(Hit(fault.blow, now, now, frozenset((worker.pid,))))
        self._workers[place] = self._worker()
        await asyncio.to_thread(worker.process.wait)

    async def _pause_worker(self, fault: Fault) -> None:
        worker = self._workers[await self._victim(fault.draw)]
        began = time.monotonic()
        self._paused.append(worker)
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(PAUSE_S)
        worker.signal(signal.SIGCONT)
        self._paused.remove(worker)
        self.hits.append(Hit(fault.blow, began, time.monotonic(), frozenset((worker.pid,))))

    async def _kill_gateway(self) -> None:
        gateway = next(c for c in reversed(self.stage.commands) if c.name == "gateway")
        await asyncio.to_thread(gateway.kill)
        await self.stage.gateway()

    async def _cut(self, fault: Fault) -> None:
        link = self._worker_link if fault.draw < 0.7 else self._gateway_link
        began = time.monotonic()
        link.cut(fault.cut)
        if fault.cut is Cut.SILENT:
            await asyncio.sleep(SILENT_S)
            link.cut(Cut.NOW)
        self.hits.append(Hit(fault.blow, began, time.monotonic() + LEASE_S))

    async def _harm_redis(self, blow: Blow) -> None:
        server, redis = self.stage.server, self.stage.redis
        began = time.monotonic()
        if blow is Blow.KILL_REDIS:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
        elif blow is Blow.LOSE_TAIL:
            saved = await asyncio.to_thread(server.saved)
            await asyncio.sleep(TAIL_S)
            await asyncio.to_thread(server.lose_since, saved)
        else:
            used = (await redis.info("memory"))["used_memory"]
            await redis.config_set("maxmemory", used)
            await asyncio.sleep(FULL_S)
            await redis.config_set("maxmemory", 0)
        self.hits.append(Hit(blow, began, time.monotonic() + LEASE_S))

    # ------------------------------------------------------------------ judgement

    async def _judge(self) -> Findings:
        stored = {}
        for start in range(0, len(self.accepted), 500):
            for job_id, job in (await self.stage.jobs(self.accepted[start : start + 500])).items():
                raw = await self.stage.inspector.result(job_id)
                stored[job_id] = (str(job.state), msgspec.json.decode(raw) if raw else None)
        await self.stage.audited()
        assert self.told.faults == [], self.told.faults
        assert len(self.accepted) == len(set(self.accepted)) >= self.course.jobs
        runs = parsed(self.ledger.read_text().splitlines())
        return judged(self.accepted, runs, self.hits, self.told.endings, stored)


@asynccontextmanager
async def drive(binary: RedisBinary, course: Course) -> AsyncIterator[Drive]:
    """A platform of real processes, every link to Redis through a proxy that cuts."""
    server = RedisServer(binary, *DURABLE)
    try:
        async with (
            receiver() as told,
            cutting_proxy(server.port) as workers,
            cutting_proxy(server.port) as gateways,
            platform(
                server,
                course.folder,
                redis__url=gateways.url,
                network__allow_ports=told.server.port,
                **SETTINGS,
            ) as stage,
        ):
            yield Drive(stage, told, (workers, gateways), course)
    finally:
        server.stop()
