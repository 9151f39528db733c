"""Cuts the tunnel between a server and the machine with Ollama, under load, and heals it.

    python -m tests.deploy.tunnel --cut-s 60

On one side Redis as shipped, the gateway and a worker for io and cpu; on the other Ollama's
simulator and a worker for it. While the link is dead, io and cpu jobs must go on and both ends
must say what is the case; afterwards LLM work must resume by itself, with nothing lost and nothing
done twice. Prints what was seen as JSON; exits 1 when a promise was broken, 77 where no such
network can be made.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import msgspec

from ops.redis_binary import installed
from streams.model import State
from tests.deploy.network import INNER, OUTER, Network, has_wireguard, lacking
from tests.e2e.platform import PROGRAM, START_LIMIT_S, Command, Platform, platform, variables
from tests.support.redis_server import RedisServer, free_port
from tests.support.roles import GuardedServer
from tests.support.waiting import until

SKIPPED = 77
EVERY_S = 0.25
AHEAD = 12  # jobs of each kind beyond those that ended: the load never outruns the machine
SIM_SPEED = 50
NOTICE_LIMIT_S = 45.0
END_LIMIT_S = 180.0  # LLM work of the whole cut is done one job at a time
WORK = {
    "io": ("gate", {"ms": 100}),
    "cpu": ("gate-cpu", {"ms": 50}),
    "ollama": ("ask", {"prompt": "Hvad hedder Danmarks hovedstad?", "max_tokens": 20}),
}
SHORT_LEASES = {"engine__lease_ms": 4_000, "engine__renew_ms": 1_000}


class Found(msgspec.Struct):
    """What was seen, for a person to read and a test to judge."""

    wireguard: bool
    cut_s: float = 0.0
    submitted: dict[str, int] = {}
    ended_while_cut: dict[str, int] = {}
    mac_noticed_s: float = 0.0  # from the cut until the worker said that it has no link
    vps_noticed_s: float = 0.0  # until the server's side said that the worker is silent
    readyz_while_cut: dict[str, int] = {}
    health_said: str = ""
    explained: str = ""
    resumed_s: float = 0.0  # from healing until an LLM job began
    settled_s: float = 0.0  # until one ended
    mac_healthy_s: float = 0.0
    attempts_beyond_first: int = 0
    broken: list[str] = []


class Tunnel:
    """One course over one network; runs in the server's namespace."""

    def __init__(self, network: Network, stage: Platform, arguments: argparse.Namespace) -> None:
        self._network = network
        self._stage = stage
        self._cut_s = float(arguments.cut_s)
        self._limit_s = float(arguments.resume_s)
        self._metrics = {"vps": free_port(), "mac": network.inside("mac", free_port)}
        self._ids: dict[str, list[str]] = {name: [] for name in WORK}
        self._enough = asyncio.Event()
        self._http: httpx.AsyncClient
        self.found = Found(wireguard=network.wireguard)

    async def run(self) -> Found:
        """The whole course."""
        await self._set_up()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._submit())
            await until(self._all_work, what="each kind of work to be done", limit_s=START_LIMIT_S)
            await self._through_the_cut()
            self._enough.set()
        await self._judge_the_end()
        return self.found

    # ------------------------------------------------------------------ the parts

    async def _set_up(self) -> None:
        stage = self._stage
        sim = self._command("mac", "sim", "sim-ollama", "--speed", str(SIM_SPEED))
        await until(lambda: "listens on" in sim.log(), what="the simulator", limit_s=START_LIMIT_S)
        await stage.gateway()
        self._http = await stage.app("etyde")
        server = stage.server
        assert isinstance(server, GuardedServer)
        url = server.url_of("worker")
        there = url.replace("127.0.0.1", self._network.address("vps"))
        settings = {"worker.metrics_port": self._metrics["vps"], "redis.url": url}
        self._command("vps", "vps-worker", "worker", "--class", "io", "--class", "cpu", **settings)
        settings = {"worker.metrics_port": self._metrics["mac"], "redis.url": there}
        self._command("mac", "mac-worker", "worker", "--class", "ollama", **settings)
        await until(
            lambda: all(c.said("worker is ready") for c in stage.commands if "worker" in c.name),
            what="both workers to be ready",
            limit_s=START_LIMIT_S,
        )
        if self._network.wireguard:
            await asyncio.to_thread(self._only_through_the_tunnel, server)
            asked = self._network.run("mac", *PROGRAM, "link", "-o", "json")
            ages = {one["peer"]: one["handshake_age_s"] for one in json.loads(asked)}
            if ages.get(f"{INNER['vps']}/32") is None:
                self._broken(f"roughneck link said {asked}")

    def _command(self, side: str, name: str, *arguments: str, **given: object) -> Command:
        stage = self._stage
        environment = stage.environment | variables({**given, "worker.name": side})
        program = self._network.within(side, *PROGRAM)
        command = Command(name, arguments, stage.folder, environment, program=program)
        stage.commands.append(command)
        return command

    def _only_through_the_tunnel(self, server: RedisServer) -> None:
        """Redis listens on the tunnel's address and on loopback, and nowhere else."""
        listening = self._network.run("vps", "ss", "-Hltn", f"sport = :{server.port}")
        addresses = {line.split()[3].rpartition(":")[0] for line in listening.splitlines()}
        if addresses != {"127.0.0.1", INNER["vps"]}:
            self._broken(f"Redis listens on {sorted(addresses)}")
        refused = self._network.within(
            "mac", "bash", "-c", f"</dev/tcp/{OUTER['vps']}/{server.port}"
        )
        if subprocess.run(refused, capture_output=True, check=False).returncode == 0:
            self._broken("Redis answers outside of the tunnel")

    async def _submit(self) -> None:
        """Work of each kind, for as long as the course lasts."""
        while not self._enough.is_set():
            ended = await self._ended()
            for kind, (processor, payload) in WORK.items():
                if kind != "ollama" and len(self._ids[kind]) - ended[kind] > AHEAD:
                    continue
                body = {"processor": processor, "payload": payload}
                reply = await self._http.post("/v1/jobs", json=body)
                assert reply.status_code == 202, reply.text
                self._ids[kind].append(reply.json()["id"])
            await asyncio.sleep(EVERY_S)

    # ------------------------------------------------------------------ the cut

    async def _through_the_cut(self) -> None:
        found, network = self.found, self._network
        await asyncio.to_thread(network.cut)
        cut_at = time.monotonic()
        before = await self._ended()
        codes: Counter[str] = Counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._mac_notices(cut_at))
            group.create_task(self._vps_notices(cut_at))
            while time.monotonic() < cut_at + self._cut_s:
                codes.update([await self._readiness()])
                await asyncio.sleep(EVERY_S)
        await self._what_was_asked_is_done(("io", "cpu"))
        after = await self._ended()
        found.cut_s = round(time.monotonic() - cut_at, 1)
        found.ended_while_cut = {kind: after[kind] - before[kind] for kind in WORK}
        found.readyz_while_cut = dict(codes)
        if set(codes) - {"200 ok"}:
            self._broken(f"the gateway was not ready: {dict(codes)}")
        if found.ended_while_cut["ollama"] > 1:  # one may have been on its way
            self._broken("LLM work ended while the link was cut: it was not cut")
        healed = time.monotonic()
        since = await self._stage.latest_event()
        await asyncio.to_thread(network.heal)
        await self._resumes(healed, since)

    async def _mac_notices(self, cut_at: float) -> None:
        await until(
            lambda: self._worker_says("mac") == (0, 0),
            what="the worker at home to say that it has no link",
            limit_s=NOTICE_LIMIT_S,
        )
        self.found.mac_noticed_s = round(time.monotonic() - cut_at, 1)
        if self._worker_says("vps") != (1, 1):
            self._broken("the worker beside Redis is not healthy")

    async def _vps_notices(self, cut_at: float) -> None:
        """`roughneck health` fails and says which class nobody serves, and so does `explain`."""
        stage, found = self._stage, self.found

        async def silent() -> bool:
            cards = await stage.directory.workers()
            return any("ollama" in card.slots and not card.healthy for card in cards)

        await until(silent, what="the server's side to notice", limit_s=NOTICE_LIMIT_S)
        found.vps_noticed_s = round(time.monotonic() - cut_at, 1)
        said = await asyncio.to_thread(stage.cli, "health", "-o", "json")
        failing = [one for one in json.loads(said.stdout) if one["status"] == "failing"]
        found.health_said = "; ".join(str(one["detail"]) for one in failing)
        if said.returncode != 3 or "no worker serves ollama" not in found.health_said:
            self._broken(f"health said {said.stdout} and exited {said.returncode}")
        reply = await self._http.get(f"/v1/jobs/{self._ids['ollama'][-1]}/explain")
        reasons = {one["code"]: one["text"] for one in reply.json()["reasons"]}
        found.explained = reasons.get("no_worker", "")
        if not found.explained:
            self._broken(f"explain said {reasons}")

    async def _what_was_asked_is_done(self, kinds: Sequence[str]) -> None:
        """Everything of these kinds that was submitted so far ends, as the link is now."""
        wanted = {kind: len(self._ids[kind]) for kind in kinds}

        async def done() -> bool:
            ended = await self._ended()
            return all(ended[kind] >= count for kind, count in wanted.items())

        await until(done, what=f"{wanted} to be done", limit_s=END_LIMIT_S)

    async def _resumes(self, healed: float, since: str) -> None:
        found = self.found
        for name in ("active", "ended"):

            async def happened(kind: str = name) -> bool:
                events = await self._stage.events_after(since)
                return any(e.kind == kind and e.lane.resource_class == "ollama" for e in events)

            await until(happened, what=f"an LLM job to be {name} again", limit_s=60)
            took = round(time.monotonic() - healed, 2)
            if name == "active":
                found.resumed_s = took
            else:
                found.settled_s = took
        if found.resumed_s > self._limit_s:
            self._broken(f"LLM work resumed only after {found.resumed_s} s")
        await until(
            lambda: self._worker_says("mac") == (1, 1), what="the worker to be well", limit_s=30
        )
        found.mac_healthy_s = round(time.monotonic() - healed, 1)

    # ------------------------------------------------------------------ the end

    async def _judge_the_end(self) -> None:
        """Everything that was accepted succeeded, once, at its first attempt."""
        found, stage = self.found, self._stage
        await self._what_was_asked_is_done(tuple(WORK))
        await stage.audited()
        for kind, ids in self._ids.items():
            found.submitted[kind] = len(ids)
            jobs = await stage.jobs(ids)
            bad = [job_id for job_id in ids if jobs[job_id].state is not State.SUCCEEDED]
            if bad:
                self._broken(f"{len(bad)} jobs of {kind} did not succeed, such as {bad[0]}")
            found.attempts_beyond_first += sum(job.attempt - 1 for job in jobs.values())
        if found.attempts_beyond_first:
            self._broken(f"{found.attempts_beyond_first} attempts were done again")

    # ------------------------------------------------------------------ looking

    def _broken(self, sentence: str) -> None:
        self.found.broken.append(sentence)

    async def _ended(self) -> Counter[str]:
        counts = await self._stage.inspector.counts()
        ends = ("succeeded", "dead", "cancelled", "expired")
        return Counter(
            {kind: sum(counts.get(f"{kind}|{state}", 0) for state in ends) for kind in WORK}
        )

    async def _all_work(self) -> bool:
        ended = await self._ended()
        return min(ended[kind] for kind in WORK) >= 3

    async def _readiness(self) -> str:
        reply = await self._http.get("/readyz")
        return f"{reply.status_code} {reply.json()['status']}"

    def _worker_says(self, side: str) -> tuple[int, int]:
        """(healthy, link up), from its own metrics."""
        text = self._network.fetched(side, self._metrics[side], "/metrics")
        names = ("roughneck_worker_healthy", "roughneck_redis_link_up")
        found = [re.search(rf"^{name} ([0-9.]+)", text, re.MULTILINE) for name in names]
        healthy, up = (int(float(one.group(1))) if one else -1 for one in found)
        return healthy, up


async def course(network: Network, folder: Path, arguments: argparse.Namespace) -> Found:
    """Everything on one side is started and ended here."""
    bound = sorted({"127.0.0.1", network.address("vps")})
    server = GuardedServer(installed()[0], folder, f"bind {' '.join(bound)}")
    settings: dict[str, Any] = dict(SHORT_LEASES) if arguments.short_leases else {}
    plain = {"engine__lease_ms": 30_000, "engine__renew_ms": 10_000}  # as they are by default
    try:
        async with platform(server, folder, **{**plain, **settings}) as stage:
            stage.environment["ROUGHNECK_REDIS__URL"] = server.url_of("operator")
            return await Tunnel(network, stage, arguments).run()
    finally:
        server.stop()


def within(arguments: argparse.Namespace) -> int:
    """The course, once this process is in the server's namespace."""
    network = Network(arguments.tag, wireguard=arguments.wireguard == "yes")
    with tempfile.TemporaryDirectory(prefix="rn-tunnel-") as name:
        os.environ["HOME"] = name
        with redirect_stdout(sys.stderr):  # the ends of the logs
            found = asyncio.run(course(network, Path(name), arguments))
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    return 1 if found.broken else 0


def main(given: Sequence[str] | None = None) -> int:
    """Make the network, and run the course in it."""
    parser = argparse.ArgumentParser(description="Cut the tunnel under load, and heal it.")
    parser.add_argument("--cut-s", type=float, default=60.0)
    parser.add_argument("--resume-s", type=float, default=5.0, help="LLM work resumes within it")
    parser.add_argument("--wireguard", choices=("auto", "yes", "no"), default="auto")
    parser.add_argument("--short-leases", action="store_true", help="4 s, so that they run out")
    parser.add_argument("--tag", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.tag:
        return within(arguments)
    if reason := lacking():
        print(reason)
        return SKIPPED
    if arguments.wireguard == "auto":
        arguments.wireguard = "yes" if has_wireguard() else "no"
    tag = f"rn{os.getpid()}"
    with Network(tag, wireguard=arguments.wireguard == "yes") as network:
        own = [f"--cut-s={arguments.cut_s}", f"--resume-s={arguments.resume_s}"]
        own += [f"--wireguard={arguments.wireguard}", f"--tag={tag}"]
        own += ["--short-leases"] if arguments.short_leases else []
        command = network.within("vps", sys.executable, "-m", "tests.deploy.tunnel", *own)
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
