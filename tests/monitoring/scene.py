"""A run in which everything happens that a dashboard shows: ends of every kind, retries, callbacks
that are refused, flows, two models that take turns, answers that must be mended."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.platform import Command, Platform, accepted
from tests.monitoring.prometheus import Prometheus
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import until
from tests.web.local_server import LocalServer, local_server, response

SAMPLES = Path(__file__).parents[2] / "processors" / "builtin" / "samples"
WG = """\
#!{python}
import sys, time
said = {{
    "latest-handshakes": f"wg0 k {{int(time.time())}}",
    "transfer": "wg0 k 100 200",
    "allowed-ips": "wg0 k 10.88.0.2/32",
}}
print(said[sys.argv[3]])
"""
SPEED = 100
WAVES = 5


class Scene:
    """The platform, its Prometheus, and two apps."""

    def __init__(self, platform: Platform, outside: LocalServer) -> None:
        self.platform = platform
        self.outside = outside
        self.prometheus: Prometheus
        self.http: httpx.AsyncClient
        self.other: httpx.AsyncClient
        self._sim = free_port()

    async def start(self) -> None:
        """Every process, ready."""
        platform, ports = self.platform, [free_port() for _ in range(2)]
        self._put_wg_on_path()
        sim = ("sim-ollama", "--port", str(self._sim), "--speed", str(SPEED))
        platform.command("sim", *sim)
        await until(self._sim_answers, what="the simulator to answer", limit_s=30)
        platform.command("link", "link", "--metrics-port", str(ports[1]))
        given = {"worker.name": "w", "worker.metrics_port": ports[0], **self._ollama()}
        worker = platform.command("w", "worker", **given)
        await asyncio.gather(platform.gateway(), self._announced(worker))
        targets = {
            "roughneck-gateway": [f"127.0.0.1:{platform.port}"],
            "roughneck-worker": [f"127.0.0.1:{ports[0]}"],
            "roughneck-link": [f"127.0.0.1:{ports[1]}"],
        }
        self.prometheus = Prometheus(platform.folder / "prometheus", targets)
        await self.prometheus.ready()
        self.http, self.other = await platform.app("etyde"), await platform.app("govejle")
        for path in ("good", "bad"):
            reply = await self.http.post(
                "/v1/endpoints", json={"url": f"{self.outside.origin}/{path}"}
            )
            assert reply.status_code == 201, reply.text

    async def wave(self) -> None:
        """A little of everything; several of them give every counter a rate."""
        good = {"callback": {"url": f"{self.outside.origin}/good"}}
        bad = {"callback": {"url": f"{self.outside.origin}/bad"}}
        for priority in ("high", "normal", "low"):
            await accepted(self.http, "echo", {"message": "hi"}, priority=priority, **good)
        await accepted(self.other, "gate", {"ms": 5, "fail_attempts": 1})
        await accepted(self.http, "gate-cpu", {"ms": 5}, **bad)
        dead = await accepted(self.other, "raises", {})
        await accepted(self.http, "echo", {"message": "later"}, delay_s=3600)
        asked = await accepted(self.http, "ask", {"prompt": "why?", "max_tokens": 20})
        await accepted(self.http, "cnc-error-classify", sample("cnc-error-classify"))
        await accepted(self.other, "etyde-set", sample("etyde-set"))  # no word of the model fits
        await accepted(self.other, "steady", {"prompt": "always the same"})
        other = await accepted(self.other, "steady", {"prompt": f"not as before {time.time_ns()}"})
        await self._flow()
        await until(lambda: self._ended(dead), what="a dead letter", limit_s=20)
        await self.other.post(f"/v1/jobs/{dead}:retry")
        await until(lambda: self._ended(asked), what="an answer", limit_s=20)
        await until(lambda: self._ended(other), what="an answer of the other model", limit_s=20)

    async def batch(self, count: int, processor: str, payload: object) -> str:
        """Submit that many jobs at once; the id of the last."""
        jobs = [{"processor": processor, "payload": payload}] * count
        reply = await self.http.post("/v1/jobs:batch", json={"jobs": jobs})
        assert reply.is_success, reply.text
        return str(reply.json()["jobs"][-1]["job"]["id"])

    async def _flow(self) -> None:
        stages = [
            {"name": "first", "processor": "echo", "payload": {"message": "a"}},
            {"name": "then", "processor": "echo", "payload": {"message": "b"}, "after": ["first"]},
        ]
        reply = await self.http.post("/v1/flows", json={"stages": stages})
        assert reply.status_code == 202, reply.text

    async def _ended(self, job_id: str) -> bool:
        (job,) = (await self.platform.jobs([job_id])).values()
        return job.state.ended

    async def _announced(self, worker: Command) -> None:
        what = "the worker to be ready"
        await until(lambda: worker.said("worker is ready"), what=what, limit_s=30)

    async def _sim_answers(self) -> bool:
        try:
            async with httpx.AsyncClient() as http:
                return (await http.get(f"http://127.0.0.1:{self._sim}/api/version")).is_success
        except httpx.TransportError:
            return False

    def _ollama(self) -> dict[str, Any]:
        return {
            "ollama.url": f"http://127.0.0.1:{self._sim}",
            "ollama.host": "gpu",
            "ollama.runtime_dir": self.platform.folder / "locks",
        }

    def _put_wg_on_path(self) -> None:
        """A `wg` that tells of one peer: the real one needs root and a tunnel."""
        folder = self.platform.folder / "bin"
        folder.mkdir()
        (folder / "wg").write_text(WG.format(python=sys.executable), "utf-8")
        (folder / "wg").chmod(0o755)
        self.platform.environment["PATH"] = f"{folder}:{self.platform.environment['PATH']}"


def sample(processor: str) -> Any:
    """The first sample input of a built-in processor."""
    path = min((SAMPLES / processor).glob("*.json"))
    return json.loads(path.read_text("utf-8"))


@asynccontextmanager
async def scene(server: RedisServer, folder: Path) -> AsyncIterator[Scene]:
    """A scene that has started; everything is gone at its end."""
    async with local_server(response(204)) as outside:
        outside.routes = {"/bad": response(500)}
        settings = {
            "network__allow_ports": outside.port,
            "courier__schedule_s": "0,0.1,0.1",
            "courier__breaker_failures": 4,
        }
        running = Platform(server, folder, {k.replace("__", "."): v for k, v in settings.items()})
        made = Scene(running, outside)
        try:
            await made.start()
            yield made
        finally:
            if hasattr(made, "prometheus"):
                await made.prometheus.stop()
            await running.stop()
