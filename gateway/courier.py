"""The courier: takes callbacks that are due, posts them, and says what became of them.

At least once: a courier that dies between the post and the settle leaves a lease that runs out,
and the callback is posted again with the same webhook-id and the same bytes.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
from mode import Service
from redis.exceptions import RedisError

from gateway.delivery import (
    GONE,
    Answered,
    CourierSettings,
    Ending,
    Gate,
    Moment,
    Undeliverable,
    judge_delivery,
)
from gateway.posting import Poster
from gateway.rendering import render
from gateway.signing import sign
from processors.dependencies.guard import Refused, lies_under, parse_url
from streams.callbacks import (
    CallbackLease,
    CallbackRecord,
    CallbackStore,
    DeadDelivery,
    DeliveryVerdict,
    RetryDelivery,
)
from streams.clock import Clock, SystemClock
from streams.directory import Directory, Endpoint
from streams.errors import Trouble, Unavailable
from streams.model import Settled

AWAY = (RedisError, OSError, Unavailable)
AWAY_FIRST_S, AWAY_MAX_S = 0.1, 2.0  # waits while Redis is away
ROOM_WAIT_S = 1.0
GATES_MAX = 1_000
NO_SLOT = "the endpoint's breaker is open or its slots are taken"

log = logging.getLogger(__name__)
T = TypeVar("T")


class DeliveryReport(msgspec.Struct, frozen=True):
    """One attempt to deliver, as metrics, logs and tests hear of it."""

    record: CallbackRecord
    attempt: int
    verdict: DeliveryVerdict
    settled: Settled


Listener = Callable[[DeliveryReport], None]


class Courier(Service):
    """Delivers callbacks until it is stopped, then finishes those under way.

    `poster` is closed with the courier. Any number of couriers may run over one store.
    """

    def __init__(
        self,
        store: CallbackStore,
        directory: Directory,
        poster: Poster,
        settings: CourierSettings,
        *,
        clock: Clock | None = None,
        listener: Listener | None = None,
    ) -> None:
        super().__init__()
        self.id = f"courier-{secrets.token_hex(6)}"
        self._store = store
        self._endpoints = EndpointCache(directory, settings.endpoint_cache_s)
        self._poster = poster
        self._settings = settings
        self._clock = clock or SystemClock()
        self._listener = listener
        self._active: dict[str, CallbackLease] = {}
        self._settling: set[str] = set()  # of these the verdict is on its way: renewed no more
        self._gates: dict[str, Gate] = {}
        self._seen = "0-0"  # the newest entry of the stream that woke us
        self._room = asyncio.Event()
        self._drained = asyncio.Event()

    @property
    def active(self) -> int:
        """Callbacks in hand now."""
        return len(self._active)

    def open_breakers(self) -> list[str]:
        """Ids of the endpoints that get nothing for the moment."""
        now = time.monotonic()
        return sorted(id_ for id_, gate in self._gates.items() if gate.is_open(now))

    async def on_stop(self) -> None:
        """Wait for the deliveries under way, at most the grace period."""
        try:
            async with asyncio.timeout(self._settings.grace_s):
                await self._drained.wait()
        except TimeoutError:
            log.warning("deliveries were cut off by the stop", extra={"deliveries": self.active})

    async def on_shutdown(self) -> None:
        """Close connections."""
        await self._poster.close()

    @Service.task
    async def _deliver_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as deliveries:
                sequence = 1
                while not self.should_stop:
                    leases = await self._take(sequence)
                    if leases is None:  # the same number again brings the same grants
                        continue
                    sequence += 1
                    # Put back before the next take, so that its answer knows of them.
                    async with asyncio.TaskGroup() as put_backs:
                        for lease in leases:
                            self._start(lease, deliveries, put_backs)
        finally:
            self._drained.set()

    @Service.task
    async def _renew_all(self) -> None:
        while not self._drained.is_set():
            try:
                async with asyncio.timeout(self._settings.renew_s):
                    await self._drained.wait()
            except TimeoutError:
                await self._renew()

    async def _take(self, sequence: int) -> Sequence[CallbackLease] | None:
        """Callbacks to deliver now; waits for some, for a free slot, or a moment."""
        free = self._settings.concurrency - self.active
        if free <= 0:
            self._room.clear()
            await self.wait(self._room.wait(), timeout=ROOM_WAIT_S)
            return None
        try:
            taken = await self._store.take(self.id, sequence, free, self._settings.lease_ms)
            if not taken.leases:
                self._seen = await self._store.wait(self._seen, max(1, taken.look_again_ms))
        except AWAY as error:
            log.warning("callbacks cannot be taken", extra={"error": str(error)})
            await self.sleep(AWAY_MAX_S)
            return None
        return taken.leases

    async def _renew(self) -> None:
        held = [lease for id_, lease in self._active.items() if id_ not in self._settling]
        if not held:
            return
        pairs = [(lease.id, lease.token) for lease in held]
        try:
            lost = await self._store.renew(pairs, self._settings.lease_ms)
        except AWAY as error:
            log.warning("callback leases cannot be renewed", extra={"error": str(error)})
            return
        for lease in held:
            is_ours = self._active.get(lease.id) is lease and lease.id not in self._settling
            if lease.id in lost and is_ours:
                log.warning("callback lease lost", extra={"callback_id": lease.id})

    def _start(
        self, lease: CallbackLease, deliveries: asyncio.TaskGroup, put_backs: asyncio.TaskGroup
    ) -> None:
        self._active[lease.id] = lease
        gate = self._gate(lease.record.endpoint)
        come_back_s = gate.enter(time.monotonic())
        if come_back_s:
            put_backs.create_task(self._put_back(lease, come_back_s))
        else:
            deliveries.create_task(self._deliver(lease, gate))

    async def _deliver(self, lease: CallbackLease, gate: Gate) -> None:
        with self._in_hand(lease):
            await self._settle(lease, await self._attempt(lease, gate))

    async def _put_back(self, lease: CallbackLease, come_back_s: float) -> None:
        delay_ms = max(1, round(come_back_s * 1_000))
        with self._in_hand(lease):
            await self._settle(lease, RetryDelivery(delay_ms, NO_SLOT, counts=False))

    @contextlib.contextmanager
    def _in_hand(self, lease: CallbackLease) -> Iterator[None]:
        try:
            yield
        except Exception:  # one callback must not end the courier; its lease runs out
            log.exception("a callback was dropped", extra={"callback_id": lease.id})
        finally:
            del self._active[lease.id]
            self._settling.discard(lease.id)
            self._room.set()

    async def _attempt(self, lease: CallbackLease, gate: Gate) -> DeliveryVerdict:
        began = time.monotonic()
        good: bool | None = None
        try:
            ending = await self._perform(lease.record)
            good = health(ending)
        finally:
            took_s = time.monotonic() - began
            gate.leave(time.monotonic(), took_s, good=good)
        moment = Moment(
            attempt=lease.attempt,
            took_ms=round(took_s * 1_000),
            now_s=self._clock.now_ms() / 1_000,
            random=random.random(),
        )
        return judge_delivery(ending, moment, self._settings)

    async def _perform(self, record: CallbackRecord) -> Ending:
        endpoint = await self._persist(lambda: self._endpoints.get(record.endpoint))
        obstacle = why_not(record, endpoint)
        if endpoint is None or obstacle:
            return Undeliverable(obstacle)
        body = render(record)
        try:
            headers = sign(endpoint.secrets, record.id, self._clock.now_ms() // 1_000, body)
        except Trouble as error:
            return Undeliverable(f"the callback cannot be signed: {error}")
        ending = await self._poster.post(record.url, headers, body)
        if isinstance(ending, Answered) and ending.status == GONE:
            await self._persist(lambda: self._endpoints.disable(endpoint, "answered 410 Gone"))
        return ending

    async def _settle(self, lease: CallbackLease, verdict: DeliveryVerdict) -> None:
        self._settling.add(lease.id)
        settled = await self._persist(lambda: self._store.settle(lease.id, lease.token, verdict))
        self._report(DeliveryReport(lease.record, lease.attempt, verdict, settled))

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat an idempotent call while Redis is away; what was posted is not forgotten."""
        wait_s = AWAY_FIRST_S
        while True:
            try:
                return await call()
            except AWAY as error:
                log.warning("Redis is away for the courier", extra={"error": str(error)})
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, AWAY_MAX_S)

    def _report(self, report: DeliveryReport) -> None:
        if self._listener is not None:
            self._listener(report)
        if isinstance(report.verdict, DeadDelivery):
            log.warning(
                "callback given up",
                extra={"callback_id": report.record.id, "reason": report.verdict.reason},
            )

    def _gate(self, endpoint_id: str) -> Gate:
        if len(self._gates) > GATES_MAX:
            self._gates = {id_: gate for id_, gate in self._gates.items() if not gate.idle}
        return self._gates.setdefault(endpoint_id, Gate(self._settings))


class EndpointCache:
    """Endpoints as they were a few seconds ago: a burst reads each once."""

    def __init__(self, directory: Directory, age_max_s: float) -> None:
        self._directory = directory
        self._age_max_s = age_max_s
        self._read: dict[str, tuple[float, Endpoint | None]] = {}

    async def get(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint, or None when it is unknown or deleted. Raises redis.RedisError."""
        now = time.monotonic()
        read_at, endpoint = self._read.get(endpoint_id, (-self._age_max_s, None))
        if now - read_at < self._age_max_s:
            return endpoint
        endpoint = await self._directory.endpoint(endpoint_id)
        if len(self._read) > GATES_MAX:
            self._read.clear()
        self._read[endpoint_id] = (now, endpoint)
        return endpoint

    async def disable(self, endpoint: Endpoint, why: str) -> None:
        """Disable `endpoint`, unless it was changed meanwhile. Raises redis.RedisError."""
        current = await self._directory.endpoint(endpoint.id)
        if current == endpoint:
            await self._directory.put_endpoint(msgspec.structs.replace(endpoint, disabled=why))
            log.warning("endpoint disabled", extra={"endpoint": endpoint.id, "reason": why})
        self._read.pop(endpoint.id, None)


def why_not(record: CallbackRecord, endpoint: Endpoint | None) -> str:
    """Why no attempt may be made to deliver `record`, empty when one may."""
    if endpoint is None:
        return f"endpoint {record.endpoint} was deleted"
    if endpoint.disabled:
        return f"endpoint {endpoint.id} is disabled: {endpoint.disabled}"
    try:
        if not lies_under(parse_url(record.url), parse_url(endpoint.url)):
            return f"{record.url} no longer lies under endpoint {endpoint.id}"
    except Refused as error:
        return str(error)
    return ""


def health(ending: Ending) -> bool | None:
    """Whether the endpoint showed itself in good health; None when nothing reached it."""
    match ending:
        case Answered(status):
            return 200 <= status < 300
        case Undeliverable():
            return None
    return False
