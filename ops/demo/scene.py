"""Everything that takes part in the demo, opened in order and closed in the opposite one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.demo.access import Desk, make_admin, opened_desk, register
from ops.demo.loopback import LoopbackServer
from ops.demo.ollama import CONTEXT, RealOllama, find_real
from ops.demo.pages import Pages
from ops.demo.processes import Process, Processes
from ops.demo.receiver import Receiver
from ops.demo.report import Report
from ops.demo.watch import Watch
from ops.embedded import EmbeddedRedis
from ops.links import Engine, opened_engine
from ops.settings import load
from processors.dependencies.ollama_settings import default_models

SIMULATED_SPEED = 20
SETTINGS: dict[str, object] = {
    "engine.lease_ms": 3_000,  # short, so that a dead worker's jobs are taken over while you watch
    "engine.renew_ms": 1_000,
    "engine.grace_ms": 1_000,
    "courier.schedule_s": (0, 0.5, 1, 2, 4),
    "network.allow_networks": "127.0.0.0/8",  # pages and receiver are on this machine
    "http.allowed_host_interval_s": 0,
    "gateway.port": 0,
    "log.format": "json",
    "log.level": "info",
}


@dataclass(frozen=True)
class Scene:
    """What the acts of the demo play with."""

    report: Report
    processes: Processes
    engine: Engine
    desk: Desk
    receiver: Receiver
    watch: Watch
    pages: str
    hooks: str  # where the apps take callbacks: below it, a path for each
    real: RealOllama | None
    first: Process

    @property
    def model_source(self) -> str:
        """Who answers the questions."""
        return f"Ollama, {self.real.model}" if self.real else "the simulated Ollama (made up)"


@asynccontextmanager
async def opened(report: Report, folder: Path) -> AsyncIterator[Scene]:
    """The scene with its first worker at work; nothing of it is left afterwards."""
    async with AsyncExitStack() as stack:
        receiver, pages = Receiver(), Pages()
        hooks = await stack.enter_async_context(LoopbackServer(receiver.app))
        site = await stack.enter_async_context(LoopbackServer(pages.app))
        server = stack.enter_context(EmbeddedRedis(folder / "redis"))
        report.step(f"Redis keeps its data in {server.folder}")
        ports = (hooks.port, site.port)
        settings = {
            **SETTINGS,
            "redis.url": server.url,
            "network.allow_ports": ports,
            "gateway.audit_file": str(folder / "audit.log"),
            "secrets.key_file": str(folder / "secrets.key"),
            "gateway.journal_folder": str(folder / "journal"),
            "worker.journal_folder": str(folder / "verdicts"),
        }
        processes = await stack.enter_async_context(Processes(folder, settings))

        engine = await stack.enter_async_context(
            opened_engine(load(processes.file, given=processes.settings), "demo")
        )
        admin = await make_admin(engine.directory)
        gateway = await processes.start("gateway", "gateway", "--lifeline")
        real = await _open_ollama(processes, folder, report)
        first = await processes.start_worker("first")
        url = (await gateway.record_of("gateway is ready"))["url"]
        report.step(f"gateway on {url}")
        report.step(f"the apps: event pages on {site.url}, callbacks to {hooks.url}")

        told = await register(url, admin, f"{hooks.url}/hooks")
        receiver.secrets = told.secrets
        desk = await stack.enter_async_context(opened_desk(url, f"{hooks.url}/hooks", told.keys))
        watch = await stack.enter_async_context(Watch(engine.events, receiver, report))
        await first.record_of("worker is ready")
        report.step(f"worker first runs (process {first.pid}): ollama, io and cpu")
        where = f"{hooks.url}/hooks"
        yield Scene(report, processes, engine, desk, receiver, watch, site.url, where, real, first)


async def _open_ollama(processes: Processes, folder: Path, report: Report) -> RealOllama | None:
    """Use the real one, or start the simulator; says which."""
    real = await find_real()
    if real:
        report.step(f"Ollama {real.version} answers on {real.url}; {real.model} is used")
        processes.settings |= {
            "ollama.url": real.url,
            **{f"ollama.models.{alias}.tag": real.model for alias in default_models()},
            **{f"ollama.models.{alias}.num_ctx": CONTEXT for alias in default_models()},
        }
        return real
    simulator = await processes.start(
        *("sim-ollama", "sim-ollama", "--port", "0"),
        *("--speed", str(SIMULATED_SPEED), "--lifeline"),
    )
    url = (await simulator.line_with("listens on")).split()[-1]
    processes.settings |= {"ollama.url": url, "ollama.runtime_dir": str(folder)}
    report.step(f"no Ollama answers here with a model that works: a simulated one on {url}")
    return None
