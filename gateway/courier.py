"""The courier: takes callbacks that may go now, posts them, and says what became of them.

Which endpoint has room, whose breaker is open and what is due are decided in Redis, for all
couriers together; a courier is given only what it can post at once. One round after the other
settles what has ended meanwhile and takes what there is then.

At least once: a courier that dies between the post and the settle leaves a lease that runs out,
and the callback is posted again with the same webhook-id and the same bytes.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time

from mode import Service
from redis.exceptions import RedisError

from gateway.courier_report import DeliveryReport, Listener, line_of
from gateway.delivery import (
    CourierSettings,
    Ending,
    Moment,
    NotNow,
    Unanswered,
    Undeliverable,
    judge_delivery,
)
from gateway.posting import Poster
from gateway.rendering import render
from gateway.sealing import SealKeyMissing, Seals
from gateway.signing import sign
from processors.dependencies.guard import Refused, lies_under, parse_url
from streams.callbacks import CallbackLease, CallbackRecord, CallbackStore
from streams.clock import Clock, SystemClock
from streams.deliveries import (
    DeliverySettlement,
    DeliveryTake,
    DeliveryVerdict,
)
from streams.directory import Endpoint
from streams.endpoints import EndpointStore
from streams.errors import Trouble, Unavailable

AWAY = (RedisError, OSError, Unavailable)
AWAY_FIRST_S, AWAY_MAX_S = 0.1, 2.0  # waits while Redis is away
SETTLED_MAX = 100  # verdicts of one call
BELL_BLOCK_MS = 1_000
SWEEP_S = 60.0
ENDPOINTS_MAX = 1_000  # that are remembered

log = logging.getLogger(__name__)


class Courier(Service):
    """Delivers callbacks until it is stopped, then finishes those under way.

    `poster` is closed with the courier. Any number of couriers may run over one store.
    """

    def __init__(
        self,
        store: CallbackStore,
        poster: Poster,
        seals: Seals,
        settings: CourierSettings,
        *,
        clock: Clock | None = None,
        listener: Listener | None = None,
    ) -> None:
        super().__init__()
        self.id = f"courier-{secrets.token_hex(6)}"
        self._store = store
        self._clock = clock or SystemClock()
        self._endpoints = KnownEndpoints(store.endpoints)
        self._seals = seals
        self._poster = poster
        self._settings = settings
        self._listener = listener
        self._active: dict[str, CallbackLease] = {}  # by token
        self._ended: dict[str, DeliveryVerdict] = {}  # of these the verdict is on its way
        self._key_missed_at = float("-inf")
        self._sequence = 1
        self._woken = asyncio.Event()
        self._drained = asyncio.Event()

    @property
    def active(self) -> int:
        """Callbacks in hand now."""
        return len(self._active)

    async def on_stop(self) -> None:
        """Wait for the deliveries under way, at most the grace period."""
        self._woken.set()
        try:
            async with asyncio.timeout(self._settings.grace_s):
                await self._drained.wait()
        except TimeoutError:
            log.warning("deliveries were cut off by the stop", extra={"deliveries": self.active})

    async def on_shutdown(self) -> None:
        """Close connections."""
        await self._poster.close()
        await self._store.close()

    @Service.task
    async def _deliver_all(self) -> None:
        away_s = AWAY_FIRST_S
        try:
            async with asyncio.TaskGroup() as deliveries:
                while not self.should_stop or self._active:
                    self._woken.clear()
                    try:
                        wait_s = await self._turn(deliveries)
                        away_s = AWAY_FIRST_S
                    except AWAY as error:
                        log.warning("Redis is away for the courier", extra={"error": str(error)})
                        wait_s, away_s = away_s, min(away_s * 2, AWAY_MAX_S)
                        await asyncio.sleep(wait_s)
                        continue
                    await self._until_woken(wait_s)
        finally:
            self._drained.set()

    @Service.task
    async def _hear_the_bell(self) -> None:
        seen = "0-0"
        while not self.should_stop:
            try:
                heard = await self._store.wait(seen, BELL_BLOCK_MS)
            except AWAY:  # the rounds say so
                await self.sleep(AWAY_MAX_S)
                continue
            if heard != seen:
                seen = heard
                self._woken.set()

    @Service.task
    async def _renew_all(self) -> None:
        while not self._drained.is_set():
            try:
                async with asyncio.timeout(self._settings.renew_s):
                    await self._drained.wait()
            except TimeoutError:
                await self._renew()

    @Service.task
    async def _sweep_all(self) -> None:
        while not self.should_stop:
            await self.sleep(SWEEP_S * random.uniform(0.9, 1.1))
            try:
                await sweep(self._store)
            except AWAY as error:
                log.warning("callbacks cannot be swept", extra={"error": str(error)})

    async def _until_woken(self, limit_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._woken.wait()

    async def _turn(self, deliveries: asyncio.TaskGroup) -> float:
        """Write verdicts and start what may go now; how long there is nothing more to do.

        When the call fails, the next one writes the same verdicts and bears the same number, which
        brings the same grants.
        """
        settings = self._settings
        batch = [
            DeliverySettlement(self._active[token].id, token, verdict)
            for token, verdict in list(self._ended.items())[:SETTLED_MAX]
        ]
        free = 0 if self.should_stop else settings.concurrency - self.active + len(batch)
        take = DeliveryTake(self.id, self._sequence, free, settings.lease_ms, settings.limits)
        answers, taken = await self._store.turn(batch, take if free > 0 else None, settings.breaker)
        self._sequence += free > 0
        for one, settled in zip(batch, answers, strict=True):
            lease = self._active.pop(one.token)
            del self._ended[one.token]
            self._report(DeliveryReport(lease.record, lease.attempt, one.verdict, settled))
        for lease in taken.leases:
            self._active[lease.token] = lease
            deliveries.create_task(self._deliver(lease))
        return 0.0 if self._ended else taken.look_again_ms / 1_000

    async def _renew(self) -> None:
        held = [lease for token, lease in self._active.items() if token not in self._ended]
        if not held:
            return
        pairs = [(lease.id, lease.token) for lease in held]
        try:
            lost = await self._store.renew(pairs, self._settings.lease_ms)
        except AWAY as error:
            log.warning("callback leases cannot be renewed", extra={"error": str(error)})
            return
        for lease in held:
            under_way = lease.token in self._active and lease.token not in self._ended
            if lease.id in lost and under_way:
                log.warning("callback lease lost", extra={"callback_id": lease.id})

    async def _deliver(self, lease: CallbackLease) -> None:
        began = time.monotonic()
        try:
            ending = await self._perform(lease)
        except Exception as error:  # one callback must not end the courier
            log.exception("a delivery failed in an unforeseen way", extra={"callback_id": lease.id})
            ending = Unanswered(f"{type(error).__name__} in the courier", "internal")
        moment = Moment(
            attempt=lease.attempt,
            took_ms=round((time.monotonic() - began) * 1_000),
            now_s=self._clock.now_ms() / 1_000,
            random=random.random(),
        )
        self._ended[lease.token] = judge_delivery(ending, moment, self._settings)
        self._woken.set()

    async def _perform(self, lease: CallbackLease) -> Ending:
        record = lease.record
        try:
            endpoint = await self._endpoints.get(record.endpoint, lease.edition)
            obstacle = why_not(record, endpoint)
            if endpoint is None or obstacle:
                return Undeliverable(obstacle)
            body, now_ms = render(record), self._clock.now_ms()
            live = self._seals.live(endpoint, now_ms)
            headers = sign(live, record.id, now_ms // 1_000, body)
        except SealKeyMissing as error:
            return self._without_key(error)
        except AWAY as error:
            return NotNow(f"Redis is away: {error}", AWAY_MAX_S)
        except Trouble as error:
            return Undeliverable(f"the callback cannot be signed: {error}", "unsigned")
        if record.trace:
            headers["traceparent"] = record.trace
        return await self._poster.post(record.url, headers, body)

    def _without_key(self, error: SealKeyMissing) -> NotNow:
        """Say once in a while that callbacks wait for an operator."""
        wait_s = self._settings.key_wait_s
        if time.monotonic() - self._key_missed_at >= wait_s:
            self._key_missed_at = time.monotonic()
            log.error("callbacks wait for the key that opens secrets", extra={"error": str(error)})
        return NotNow(str(error), wait_s)

    def _report(self, report: DeliveryReport) -> None:
        if self._listener is not None:
            self._listener(report)
        if report.settled.endpoint:
            log.warning(
                "an endpoint's state has changed",
                extra={"endpoint": report.record.endpoint, "change": report.settled.endpoint},
            )
        level, message, fields = line_of(report)
        log.log(level, message, extra=fields)


class KnownEndpoints:
    """Endpoints by edition: each is read once, and anew as soon as it was changed."""

    def __init__(self, store: EndpointStore) -> None:
        self._store = store
        self._known: dict[str, tuple[str, Endpoint | None]] = {}

    async def get(self, endpoint_id: str, edition: str) -> Endpoint | None:
        """The endpoint, at least as new as `edition`; None when it was deleted."""
        known, endpoint = self._known.get(endpoint_id, ("", None))
        if edition and known == edition:
            return endpoint
        endpoint = await self._store.get(endpoint_id)
        if len(self._known) >= ENDPOINTS_MAX:
            self._known.clear()
        self._known[endpoint_id] = (edition, endpoint)
        return endpoint


async def sweep(store: CallbackStore) -> int:
    """Mend every lane; how many things were wrong. Raises errors.Unavailable."""
    mended = 0
    for endpoint_id in await store.endpoints.all():
        start = "-"
        while True:
            found, start = await store.sweep(endpoint_id, start)
            mended += found
            if start == "-":
                break
    await store.recount_hosts()
    return mended


def why_not(record: CallbackRecord, endpoint: Endpoint | None) -> str:
    """Why no attempt may be made to deliver `record`, empty when one may."""
    if endpoint is None:
        return f"endpoint {record.endpoint} was deleted"
    try:
        if not lies_under(parse_url(record.url), parse_url(endpoint.url)):
            return f"{record.url} no longer lies under endpoint {endpoint.id}"
    except Refused as error:
        return str(error)
    return ""
