"""A courier at work over a real store, and jobs that end to give it something to deliver."""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import Redis

from gateway.courier import Courier
from gateway.courier_report import DeliveryReport
from gateway.delivery import CourierSettings
from gateway.posting import Poster
from gateway.sealing import Seals
from gateway.signing import new_secret
from processors.dependencies.guard import Guard, GuardSettings
from streams.broker import Broker
from streams.callbacks import CallbackFilter, CallbackState, CallbackStore, CallbackView
from streams.directory import Endpoint
from streams.keyspace import Keyspace
from streams.model import CallbackRequest, Done, Settlement, State
from streams.settings import EngineSettings
from tests.support.build import Hand, new_job
from tests.support.waiting import until
from tests.web.local_server import LocalServer

KEYS = Keyspace()
ALL_ENDINGS = (State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED)
QUICK = CourierSettings(
    schedule_s=(0.0, 0.05, 0.05),
    total_timeout_s=0.5,
    connect_timeout_s=0.5,
    response_timeout_s=0.1,
    key_wait_s=0.05,
    lease_ms=2_000,
    renew_s=0.2,
    grace_s=2.0,
)


class Office:
    """The store with its endpoints and a key file, and what tests do to them."""

    def __init__(self, redis: Redis, key_file: Path | None = None) -> None:
        self.store = CallbackStore(redis, KEYS, EngineSettings(poll_ceiling_ms=50))
        self.endpoints = self.store.endpoints
        made = Path(tempfile.mkdtemp(prefix="rn-seals-")) / "secrets.key"
        self.seals = Seals(key_file or made)
        self.seals.ensure()
        self.broker = Broker(redis, KEYS)
        self.hand = Hand(self.broker)
        self.reports: list[DeliveryReport] = []

    async def endpoint(self, url: str, **fields: Any) -> Endpoint:
        """A registered endpoint at `url`."""
        given = {"id": "ep_1", "app": "etyde", "secrets": (new_secret(),), **fields}
        endpoint = Endpoint(url=url, events=ALL_ENDINGS, created_ms=1, **given)
        sealed = tuple(self.seals.seal(secret, endpoint.id) for secret in endpoint.secrets)
        await self.endpoints.put(msgspec.structs.replace(endpoint, secrets=sealed))
        return endpoint

    async def end_job(self, url: str, endpoint: str = "ep_1", result: bytes = b'{"n":1}') -> str:
        """Run a job that asks for a callback; its id."""
        callback = CallbackRequest(url=url, endpoint=endpoint)
        (submitted,) = await self.broker.submit([new_job(callback=callback)])
        (lease,) = await self.hand.take()
        settlement = Settlement(lease.job_id, lease.token, Done(result))
        await self.broker.settle(self.hand.id, [settlement])
        return submitted.id

    async def callbacks(self, state: CallbackState | None = None) -> list[CallbackView]:
        """Every callback, or those of a state."""
        wanted = CallbackFilter(states=(state,) if state else tuple(CallbackState))
        return list((await self.store.page(wanted, limit=500)).items)

    async def record(self, url: str, endpoint: str = "ep_1", count: int = 1) -> list[str]:
        """Cancel that many jobs which ask for a callback; the jobs' ids in that order."""
        callback = CallbackRequest(url=url, endpoint=endpoint)
        jobs = [new_job(callback=callback) for _ in range(count)]
        await self.broker.submit(jobs)
        for job in jobs:
            await self.broker.cancel(job.id, "over")
        return [job.id for job in jobs]

    async def the_callback(self, state: CallbackState) -> CallbackView:
        """The only callback, once it has come to `state`."""
        await until(lambda: self.callbacks(state), what=f"a callback that is {state}")
        (view,) = await self.callbacks()
        return view

    @contextlib.asynccontextmanager
    async def courier(
        self, *servers: LocalServer, settings: CourierSettings = QUICK, **changes: Any
    ) -> AsyncIterator[Courier]:
        """A courier that may reach `servers`, at work until the block ends."""
        settings = msgspec.structs.replace(settings, **changes)
        ports = tuple(server.port for server in servers)
        guard = Guard(GuardSettings(allow_networks=("127.0.0.0/8",), allow_ports=ports))
        poster = Poster(guard, settings)
        courier = Courier(self.store, poster, self.seals, settings, listener=self.reports.append)
        await courier.start()
        try:
            yield courier
        finally:
            await courier.stop()
