"""The platform as a user runs it: real processes over a Redis of their own, their logs at hand."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from gateway.auth import mint_key
from streams.broker import Broker
from streams.callbacks import CallbackStore
from streams.clock import SystemClock
from streams.directory import Directory
from streams.events import Event, EventReader
from streams.inspector import Inspector
from streams.keyspace import Keyspace
from streams.listing import JobFilter
from streams.model import Job, State
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import until, until_sync

FOLDER = Path(__file__).parent / "processors"
LEASE_S = 2.0
SETTINGS = {
    "engine.lease_ms": 2000,
    "engine.renew_ms": 500,
    "processors.folders": FOLDER,
    "network.allow_networks": "127.0.0.0/8",
    "courier.lease_ms": 2000,
    "courier.renew_s": 0.5,
    "log.format": "json",
}
START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
TAIL_LINES = 40
PROGRAM = (sys.executable, "-m", "ops.cli")
DURABLE = ("appendonly yes", "appendfsync everysec")


class Command:
    """One `roughneck` command as a process; all it says goes to a file."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*program, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.id = ""  # of a worker, once it has announced itself

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def said(self, message: str) -> list[dict[str, Any]]:
        """The log's records with this message."""
        lines = (line for line in self.log().splitlines() if line.startswith("{"))
        return [record for record in map(json.loads, lines) if record["message"] == message]

    def tail(self) -> str:
        return "\n".join(self.log().splitlines()[-TAIL_LINES:])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)

    async def ended(self, limit_s: float = STOP_LIMIT_S) -> int:
        """Its exit code, once it has ended; one that hangs leaves its stacks in the log."""
        try:
            await until(lambda: not self.running, what=f"{self.name} to end", limit_s=limit_s)
        except AssertionError:
            self.signal(signal.SIGABRT)
            self.process.wait(STOP_LIMIT_S)
            raise
        return self.process.returncode


class Platform:
    """Redis, and whatever processes a test starts over it."""

    def __init__(self, server: RedisServer, folder: Path, settings: Mapping[str, Any]) -> None:
        self.server = server
        self.folder = folder
        # What a test looks at must not fail because Redis was just killed.
        self.redis = Redis.from_url(server.url, retry=Retry(ConstantBackoff(0.1), 30))
        keys = Keyspace()
        self.broker = Broker(self.redis, keys)
        self.inspector = Inspector(self.redis, keys)
        self.directory = Directory(self.redis, keys)
        self.callbacks = CallbackStore(self.redis, keys)
        self._events = EventReader(self.redis, keys)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.commands: list[Command] = []
        self._clients: list[httpx.AsyncClient] = []
        given = {**SETTINGS, "redis.url": server.url, **settings}
        outer = {k: v for k, v in os.environ.items() if not k.startswith("ROUGHNECK_")}
        self.environment = outer | variables(given) | {"PYTHONFAULTHANDLER": "1"}

    # ---------------------------------------------------------------- processes

    def command(self, name: str, *arguments: str, **given: object) -> Command:
        """Start `roughneck ...`, with settings of its own by their dotted names."""
        environment = self.environment | variables(given)
        self.commands.append(Command(name, arguments, self.folder, environment))
        return self.commands[-1]

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `roughneck ...` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "ops.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=START_LIMIT_S,
        )

    async def worker(self, name: str, **settings: object) -> Command:
        """A worker of io and cpu that has announced itself; `settings` as for `platform`."""
        given = {**dotted(settings), "worker.name": name}
        worker = self.command(name, "worker", "--class", "io", "--class", "cpu", **given)
        worker.id = await until(
            lambda: self._announced(worker), what=f"{name} to be ready", limit_s=START_LIMIT_S
        )
        return worker

    async def _announced(self, worker: Command) -> str:
        assert worker.running, worker.tail()
        cards = await self.directory.workers()
        return next((card.id for card in cards if card.pid == worker.pid), "")

    async def gateway(self, *arguments: str) -> Command:
        """The gateway with its courier, ready to serve; always on the same port."""
        gateway = self.command("gateway", "gateway", "--port", str(self.port), *arguments)
        async with httpx.AsyncClient(base_url=self.url) as http:

            async def ready() -> bool:
                assert gateway.running, gateway.tail()
                try:
                    return (await http.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, what="the gateway to be ready", limit_s=START_LIMIT_S)
        return gateway

    async def stop(self) -> None:
        """End everything, and show what the processes said: pytest prints it if a test failed."""
        for http in self._clients:
            await http.aclose()
        for command in self.commands:
            if command.running:
                command.signal(signal.SIGCONT)  # a stopped one would not be reaped in time
                command.kill()
        await self.redis.aclose()
        for command in self.commands:
            print(f"─── {command.name} ({command.process.returncode})\n{command.tail()}")

    # ---------------------------------------------------------------- work

    async def app(self, name: str, *scopes: str) -> httpx.AsyncClient:
        """An HTTP client with a key of this app."""
        record, key = mint_key(
            name, scopes or ("submit", "read", "operate"), now_ms=SystemClock().now_ms()
        )
        await self.directory.put_key(record)
        headers = {"authorization": f"Bearer {key}"}
        http = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30.0)
        self._clients.append(http)
        return http

    async def events(self) -> list[Event]:
        """Everything that ever happened here, in order."""
        return await self.events_after("0-0")

    async def latest_event(self) -> str:
        """The id of what happened last."""
        return await self._events.latest_id()

    async def events_after(self, after: str) -> list[Event]:
        """What happened after the event of that id, in order."""
        found: list[Event] = []
        while events := await self._events.read(after):
            found += events
            after = events[-1].id
        return found

    async def jobs(self, job_ids: Iterable[str]) -> dict[str, Job]:
        found = await self.inspector.jobs_by_id(list(job_ids))
        return {job.id: job for job in found}

    async def active(self, worker: str | None = None) -> set[str]:
        """Ids of the jobs that are leased now, by one worker or by any."""
        page = await self.inspector.jobs(JobFilter(state=State.ACTIVE), limit=1000)
        return {job.id for job in page.items if worker in (None, job.worker)}

    async def count(self, *states: str) -> int:
        """How many jobs stand in these states, over all classes."""
        counts = await self.inspector.counts()
        return sum(n for field, n in counts.items() if field.partition("|")[2] in states)

    async def all_ended(self, total: int, limit_s: float) -> None:
        """Wait until `total` jobs have ended."""

        async def ended() -> bool:
            return await self.count("succeeded", "dead", "cancelled", "expired") == total

        try:
            await until(ended, what=f"{total} jobs to end", limit_s=limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; {await self.inspector.counts()}") from None

    async def audited(self) -> None:
        """Wait until the counts equal the structures; a worker's last call may be on its way."""

        async def balanced() -> bool:
            return await self.inspector.audit() == []

        try:
            await until(balanced, what="the audit to find nothing")
        except AssertionError:
            assert await self.inspector.audit() == []


@asynccontextmanager
async def platform(
    server: RedisServer, folder: Path, **settings: object
) -> AsyncIterator[Platform]:
    """A platform over `server`; `courier__lease_ms=1` is the setting `courier.lease_ms`."""
    running = Platform(server, folder, dotted(settings))
    try:
        yield running
    finally:
        await running.stop()


def dotted(settings: Mapping[str, object]) -> dict[str, object]:
    """`engine__lease_ms` as the settings name it: `engine.lease_ms`."""
    return {name.replace("__", "."): value for name, value in settings.items()}


def variables(given: Mapping[str, object]) -> dict[str, str]:
    """Settings as variables of the environment."""
    return {
        f"ROUGHNECK_{name.upper().replace('.', '__')}": str(value) for name, value in given.items()
    }


async def accepted(http: httpx.AsyncClient, processor: str, payload: object, **fields: Any) -> str:
    """Submit one job; its id."""
    reply = await http.post("/v1/jobs", json={"processor": processor, "payload": payload, **fields})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


async def ended(http: httpx.AsyncClient, job_id: str, within_s: float = 30.0) -> dict[str, Any]:
    """The job once it has ended, with its result."""

    async def look() -> dict[str, Any]:
        reply = await http.get(f"/v1/jobs/{job_id}", headers={"prefer": "wait=5"})
        view: dict[str, Any] = reply.json()
        return view if view.get("ended_at") else {}

    return await until(look, what=f"job {job_id} to end", limit_s=within_s)


def living() -> dict[int, int]:
    """Every process that lives, with its parent; zombies do not."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split() for line in listing.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that live."""
    return [child for child, parent in living().items() if parent == pid]


def gone(pids: Iterable[int], limit_s: float = 10.0) -> None:
    """Wait until none of these processes lives."""
    until_sync(lambda: not living().keys() & set(pids), what=f"{pids} to be gone", limit_s=limit_s)
