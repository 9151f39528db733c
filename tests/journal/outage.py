"""An outage of Redis under load, with the gateway killed meanwhile; and a Redis that lost its tail.

    python -m tests.journal.outage --minutes 10 --kills 5 --seed 1
    python -m tests.journal.outage --rollbacks 5 --lose-s 2 --seed 1

A gateway as users start it, clients that submit over HTTP and ask again under the same idempotency
key until they get a 202, and a ledger of these. In the end Redis has exactly these jobs.
"""

import argparse
import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from gateway.auth import mint_key
from ops.redis_binary import RedisBinary, installed
from streams.directory import Directory
from streams.ids import job_id_for_key
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from tests.http.edge import card, echo
from tests.journal.scene import client
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
APP, KEYS = "load", Keyspace()
CLIENTS = 16
LOOK_S = 0.05
ROLLBACKS = "roughneck_journal_rollbacks_total"
OPTIONS = ("appendonly yes", "appendfsync everysec", "auto-aof-rewrite-percentage 0")


@dataclass
class Plan:
    """What a run does."""

    outage_s: float = 0.0
    kills: int = 0
    rollbacks: int = 0
    lose_s: float = 2.0
    rate: float = 50.0  # submits per second, over all clients
    seed: int = 1


@dataclass
class Ledger:
    """What was answered."""

    accepted: dict[str, str] = field(default_factory=dict)  # id → the state it was accepted with
    answers: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


@dataclass
class Outcome:
    """What a run found."""

    plan: Plan
    ledger: Ledger
    kills: int
    lost_bytes: int
    jobs: int  # that Redis was given, in all
    missing: Sequence[str]
    caught_up_s: float
    alarms: int

    @property
    def good(self) -> bool:
        """Whether Redis has the accepted jobs, each once, and nothing else."""
        return not self.missing and self.jobs == len(self.ledger.accepted)

    def table(self) -> str:
        """The figures, a line each."""
        states = Counter(self.ledger.accepted.values())
        rows = {
            "seed": self.plan.seed,
            "Redis away, s": self.plan.outage_s,
            "gateway killed": self.kills,
            "Redis set back": f"{self.plan.rollbacks} times, {self.lost_bytes} bytes cut off",
            "answers": dict(sorted(self.ledger.answers.items())),
            "slowest answer, s": round(self.ledger.slowest_s, 2),
            "202s (distinct jobs)": len(self.ledger.accepted),
            "of these spooled": states["spooled"],
            "jobs in Redis": self.jobs,
            "missing": len(self.missing),
            "rollbacks noticed": self.alarms,
            "caught up after, s": round(self.caught_up_s, 1),
            "verdict": "equal" if self.good else "NOT EQUAL",
        }
        return "\n".join(f"{name:24} {value}" for name, value in rows.items())


class Gateway:
    """`roughneck gateway` on a port that stays, however often it is killed."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", "ops.cli", "--redis", redis_url, "gateway"]
        self._command += ["--port", str(self.port), "--no-courier"]
        self._environment = {
            **os.environ,
            "ROUGHNECK_GATEWAY__JOURNAL_FOLDER": str(folder / "journal"),
            "ROUGHNECK_GATEWAY__AUDIT_FILE": "",
            "ROUGHNECK_LOG__LEVEL": "error",
        }
        self._log = open(folder / "gateway.log", "ab")  # noqa: SIM115 - closed by stop
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stdout=self._log, stderr=self._log
        )

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.close()

    async def metric(self, name: str) -> float:
        """A metric of this process; -1 while it cannot be asked."""
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(base_url=self.url, timeout=10.0) as http:
                for line in (await http.get("/metrics")).text.splitlines():
                    if line.startswith(f"{name} "):
                        return float(line.split()[1])
        return -1.0


class Tail:
    """How long the append-only file was, a while ago; and Redis set back to then."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._sizes: deque[tuple[float, int]] = deque(maxlen=400)

    def look(self) -> None:
        """Note how long the file is now."""
        self._sizes.append((time.monotonic(), self._file().stat().st_size))

    def cut(self, lose_s: float) -> int:
        """Kill Redis, cut off what it wrote in the last seconds, start it; how many bytes."""
        self._server.kill()
        before = time.monotonic() - lose_s
        size = max((size for at, size in self._sizes if at <= before), default=0)
        lost = self._file().stat().st_size - size
        os.truncate(self._file(), size)
        self._server.restart()
        self._sizes.clear()
        return lost

    def _file(self) -> Path:
        many = sorted(self._server.folder.glob("appendonlydir/*.incr.aof"))
        return many[-1] if many else self._server.folder / "appendonly.aof"


class Drive:
    """One run over one server and one gateway."""

    def __init__(self, plan: Plan, server: RedisServer, gateway: Gateway, key: str) -> None:
        self._plan = plan
        self._server = server
        self._gateway = gateway
        self._key = key
        self._random = random.Random(plan.seed)
        self._ledger = Ledger()
        self._ended = asyncio.Event()
        self._numbers = iter(range(10**9))
        self._kills = self._lost_bytes = 0

    async def run(self) -> Outcome:
        """Load all the time; the faults; then wait until everything has arrived."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._submit())
            await until(lambda: len(self._ledger.accepted) > 20, what="the load", limit_s=30.0)
            if self._plan.outage_s:
                await self._outage()
            if self._plan.rollbacks:
                await self._set_back()
            self._ended.set()
        began = time.monotonic()
        missing, jobs = await self._arrived()
        alarms = int(await self._gateway.metric(ROLLBACKS))
        caught_up_s = time.monotonic() - began
        return Outcome(
            self._plan,
            self._ledger,
            self._kills,
            self._lost_bytes,
            jobs,
            missing,
            caught_up_s,
            alarms,
        )

    async def _outage(self) -> None:
        plan = self._plan
        self._server.kill()
        moments = sorted(self._random.uniform(0, plan.outage_s) for _ in range(plan.kills))
        began = time.monotonic()
        for moment in moments:
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            self._gateway.kill()
            self._kills += 1
            await asyncio.sleep(self._random.uniform(0.1, 1.0))
            self._gateway.start()
        await asyncio.sleep(max(0.0, began + plan.outage_s - time.monotonic()))
        self._server.restart()

    async def _set_back(self) -> None:
        tail = Tail(self._server)
        for _ in range(self._plan.rollbacks):
            ends = time.monotonic() + self._plan.lose_s + self._random.uniform(0.5, 2.5)
            while time.monotonic() < ends:
                tail.look()
                await asyncio.sleep(LOOK_S)
            self._lost_bytes += tail.cut(self._plan.lose_s)

    async def _submit(self) -> None:
        """One client: a job after the other, each until it has a 202."""
        pause_s = CLIENTS / self._plan.rate
        async with httpx.AsyncClient(base_url=self._gateway.url, timeout=10.0) as http:
            while not self._ended.is_set():
                await self._accepted(http, f"{self._plan.seed}-{next(self._numbers)}")
                await asyncio.sleep(self._random.uniform(0, 2 * pause_s))

    async def _accepted(self, http: httpx.AsyncClient, name: str) -> None:
        headers = {"authorization": f"Bearer {self._key}", "idempotency-key": name}
        while True:
            began = time.monotonic()
            try:
                reply = await http.post("/v1/jobs", json=echo(), headers=headers)
            except httpx.HTTPError as error:
                self._ledger.answers[type(error).__name__] += 1
            else:
                self._ledger.answers[str(reply.status_code)] += 1
                spent_s = time.monotonic() - began
                self._ledger.slowest_s = max(self._ledger.slowest_s, spent_s)
                if reply.status_code == 202:
                    assert reply.json()["id"] == job_id_for_key(APP, name)
                    self._ledger.accepted[reply.json()["id"]] = reply.json()["state"]
                    return
            await asyncio.sleep(0.1)

    async def _arrived(self) -> tuple[list[str], int]:
        """Which accepted jobs Redis lacks once nothing more comes, and how many jobs it has."""
        ids = list(self._ledger.accepted)
        missing: list[str] = ids
        async with client(self._server.url) as redis:
            inspector = Inspector(redis, KEYS)

            async def complete() -> bool:
                nonlocal missing
                found: set[str] = set()
                for first in range(0, len(missing), 1_000):
                    part = missing[first : first + 1_000]
                    found.update(job.id for job in await inspector.jobs_by_id(part))
                missing = [one for one in missing if one not in found]
                return not missing

            with contextlib.suppress(AssertionError):
                await until(complete, what="every job", limit_s=60.0)
            counts = await inspector.counts()
        return missing, sum(n for name, n in counts.items() if name.endswith("|submitted"))


@contextlib.asynccontextmanager
async def stage(plan: Plan, binary: RedisBinary) -> AsyncIterator[Drive]:
    """A server and a gateway of the run's own, gone at its end."""
    server = RedisServer(binary, *OPTIONS)
    with tempfile.TemporaryDirectory(prefix="rn-outage-") as name:
        try:
            async with client(server.url) as redis:
                directory = Directory(redis, KEYS)
                record, key = mint_key(APP, ("submit", "read"), now_ms=1)
                await directory.put_key(record)
                await directory.publish_processor(card())
            gateway = Gateway(Path(name), server.url)
            try:
                yield Drive(plan, server, gateway, key)
            finally:
                gateway.stop()
        finally:
            server.stop()


async def main(plan: Plan, binary: RedisBinary) -> bool:
    """Run the plan and print what was found."""
    async with stage(plan, binary) as drive:
        outcome = await drive.run()
    print(f"{'server':24} {binary.label}\n{outcome.table()}", flush=True)
    return outcome.good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="how long Redis is away")
    parser.add_argument("--kills", type=int, default=0, help="how often the gateway is killed then")
    parser.add_argument("--rollbacks", type=int, default=0, help="how often Redis loses its tail")
    parser.add_argument("--lose-s", type=float, default=2.0, help="how much of it")
    parser.add_argument("--rate", type=float, default=50.0, help="submits per second")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chosen = Plan(
        given.minutes * 60, given.kills, given.rollbacks, given.lose_s, given.rate, given.seed
    )
    sys.exit(0 if asyncio.run(main(chosen, installed()[0])) else 1)
