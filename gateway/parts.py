"""What the gateway is made of. `ops.wiring` builds it once and gives it to `build_app`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mode import Service

from gateway.acceptance import AcceptedLines
from gateway.acceptor import Acceptor, DirectAcceptor
from gateway.audit import AuditLog
from gateway.blob_keeper import BlobKeeper
from gateway.copies import DiskCopy
from gateway.feed import Feed
from gateway.journal.measures import SpoolMetrics
from gateway.metrics import GatewayMetrics
from gateway.mirror import Mirror
from gateway.peer import networks
from gateway.rate import Rates
from gateway.registrar import Registrar
from gateway.schemas import PayloadSchemas
from gateway.sealing import Seals
from gateway.settings import GatewaySettings
from gateway.sse import Viewers
from gateway.token_watch import TokenWatch
from gateway.uses import KeyUses
from gateway.waiting import EndingWatch
from processors.dependencies.guard import parse_url
from streams.broker import Broker
from streams.callbacks import CallbackStore
from streams.circumstances import CircumstanceReader
from streams.clock import Clock, SystemClock
from streams.control import Control
from streams.directory import ApiKey, AppLimits, Directory, Endpoint, FlowCard, ProcessorCard
from streams.errors import Unavailable
from streams.events import EventReader
from streams.flow_record import is_flow
from streams.flow_view import FlowReader
from streams.inspector import Inspector
from streams.learned import Learned
from streams.model import Job
from streams.overview import OverviewReader
from streams.rates import RateStore
from streams.schedules import ScheduleStore
from streams.tokens import TokenReader
from streams.usage_sums import UsageSums
from streams.windows import WindowStore

Check = Callable[[], Awaitable[object]]
T = TypeVar("T")


@dataclass(frozen=True)
class Stores:
    """The engine as the gateway sees it. `events` and `tokens` block: not on shared connections."""

    broker: Broker
    inspector: Inspector
    directory: Directory
    callbacks: CallbackStore
    events: EventReader
    tokens: TokenReader
    rates: RateStore
    schedules: ScheduleStore
    flows: FlowReader
    control: Control
    circumstances: CircumstanceReader
    overview: OverviewReader
    usage: UsageSums
    windows: WindowStore
    learned: Callable[[], Awaitable[Learned]]


class GatewayParts(Service):
    """Everything that answers requests; start it before serving, stop it after.

    `checks` are what /readyz asks, by the name of the dependency; each raises when it fails.
    `check_url` raises Rejected for an endpoint URL to which nothing could be delivered.
    Without an `acceptor`, jobs go straight to Redis; one that is a Service is started here too.
    `copies` is a folder for what a start without Redis needs.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        stores: Stores,
        *,
        checks: Mapping[str, Check] | None = None,
        acceptor: Acceptor | None = None,
        check_url: Callable[[str], object] = parse_url,
        audit: AuditLog | None = None,
        seals: Seals | None = None,
        copies: Path | None = None,
        clock: Clock | None = None,
        blobs: BlobKeeper | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.blobs = blobs
        self.clock = clock or SystemClock()
        self.broker = stores.broker
        self.inspector = stores.inspector
        self.directory = stores.directory
        self.callbacks = stores.callbacks
        self.schedules = stores.schedules
        self.flow_reader = stores.flows
        self.control, self.windows = stores.control, stores.windows
        self.circumstances = stores.circumstances
        self.overview = stores.overview
        self.usage, self.learned = stores.usage, stores.learned
        overlap_s = settings.secret_overlap_s
        self.registrar = Registrar(self.callbacks, seals, overlap_s=overlap_s, clock=self.clock)
        self.retention_s = stores.broker.settings.retention_s
        self.checks = checks or {}
        self.check_url = check_url
        self.audit = audit or AuditLog()
        self.acceptor = acceptor or DirectAcceptor(stores.broker, settings)
        self.feed = Feed(stores.events)
        self.watch = EndingWatch(self.feed, self.read_job, self.clock)
        self.tokens = TokenWatch(stores.tokens)
        self.viewers = Viewers(settings.streams_per_app_max)
        mirrors = self._mirror_all(copies)
        self.rates = Rates(stores.rates, self.app_limits, self.clock)
        self.uses = KeyUses(self.directory, self.keys)
        self.trusted_proxies = networks(settings.trusted_proxies, "$.gateway.trusted_proxies")
        self.schemas, self.accepted_lines = PayloadSchemas(), AcceptedLines()
        self.metrics = GatewayMetrics()
        self.metrics.registry.register(SpoolMetrics(self.acceptor.spool))
        following = (self.feed, self.tokens, self.watch)
        for part in (*mirrors, self.rates, self.uses, self.audit, self.acceptor, *following):
            if isinstance(part, Service):
                self.add_dependency(part)

    def _mirror_all(self, copies: Path | None) -> tuple[Service, ...]:
        """Copies in memory of what is needed for every request."""

        def mirror(
            name: str, load: Callable[[], Awaitable[Mapping[str, T]]], kind: type[T]
        ) -> Mirror[T]:
            copy = DiskCopy(copies / f"{name}.json", kind) if copies else None
            return Mirror(name, load, self.clock, self.settings.refresh_s, copy)

        self.keys = mirror("keys", self.directory.keys, ApiKey)
        self.processors = mirror("processors", self.directory.processors, ProcessorCard)
        self.flows = mirror("flows", self.directory.flows, FlowCard)
        self.endpoints = mirror("endpoints", self.registrar.store.all, Endpoint)
        self.app_limits = mirror("limits", self.directory.app_limits, AppLimits)
        return (self.keys, self.processors, self.flows, self.endpoints, self.app_limits)

    async def read_job(self, job_id: str) -> Job | None:
        """A job as Redis has it, else as the journal does. Raises Unavailable if neither knows."""
        try:
            job = await self.inspector.job(job_id)
        except Unavailable:
            spooled = await self.acceptor.find(job_id)
            if spooled is None:
                raise
            return spooled
        return job or await self.acceptor.find(job_id)

    async def read_result(self, job: Job) -> bytes | None:
        """The result of a job that succeeded, or None when it is no longer kept."""
        if is_flow(job):
            return await self.flow_reader.result(job)
        return await self.inspector.result(job.id)
