"""Where the parts are put together: the gateway and the courier."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from mode import Service

from gateway.app import build_app
from gateway.audit import AuditLog, path_of
from gateway.blob_chore import BlobMinder
from gateway.blob_keeper import BlobKeeper
from gateway.blob_store import DiskBlobs, Limits
from gateway.courier import Courier
from gateway.courier_metrics import CourierMetrics
from gateway.declared import DeclaredSchedules
from gateway.journal.acceptor import JournalAcceptor
from gateway.journal.shipper import Destination
from gateway.parts import GatewayParts, Stores
from gateway.posting import Poster
from gateway.pressure import Pressure
from gateway.sealing import Seals
from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from ops.chores import Minder
from ops.collecting import Settled
from ops.declared import declared_schedules
from ops.links import Connected, Engine, engine_over, open_redis, place_of
from ops.settings import Settings
from processors.dependencies.guard import Guard
from streams.clock import SystemClock
from streams.durability import Durability
from streams.flows import FlowStore
from streams.learned import read_learned
from streams.loops import Chore
from streams.loops.expirer import Expirer
from streams.loops.flow_mover import FlowMover
from streams.loops.promoter import Promoter
from streams.loops.scheduler import Scheduler
from streams.memory import read_memory
from streams.rates import RateStore
from streams.tokens import TokenReader

log = logging.getLogger(__name__)

BLOCKING_CONNECTIONS = 4  # each waits in XREAD, so none is shared


def build_gateway(settings: Settings, *, with_courier: bool = True) -> list[Service]:
    """The gateway, in the order in which to start; the server stands last."""
    control = open_redis(settings.redis, "gateway")
    reading = open_redis(settings.redis, "gateway-reads", reads_again=True)
    waiting = open_redis(settings.redis, "gateway-events", connections_max=BLOCKING_CONNECTIONS)
    engine = engine_over(control, settings)
    looking = engine_over(reading, settings)
    stores = Stores(
        engine.broker,
        looking.inspector,
        engine.directory,
        engine.callbacks,
        engine_over(waiting, settings).events,
        TokenReader(waiting, engine.keyspace),
        RateStore(control, engine.keyspace, engine.broker.scripts),
        engine.schedules,
        looking.flows,
        control=engine.control,
        circumstances=looking.circumstances,
        overview=looking.overview,
        usage=looking.usage,
        windows=looking.windows,
        learned=partial(read_learned, looking.redis, looking.keyspace),
    )
    guard = Guard(settings.network)
    folder = journal_folder(settings)
    acceptor = build_journal(settings, engine, folder) if folder else None
    parts = GatewayParts(
        settings.gateway,
        stores,
        checks={"redis": engine.ping},
        check_url=guard.check_url,
        acceptor=acceptor,
        audit=AuditLog(path_of(settings.gateway)),
        copies=folder / "copies" if folder else None,
        seals=seals_of(settings, make=True),
        blobs=build_blobs(settings.gateway),
    )
    services: list[Service] = [Connected([control, reading, waiting])]
    if with_courier:
        told = CourierMetrics()
        parts.metrics.add(told.registry)
        services += build_courier(settings, told)
    server = GatewayServer(build_app(parts), parts)
    declared = DeclaredSchedules(declared_schedules(settings), parts)
    chores = gateway_chores(engine, blob_chores(parts, server, settings.gateway))
    said = Said(lambda: {"url": server.url})
    return [*services, server, declared, chores, said, Settled()]


def build_blobs(settings: GatewaySettings) -> BlobKeeper | None:
    """What keeps blobs; None where the settings name no folder. Raises ConfigError."""
    if not settings.blob_folder:
        return None
    limits = Limits(settings.blob_app_max_bytes, settings.blob_disk_free_bytes)
    store = DiskBlobs(Path(settings.blob_folder).expanduser(), limits, SystemClock())
    return BlobKeeper(store, max_bytes=settings.blob_max_bytes, orphan_s=settings.blob_orphan_s)


def blob_chores(
    parts: GatewayParts, server: GatewayServer, settings: GatewaySettings
) -> list[Chore]:
    """What a gateway that keeps blobs has to do."""
    if parts.blobs is None:
        return []
    return [
        BlobMinder(
            parts.blobs,
            lambda: settings.blob_url or server.url,
            parts.directory,
            parts.inspector,
            parts.acceptor,
            parts.clock,
        )
    ]


def gateway_chores(engine: Engine, more: Sequence[Chore] = ()) -> Minder:
    """What must go on although no worker lives: delays, expiry, schedules, the end of flows."""
    return Minder(
        [
            Promoter(engine.broker),
            Expirer(engine.broker),
            Scheduler(engine.schedules),
            FlowMover(FlowStore(engine.redis, engine.broker)),
            *more,
        ]
    )


def journal_folder(settings: Settings) -> Path | None:
    """Where this machine's gateways keep their journals for this Redis; None: they keep none."""
    name = settings.gateway.journal_folder
    return Path(name).expanduser() / place_of(settings) if name else None


def can_start_alone(settings: Settings) -> bool:
    """Whether a gateway of this machine left behind what one needs that starts without Redis."""
    folder = journal_folder(settings)
    return folder is not None and (folder / "copies" / "keys.json").exists()


def build_journal(settings: Settings, engine: Engine, folder: Path) -> JournalAcceptor:
    """What accepts jobs by writing them to a disk first."""
    pressure = Pressure(
        lambda: read_memory(engine.redis), engine.inspector.counts, settings.gateway
    )
    to = Destination(engine.broker, Durability(engine.redis), pressure, SystemClock())
    return JournalAcceptor(folder, to, engine.inspector, settings.gateway)


class Said(Service):
    """Says that the gateway is ready, once what stands before it has started."""

    def __init__(self, facts: Callable[[], Mapping[str, str]]) -> None:
        super().__init__()
        self._facts = facts

    async def on_start(self) -> None:
        """Say it."""
        log.info("gateway is ready", extra=dict(self._facts()))


def build_courier(settings: Settings, told: CourierMetrics) -> list[Service]:
    """The courier, on connections of its own, since it waits for callbacks on one of them.

    `told` hears of every delivery.
    """
    client = open_redis(settings.redis, "courier")
    callbacks = engine_over(client, settings).callbacks
    poster = Poster(Guard(settings.network), settings.courier)
    courier = Courier(callbacks, poster, seals_of(settings), settings.courier, listener=told)
    return [Connected([client]), courier]


def build_courier_alone(settings: Settings) -> list[Service]:
    """The courier as a process of its own, with its metrics where a port is set."""
    told = CourierMetrics()
    port = settings.courier.metrics_port
    scraped: list[Service] = [Scraped(told, port)] if port else []
    return [*scraped, *build_courier(settings, told)]


def seals_of(settings: Settings, *, make: bool = False) -> Seals:
    """What seals and opens secrets here; `make` makes the key file where there is none."""
    seals = Seals(Path(settings.secrets.key_file))
    if make:
        seals.ensure()
    return seals


class Scraped(Service):
    """Answers Prometheus on loopback for a process that serves nothing else. Raises OSError."""

    def __init__(self, told: CourierMetrics, port: int) -> None:
        super().__init__()
        self._told = told
        self._port = port
        self._close: Callable[[], None] = lambda: None

    async def on_start(self) -> None:
        """Listen."""
        self._close = self._told.serve("127.0.0.1", self._port)

    async def on_stop(self) -> None:
        """Close."""
        await asyncio.to_thread(self._close)
