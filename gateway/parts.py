"""What the gateway is made of. `ops.wiring` builds it once and gives it to `build_app`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from mode import Service

from gateway.acceptor import Acceptor, DirectAcceptor
from gateway.audit import AuditLog
from gateway.metrics import GatewayMetrics
from gateway.mirror import Mirror
from gateway.peer import networks
from gateway.rate import Rates
from gateway.schemas import PayloadSchemas
from gateway.settings import GatewaySettings
from gateway.uses import KeyUses
from gateway.waiting import EndingWatch
from processors.dependencies.guard import parse_url
from streams.broker import Broker
from streams.callbacks import CallbackStore
from streams.clock import Clock, SystemClock
from streams.directory import Directory
from streams.events import EventReader
from streams.inspector import Inspector
from streams.rates import RateStore

Check = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Stores:
    """The engine as the gateway sees it. `events` blocks: it needs a connection of its own."""

    broker: Broker
    inspector: Inspector
    directory: Directory
    callbacks: CallbackStore
    events: EventReader
    rates: RateStore


class GatewayParts(Service):
    """Everything that answers requests; start it before serving, stop it after.

    `checks` are what /readyz asks, by the name of the dependency; each raises when it fails.
    `check_url` raises Rejected for an endpoint URL to which nothing could be delivered.
    Without an `acceptor`, jobs go straight to Redis; one that is a Service is started here too.
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
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.clock = clock or SystemClock()
        self.broker = stores.broker
        self.inspector = stores.inspector
        self.directory = stores.directory
        self.callbacks = stores.callbacks
        self.retention_s = stores.broker.settings.retention_s
        self.checks = checks or {}
        self.check_url = check_url
        self.audit = audit or AuditLog()
        self.acceptor = acceptor or DirectAcceptor(stores.broker, settings)
        self.watch = EndingWatch(stores.events, stores.inspector.job, self.clock)
        refresh_s = settings.refresh_s
        self.keys = Mirror("keys", self.directory.keys, self.clock, refresh_s)
        self.processors = Mirror("processors", self.directory.processors, self.clock, refresh_s)
        self.endpoints = Mirror("endpoints", self.directory.endpoints, self.clock, refresh_s)
        self.app_limits = Mirror("limits", self.directory.app_limits, self.clock, refresh_s)
        self.rates = Rates(stores.rates, self.app_limits, self.clock)
        self.uses = KeyUses(self.directory, self.keys)
        self.trusted_proxies = networks(settings.trusted_proxies, "$.gateway.trusted_proxies")
        self.schemas = PayloadSchemas()
        self.metrics = GatewayMetrics()
        mirrors = (self.keys, self.processors, self.endpoints, self.app_limits)
        parts = (*mirrors, self.rates, self.uses, self.audit, self.acceptor, self.watch)
        for part in parts:
            if isinstance(part, Service):
                self.add_dependency(part)
