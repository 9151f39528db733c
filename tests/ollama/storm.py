"""Jobs for models while everything that may go wrong with Ollama does, and workers are killed.

`python -m tests.ollama.storm --jobs 500 --seed 1`: two simulated hosts of two worker processes
each, every fault of the simulator. No job may be lost, none may end without a reason that was
ordered, and no host may ever see two requests at once.
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from ops.redis_binary import RedisBinary, installed
from ops.sim_ollama import SimConfig, SimServer
from ops.sim_ollama.faults import Kind
from ops.sim_ollama.models import GB
from streams.model import Job, NewJob, State
from streams.usage import NOTHING
from tests.e2e.platform import LEASE_S, START_LIMIT_S, Command, Platform, platform
from tests.ollama.simulated import Sim
from tests.support.build import new_job
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

HOSTS, WORKERS = ("mac", "box"), 2
SPEED = 50.0
CHAT, GENERATE = {"route": "/api/chat"}, {"route": "/api/generate"}
# What is ordered of each kind. The last three hold a host up until it is restarted.
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "reset_mid", "arg": 3, "match": CHAT},
    {"kind": "error_line", "arg": 3, "match": CHAT},
    {"kind": "runner_crash", "arg": 3, "match": CHAT},
    {"kind": "not_found", "match": CHAT},
    {"kind": "busy_503", "match": CHAT},
    {"kind": "load_fail", "match": GENERATE},
    {"kind": "refuse", "arg": 0.5},
    {"kind": "restart", "arg": 0.5, "match": CHAT},
    {"kind": "hang_mid", "arg": 3, "match": CHAT},
    {"kind": "no_done", "arg": 3, "match": CHAT},
    {"kind": "garbage_line", "arg": 2, "match": CHAT},
    {"kind": "blank_line", "arg": 2, "match": CHAT},
    {"kind": "http", "arg": 500, "match": CHAT},
    {"kind": "list_body", "arg": 502, "match": CHAT},
    {"kind": "slow_first_token", "arg": 200, "match": CHAT},
    {"kind": "slow_tokens", "arg": 3, "match": CHAT},
    {"kind": "hang_before_headers", "match": CHAT},
    {"kind": "cut_json", "match": CHAT},
    {"kind": "schema_ignored", "match": CHAT},
    {"kind": "load_hang", "match": GENERATE},
    {"kind": "stuck_stopping", "match": GENERATE},
    {"kind": "leak", "arg": 22 * GB, "match": GENERATE},
)
QUICK = FAULTS[:9]
REASONS = {"model_missing"}  # of dead letters: what `not_found` is
MODELS = ("gen", "translate", "extract", "classify")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
RESTART = """
import sys, urllib.request as u
u.urlopen(u.Request(sys.argv[1] + "/_sim/restart", method="POST"), timeout=5)
"""


class Outcome(msgspec.Struct):
    """What was seen."""

    jobs: list[Job]
    concurrency: dict[str, int]  # most requests at once, by host
    faults: Counter[str]  # ordered
    left: Counter[str]  # ordered, and struck nobody
    kills: int = 0
    pauses: int = 0
    restarts: int = 0
    differences: list[str] = []
    overlaps: list[str] = []
    took_s: float = 0.0

    def wrong(self) -> Iterator[str]:
        """Every promise that was broken."""
        open_ = [job for job in self.jobs if not job.state.ended]
        if open_:
            yield f"{len(open_)} jobs did not end, such as {open_[0].id}"
        for job in self.jobs:
            code = job.fault.code if job.fault else ""
            if job.state is not State.SUCCEEDED and code not in REASONS:
                yield f"{job.id} is {job.state}: {job.fault}"
        dead = sum(job.state is State.DEAD for job in self.jobs)
        if dead > self.faults["not_found"]:
            yield f"{dead} dead letters, and {self.faults['not_found']} were ordered"
        for host, most in self.concurrency.items():
            if most != 1:
                yield f"host {host} saw {most} requests at once"
        yield from self.differences
        yield from self.overlaps


class Storm:
    """The scene while it runs."""

    def __init__(self, on: Platform, sims: dict[str, Sim], folder: Path, seed: int) -> None:
        self.on = on
        self.sims = sims
        self.folder = folder
        self.draw = random.Random(seed)
        self.workers: dict[str, Command] = {}
        self.ids: list[str] = []
        self.outcome = Outcome([], {}, Counter(), Counter())
        self._started = 0

    async def begin(self, host: str) -> None:
        """Start one more worker on a host."""
        self._started += 1
        name = f"{host}-{self._started}"
        restart = (sys.executable, str(self.folder / "restart.py"), self.sims[host].url)
        given = {
            "worker.name": name,
            "ollama.url": self.sims[host].url,
            "ollama.host": host,
            "ollama.runtime_dir": str(self.folder),
            "ollama.load_timeout_s": 2.0,
            "ollama.probe_timeout_s": 3.0,
            "ollama.first_token_timeout_s": 1.0,
            "ollama.idle_timeout_s": 1.0,
            "ollama.restart_command": ",".join(restart),
            "ollama.restart_pause_s": 5.0,
        }
        worker = self.on.command(name, "worker", "--class", "ollama", **given)
        self.workers[name] = worker

        async def announced() -> bool:
            assert worker.running, worker.tail()
            return any(card.pid == worker.pid for card in await self.on.directory.workers())

        await until(announced, what=f"{name} to be ready", limit_s=START_LIMIT_S)

    async def order(self, fault: dict[str, Any]) -> None:
        """Let something go wrong on one of the hosts."""
        sim = self.sims[self.draw.choice(HOSTS)]
        self.outcome.faults[fault["kind"]] += 1
        await until(lambda: _ordered(sim, fault), what="the fault to be taken", limit_s=30)

    async def kill(self) -> None:
        """Kill a worker at work; another takes its place."""
        name = self.draw.choice(sorted(self.workers))
        self.workers.pop(name).kill()
        self.outcome.kills += 1
        await self.begin(name.partition("-")[0])

    async def pause(self) -> None:
        """Stop a worker for longer than its leases last."""
        worker = self.workers[self.draw.choice(sorted(self.workers))]
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(1.5 * LEASE_S)
        worker.signal(signal.SIGCONT)
        self.outcome.pauses += 1

    async def done(self) -> int:
        counts = await self.on.inspector.counts()
        return sum(counts.get(f"ollama|{state}", 0) for state in ("succeeded", "dead"))


async def storm(
    folder: Path, binary: RedisBinary, *, jobs: int, faults: Sequence[dict[str, Any]], seed: int
) -> Outcome:
    """Run it. Faults, kills and pauses come while jobs are done, evenly."""
    began = time.monotonic()
    (folder / "restart.py").write_text(RESTART, "utf-8")
    with ExitStack() as running:
        server = RedisServer(binary)
        running.callback(server.stop)
        config = SimConfig(speed=SPEED, seed=seed)
        sims = {
            host: Sim(running.enter_context(SimServer(config=config).in_thread())) for host in HOSTS
        }
        async with platform(server, folder) as on:
            scene = Storm(on, sims, folder, seed)
            await asyncio.gather(*(scene.begin(host) for host in HOSTS for _ in range(WORKERS)))
            await _play(scene, jobs, faults)
            total = len(scene.ids)
            await until(lambda: _is_done(scene, total), what="all to end", limit_s=180)
            await _look(scene)
    scene.outcome.took_s = time.monotonic() - began
    return scene.outcome


async def _submit(scene: Storm, count: int) -> None:
    made = [_job(len(scene.ids) + number, scene.draw) for number in range(count)]
    await scene.on.broker.submit(made)
    scene.ids += [job.id for job in made]


def _job(number: int, draw: random.Random) -> NewJob:
    payload: dict[str, Any] = {"prompt": f"Spørgsmål {number}", "max_tokens": 24}
    if number % 5 == 0:
        payload["format"] = SCHEMA
    return new_job(
        msgspec.json.encode(payload),
        resource_class="ollama",
        app=draw.choice(("etyde", "govejle", "cnc")),
        priority=draw.choice(("high", "normal", "normal", "low")),
        processor="ask",
        model=draw.choice(MODELS),
        attempts_max=20,
        backoff_ms=100,
        backoff_max_ms=500,
    )


async def _play(scene: Storm, jobs: int, faults: Sequence[dict[str, Any]]) -> None:
    """One thing after the other, each with some jobs that it may strike."""
    troubles: list[Any] = [partial(scene.order, fault) for fault in faults]
    for _ in range(max(1, len(faults) // 6)):
        troubles.insert(scene.draw.randrange(len(troubles)), scene.kill)
        troubles.insert(scene.draw.randrange(len(troubles)), scene.pause)
    step = max(2, jobs // len(troubles))
    for trouble in troubles:
        await _submit(scene, step)
        await trouble()
        due = len(scene.ids) - step
        await until(lambda due=due: _is_done(scene, due), what="jobs to go on", limit_s=180)
    if left := jobs - len(scene.ids):
        await _submit(scene, left)


async def _look(scene: Storm) -> None:
    outcome, ids = scene.outcome, scene.ids
    for start in range(0, len(ids), 500):
        outcome.jobs += await scene.on.inspector.jobs_by_id(ids[start : start + 500])
    outcome.differences = await scene.on.inspector.audit()
    for host, sim in scene.sims.items():
        log = await sim.log()
        outcome.concurrency[host] = log["max_concurrency"]
        outcome.overlaps += [f"{host}: {pair}" for pair in _overlaps(log["requests"])]
        outcome.left.update(fault["kind"] for fault in await sim.ordered())
    logs = [command.log() for command in scene.on.commands]
    outcome.restarts = sum(log.count('"Ollama restarted"') for log in logs)


def _overlaps(requests: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Requests that came before the one before them was over."""
    for one, other in pairwise(requests):
        over_ms = 1_000 * (one["ended_s"] - other["arrived_s"]) / SPEED
        if over_ms > 0:
            yield f"{one['route']} ({one['ending']}) and {other['route']}: {over_ms:.1f} ms"


async def _is_done(scene: Storm, jobs: int) -> bool:
    return await scene.done() >= jobs


async def _ordered(sim: Sim, fault: dict[str, Any]) -> bool:
    """Whether the simulator took the order: one that is down cannot."""
    try:
        await sim.fault(**fault)
    except Exception:
        return False
    return True


def main() -> int:
    """Run it at length and print what was seen; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.ollama.storm")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2, help="how often each fault is ordered")
    given = parser.parse_args()
    assert {fault["kind"] for fault in FAULTS} == set(Kind)
    with tempfile.TemporaryDirectory(prefix="rn-storm-") as name:
        faults = [*FAULTS[:-3] * (given.rounds - 1), *FAULTS]
        running = storm(
            Path(name), installed()[-1], jobs=given.jobs, faults=faults, seed=given.seed
        )
        outcome = asyncio.run(running)
    wrong = list(outcome.wrong())
    tell(outcome, given.seed)
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    return 1 if wrong else 0


def tell(outcome: Outcome, seed: int) -> None:
    """Print what was seen."""
    states = Counter(str(job.state) for job in outcome.jobs)
    used = sum((job.usage or NOTHING for job in outcome.jobs), start=NOTHING)
    print(
        f"storm, seed {seed}: {len(outcome.jobs)} jobs, {len(HOSTS)} hosts, {WORKERS} workers each"
    )
    print(f"  jobs               {dict(states)}")
    print(f"  attempts           {sum(job.attempt for job in outcome.jobs)}")
    print(f"  failures counted   {sum(job.failures for job in outcome.jobs)}")
    print(f"  faults ordered     {outcome.faults.total()} of {len(outcome.faults)} kinds")
    print(f"  that struck nobody {dict(outcome.left)}")
    print(f"  killed, paused     {outcome.kills}, {outcome.pauses}")
    print(f"  hosts restarted    {outcome.restarts}")
    print(f"  most at once       {outcome.concurrency}")
    print(f"  asks, loads        {used.asks}, {used.swaps}")
    print(f"  took               {outcome.took_s:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
