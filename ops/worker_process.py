"""One worker process: dependencies, engine, Faust runtime, chores, metrics, put together."""

import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from mode import Service

from gateway.blob_link import GatewayBlobs
from gateway.redaction import redact
from ops.chores import ManifestPublisher, OllamaWatch
from ops.collecting import Settled
from ops.links import Connected, Engine, engine_over, open_redis, place_of
from ops.logs import AttemptLines
from ops.metrics import WorkerMetrics
from ops.settings import VERSION, Settings
from processors.dependencies import Provider
from processors.dependencies.cache import CacheProvider
from processors.dependencies.flows import FlowsProvider
from processors.dependencies.http import HttpProvider
from processors.dependencies.log import LogProvider
from processors.dependencies.ollama import OllamaProvider
from processors.runtime import Runtime, WindowTable
from processors.sdk.agent_discovery import discover_agents
from processors.sdk.agents import Agent, AgentContext
from processors.sdk.event_feed import EventFeed
from processors.sdk.flows import check_against, discover_flows, flow_card
from processors.sdk.host import Host
from processors.sdk.named_flow import NamedFlow
from processors.sdk.registry import Registry
from processors.sdk.remembered import Remembered
from streams.clock import SystemClock
from streams.directory import AgentCard, AgentTelling, FlowCard, WorkerCard
from streams.errors import ConfigError, Unavailable
from streams.events import EventReader
from streams.flows import FlowStore
from streams.journal import VerdictJournal
from streams.loops import Chore
from streams.loops.announcer import Announcer
from streams.loops.auditor import Auditor
from streams.loops.discarder import Discarder
from streams.loops.expirer import Expirer
from streams.loops.forecaster import Forecaster
from streams.loops.janitor import Janitor
from streams.loops.learner import Learner
from streams.loops.log_keeper import LogKeeper
from streams.loops.promoter import Promoter
from streams.loops.scheduler import Scheduler
from streams.loops.sweeper import Sweeper
from streams.loops.window_keeper import WindowKeeper
from streams.model import ResourceClass
from streams.retention import KeptJobs
from streams.scripts import translated
from streams.telemetry import AttemptJudged, AttemptLog, Telemetry
from streams.windows import MINUTE_S, PANE_S, Moments
from streams.worker import Worker, WorkerPlan

log = logging.getLogger(__name__)

BLOCKING_CONNECTIONS = 2  # the doorbells wait in XREAD
WATCH_EVERY_S = 0.5
TOLD_MAX, FIELD_MAX = 10, 200  # lines of an agent that a worker announces


class WorkerProcess(Service):
    """One worker: dependencies, engine, Faust runtime and chores. Stopping it drains it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._telemetry = Telemetry()
        self._started_ms = SystemClock().now_ms()
        self._parts: list[Service] = []
        self._draining = False
        self._worker: Worker
        self._runtime: Runtime
        self._engine: Engine
        self._logs: LogKeeper
        self._learner: Learner
        self._windows = WindowTable("windows", PANE_S, MINUTE_S + PANE_S)
        self._watched: OllamaWatch | None = None
        self._flows: list[NamedFlow] = []

    async def on_start(self) -> None:
        """Open dependencies and begin to take jobs. Raises ConfigError naming what is wrong."""
        settings = self._settings
        ollama = OllamaProvider(settings.ollama)
        registry = await self._registry(ollama)
        classes = {processor.resource_class for processor in registry}
        control = open_redis(settings.redis, "worker")
        bell = open_redis(settings.redis, "worker-bell", connections_max=BLOCKING_CONNECTIONS)
        self._engine = engine_over(control, settings)
        self._logs = LogKeeper(self._engine.control, redact)
        self._learner = Learner(self._engine.learned)
        remembered = Remembered(self._engine.results, ollama.fingerprint)
        given = providers(settings, ollama, self._engine)
        host = Host(registry, given, settings.processors, remembered)
        await self._begin(host)
        await self._begin(Connected([control, bell]))
        plan = await self._plan(registry, ollama)
        journal = VerdictJournal(journal_folder(settings))
        await self._begin(journal)
        blobs = GatewayBlobs(self._engine.directory.blob_places, SystemClock())
        await self._begin(blobs)
        self._worker = Worker(
            self._engine.broker,
            plan,
            host.run,
            control=control,
            bell=bell,
            telemetry=self._telemetry,
            journal=journal,
            blobs=blobs,
        )
        self._listen()
        chores = self._chores(registry, ollama, classes)
        watching = await self._watching()
        self._runtime = Runtime(self._worker, chores, agents=watching, windows=self._windows)
        await self._begin(self._runtime)
        await self._begin(Settled())
        log.info("worker is ready", extra={"worker": plan.id, "classes": ",".join(sorted(classes))})

    async def on_stop(self) -> None:
        """Drain, withdraw, close: in the opposite order of the start."""
        self._draining = True
        while self._parts:
            part = self._parts.pop()
            await part.stop()
            if isinstance(part, Runtime):
                await self._logs.close()
                await self._withdraw()

    @Service.task
    async def _watch(self) -> None:
        """End with a part that crashed: a worker without its engine would look alive for ever."""
        while not self.should_stop:
            for part in (*self._parts, self._runtime.worker, self._runtime.app):
                if part.crash_reason is not None:
                    await self.crash(part.crash_reason)
                    return
            await self.sleep(WATCH_EVERY_S)

    async def _watching(self) -> tuple[Sequence[Agent], Callable[[Agent], EventFeed]]:
        """The agents, and what feeds them: a connection each, since it waits in XREAD."""
        settings = self._settings
        agents = discover_agents(processor_folders(settings)) if settings.worker.agents else []
        keyspace = self._engine.keyspace
        if not agents:
            return [], lambda _: EventFeed(EventReader(self._engine.redis, keyspace), 0)
        events = open_redis(settings.redis, "worker-events", connections_max=len(agents))
        await self._begin(Connected([events]))
        reader = EventReader(events, keyspace)
        return agents, lambda one: EventFeed(reader, one.watch.replay_s, one.watch.states)

    async def _begin(self, part: Service) -> None:
        self._parts.append(part)
        await part.start()

    async def _registry(self, ollama: OllamaProvider) -> Registry:
        """The processors of the classes that this worker serves."""
        settings = self._settings
        folders = processor_folders(settings)
        found = Registry.discover(folders)
        self._flows = discover_flows(folders)
        check_against(self._flows, found)
        classes = set(settings.worker.classes) or await reachable_classes(ollama)
        classes -= {name for name in classes if slots_of(settings)[name] == 0}
        registry = found.of_classes(classes)
        if not len(registry):
            raise ConfigError(f"no processor is of class {' or '.join(sorted(classes))}")
        return registry

    async def _plan(self, registry: Registry, ollama: OllamaProvider) -> WorkerPlan:
        by_class: dict[ResourceClass, list[str]] = {}
        for processor in registry:
            by_class.setdefault(processor.resource_class, []).append(processor.name)
        slots = slots_of(self._settings)
        serves_ollama = ResourceClass.OLLAMA in by_class
        return WorkerPlan(
            id=worker_id(self._settings.worker.name),
            slots={name: slots[name] for name in by_class},
            processors=by_class,
            ollama_host=ollama.host if serves_ollama else "",
            models=await ollama.models() if serves_ollama else (),
        )

    def _chores(
        self, registry: Registry, ollama: OllamaProvider, classes: Collection[ResourceClass]
    ) -> list[Chore]:
        engine, aliases = self._engine, self._settings.ollama.models
        kept = KeptJobs(engine.redis, engine.keyspace)
        cards = registry.cards({alias: alias for alias in aliases}, self._started_ms)
        chores: list[Chore] = [
            ManifestPublisher(engine.directory, cards, self._flow_cards()),
            Announcer(engine.directory, self._card),
            Promoter(engine.broker),
            Expirer(engine.broker),
            Scheduler(engine.schedules),
            Sweeper(engine.broker, engine.inspector),
            Janitor(engine.broker, engine.directory),
            Discarder(kept, engine.control, self._settings.engine),
            Auditor(engine.audit, self._worker.plan.id),
            self._logs,
            self._learner,
            WindowKeeper(
                self._worker.plan.id,
                self._windows,
                engine.events,
                engine.windows,
                Moments(engine.broker.scripts),
            ),
            Forecaster(engine.forecasts, engine.outlooks, engine.learned),
        ]
        if ResourceClass.OLLAMA in classes:
            self._watched = OllamaWatch(ollama, self._worker)
            chores.insert(0, self._watched)
        return chores

    def _flow_cards(self) -> list[FlowCard]:
        return [flow_card(flow, self._started_ms) for flow in self._flows]

    def _listen(self) -> None:
        lines = AttemptLines()
        self._telemetry.listen(lines, *lines.kinds)
        self._telemetry.listen(self._logs, AttemptLog)
        self._telemetry.listen(self._learner, AttemptJudged)
        host, port = self._settings.worker.metrics_host, self._settings.worker.metrics_port
        if port:
            slots = {str(name): count for name, count in self._worker.plan.slots.items()}
            metrics = WorkerMetrics(VERSION, slots)
            metrics.watch(self._worker.health)
            try:
                stop = metrics.serve(host, port)
            except OSError as error:
                where = f"{host}:{port}"
                raise ConfigError(f"worker.metrics_port: {where}: {error.strerror}") from error
            self._telemetry.listen(metrics)
            self._parts.append(Closing(stop))

    def _card(self) -> WorkerCard:
        worker, intakes = self._worker, self._worker.intakes
        host, port = self._settings.worker.metrics_host, self._settings.worker.metrics_port
        return WorkerCard(
            id=worker.plan.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            pools={name: intake.pool for name, intake in intakes.items()},
            slots={name: intake.slots for name, intake in intakes.items()},
            running={name: intake.running for name, intake in intakes.items()},
            processors=tuple(name for names in worker.plan.processors.values() for name in names),
            models=tuple(worker.models),
            resident=worker.resident,
            healthy=worker.health().healthy,
            draining=self._draining,
            started_ms=self._started_ms,
            seen_ms=SystemClock().now_ms(),
            agents=tuple(agent_card(name, one) for name, one in self._runtime.contexts.items()),
            metrics_url=f"http://{host}:{port}/metrics" if port else "",
            ollama=self._watched.host if self._watched else None,
        )

    async def _withdraw(self) -> None:
        try:
            with translated():
                await self._engine.directory.withdraw_worker(self._worker.plan.id)
        except Unavailable:
            log.info("the worker could not say goodbye; it counts as gone in a minute")


def agent_card(name: str, context: AgentContext) -> AgentCard:
    """How an agent stands, with the newest lines that it told."""
    told = tuple(
        AgentTelling(
            line.at_ms,
            line.level,
            redact(line.message),
            {key: redact(value)[:FIELD_MAX] for key, value in line.fields.items()},
        )
        for line in list(context.lines)[-TOLD_MAX:]
    )
    return AgentCard(name, context.summary, context.events, context.failures, context.at_ms, told)


class Closing(Service):
    """Calls something when it stops."""

    def __init__(self, close: Callable[[], None]) -> None:
        super().__init__()
        self._close = close

    async def on_stop(self) -> None:
        """Call it."""
        self._close()


def providers(settings: Settings, ollama: OllamaProvider, engine: Engine) -> list[Provider]:
    """Everything that processors may be given; a new dependency is one line here."""
    return [
        LogProvider(),
        CacheProvider(),
        HttpProvider(settings.http, settings.network),
        FlowsProvider(FlowStore(engine.redis, engine.broker), engine.flows, engine.directory),
        ollama,
    ]


def processor_folders(settings: Settings) -> list[Path]:
    """The extra folders with processors."""
    return [Path(folder).expanduser() for folder in settings.processors.folders]


def journal_folder(settings: Settings) -> Path:
    """Where this machine's workers keep their verdicts for this Redis."""
    return Path(settings.worker.journal_folder).expanduser() / place_of(settings)


def slots_of(settings: Settings) -> dict[ResourceClass, int]:
    """How many attempts of each class a worker may run at once."""
    worker = settings.worker
    return {
        ResourceClass.OLLAMA: worker.ollama_slots,
        ResourceClass.IO: worker.io_slots,
        ResourceClass.CPU: worker.cpu_slots,
    }


async def reachable_classes(ollama: OllamaProvider) -> set[ResourceClass]:
    """io and cpu, and ollama where one answers: what a worker serves that was told nothing."""
    classes = {ResourceClass.IO, ResourceClass.CPU}
    await ollama.open()
    try:
        await ollama.check()
    except Unavailable as error:
        log.info("class ollama is not served", extra={"reason": str(error)})
        return classes
    finally:
        await ollama.close()
    return classes | {ResourceClass.OLLAMA}


def worker_id(name: str) -> str:
    """A name that is never used again: the host's or the given one, and a nonce."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", name or socket.gethostname())[:40]
    return f"{readable}-{secrets.token_hex(5)}"
