"""The callbacks' own streams, one lane for each endpoint: frozen records, leased to couriers,
settled, replayed."""

from collections.abc import AsyncIterator, Iterable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

import msgspec

from streams.deliveries import (
    BreakerRule,
    DeliveryLimits,
    DeliverySettled,
    DeliverySettlement,
    DeliveryTake,
    DeliveryVerdict,
    parse_settled,
    settle_arguments,
)
from streams.endpoints import EndpointStore
from streams.keyspace import Keyspace
from streams.merging import SortedSource, Source, StreamSource
from streams.model import Fault, Page, Settled, State
from streams.scripts import Client, Scripts, pairs, text, translated
from streams.settings import EngineSettings
from streams.shelves import Shelf, SourceShelf, paged
from streams.wire import Call, Wire

LISTED_MAX = 10_000  # callbacks of one state that a listing looks through
CHUNK = 200
BELL = "callbacks"  # the doorbell that couriers wait at


class CallbackState(StrEnum):
    """Where a callback stands; `waiting` includes those under way and those due later."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


# Where callbacks lie in Redis, by the letter in cursors, in the order of a listing.
SHELVES = {
    "l": CallbackState.WAITING,  # lanes, of those under way too
    "u": CallbackState.WAITING,  # due later
    "d": CallbackState.DELIVERED,
    "x": CallbackState.DEAD,
}
SORTED = {"u": "callback_due", "d": "callback_done", "x": "callback_dead"}


class CallbackRecord(msgspec.Struct, frozen=True):
    """What the app will be told, frozen when the job ended. Times are wall milliseconds."""

    id: str  # the webhook-id
    job_id: str
    app: str
    processor: str
    state: State
    attempt: int
    submitted_ms: int
    started_ms: int
    ended_ms: int
    fault: Fault | None
    result: bytes | None  # JSON; None when there is none or it is sent as a link
    result_bytes: int
    url: str
    endpoint: str
    sequence: int  # the n-th ending of the job, from 1
    tags: tuple[str, ...] = ()
    trace: str = ""
    test: bool = False  # of no job: somebody asked whether the endpoint can be reached


class CallbackLease(msgspec.Struct, frozen=True):
    """The right to deliver one callback; `attempt` counts from 1.

    `edition` counts the changes of the endpoint; a verdict of an older one disables nothing.
    """

    id: str
    token: str
    attempt: int
    record: CallbackRecord
    edition: str = ""


class DeliveryAttempt(msgspec.Struct, frozen=True):
    """One line of a callback's delivery log; `status` is 0 when no answer came."""

    at_ms: int
    status: int
    took_ms: int
    reason: str
    error: str = ""  # its class: timeout, connect, tls, status_5xx …; empty for a success
    answer: str = ""  # the start of what the receiver answered


class CallbackView(msgspec.Struct, frozen=True):
    """A callback as the read side shows it."""

    record: CallbackRecord
    state: CallbackState
    tries: int
    attempts: tuple[DeliveryAttempt, ...]
    due_ms: int = 0
    reason: str = ""


class CallbackFilter(msgspec.Struct, frozen=True):
    """Which callbacks: `since_ms` and `until_ms` are about when the job ended, 0 for no bound."""

    app: str | None = None
    states: tuple[CallbackState, ...] = tuple(CallbackState)
    endpoint: str | None = None
    since_ms: int = 0
    until_ms: int = 0

    @property
    def narrow(self) -> bool:
        """Whether more than the state has to be looked at."""
        return bool(self.app or self.endpoint or self.since_ms or self.until_ms)

    def fits(self, app: str, endpoint: str, ended_ms: int) -> bool:
        """Whether a callback with these values is among them."""
        return (
            self.app in (None, app)
            and self.endpoint in (None, endpoint)
            and ended_ms >= self.since_ms
            and (not self.until_ms or ended_ms < self.until_ms)
        )


EVERY_CALLBACK = CallbackFilter()


class CallbackTaken(msgspec.Struct, frozen=True):
    """Deliveries to make, and when it is worth asking again."""

    leases: Sequence[CallbackLease]
    look_again_ms: int


class CallbackStore:
    """Leases callbacks to couriers and shows them. Methods may raise errors.Unavailable."""

    def __init__(
        self, redis: Client, keyspace: Keyspace, settings: EngineSettings | None = None
    ) -> None:
        self._redis = redis
        self._keys = keyspace
        self._settings = settings or EngineSettings()
        self._scripts = Scripts(redis, keyspace, self._settings)
        self._wire: Wire | None = None  # opened by the first turn
        self.endpoints = EndpointStore(redis, keyspace, self._scripts)

    async def turn(
        self,
        settlements: Sequence[DeliverySettlement],
        wanted: DeliveryTake | None,
        rule: BreakerRule,
    ) -> tuple[list[DeliverySettled], CallbackTaken]:
        """Settle and then take, in one round trip. Repeatable as a whole; `close` in the end."""
        calls: list[Call] = []
        if settlements:
            calls.append(("callbacks_settle", settle_arguments(settlements, rule)))
        if wanted:
            calls.append(("callbacks_take", wanted.arguments()))
        self._wire = self._wire or Wire(self._redis, self._keys, self._scripts)
        replies = await self._wire.call(calls) if calls else []
        answers = parse_settled(replies.pop(0)) if settlements else []
        ceiling_ms = self._settings.poll_ceiling_ms
        taken = parse_taken(replies.pop(0), ceiling_ms) if wanted else CallbackTaken([], ceiling_ms)
        return answers, taken

    async def close(self) -> None:
        """Close the connection that `turn` uses."""
        if self._wire is not None:
            await self._wire.close()

    async def take(
        self,
        courier: str,
        sequence: int,
        slots: int,
        lease_ms: int = 30_000,
        limits: DeliveryLimits | None = None,
    ) -> CallbackTaken:
        """Lease at most `slots` callbacks of endpoints that have room. `sequence` rises by one per
        call; the last one again gives the same leases again."""
        limits = limits or DeliveryLimits()
        wanted = DeliveryTake(courier, sequence, slots, lease_ms, limits)
        reply = await self._scripts.run("callbacks_take", *wanted.arguments())
        return parse_taken(reply, self._settings.poll_ceiling_ms)

    async def wait(self, after: str, block_ms: int) -> str:
        """Wait for the doorbell to ring after its entry `after`; the newest entry's id."""
        key = self._keys.key("doorbell_", BELL)
        with translated():
            reply = await self._redis.xread({key: after or "$"}, block=block_ms, count=100)
        return text(reply[0][1][-1][0]) if reply else after

    async def renew(
        self, leases: Iterable[tuple[str, str]], lease_ms: int = 30_000
    ) -> frozenset[str]:
        """Move the deadlines of (callback, token) pairs; the ids whose lease is lost."""
        arguments = [part for lease in leases for part in lease]
        lost = await self._scripts.run("callbacks_renew", lease_ms, *arguments)
        return frozenset(text(callback_id) for callback_id in lost)

    async def settle(self, callback_id: str, token: str, verdict: DeliveryVerdict) -> Settled:
        """Write how one delivery ended, fenced by its token. Repeatable."""
        (settled,) = await self.settle_all([DeliverySettlement(callback_id, token, verdict)])
        return settled.answer

    async def settle_all(
        self, settlements: Sequence[DeliverySettlement], rule: BreakerRule | None = None
    ) -> list[DeliverySettled]:
        """Write how deliveries ended, each fenced by its token. Repeatable; at most 100 a call."""
        arguments = settle_arguments(settlements, rule or BreakerRule())
        return parse_settled(await self._scripts.run("callbacks_settle", *arguments))

    async def replay(self, callback_ids: Sequence[str]) -> int:
        """Deliver ended callbacks once more, same webhook-id and bytes; how many."""
        return int(await self._scripts.run("callbacks_replay", *callback_ids))

    async def test(self, callback_id: str, endpoint: str, app: str, url: str) -> bool:
        """Record a callback of no job for an endpoint. False when that id was recorded before."""
        return bool(await self._scripts.run("callbacks_test", callback_id, endpoint, app, url))

    async def sweep(self, endpoint: str, start: str = "-", count: int = 100) -> tuple[int, str]:
        """Mend one page of an endpoint's lane; (how many, start of the next page or `-`)."""
        mended, following = await self._scripts.run("callbacks_sweep", endpoint, start, count)
        return int(mended), text(following)

    async def recount_hosts(self, count: int = 5_000) -> int:
        """Count the deliveries under way by host anew; how many there are in all."""
        return int(await self._scripts.run("callbacks_recount", count))

    async def get(self, callback_id: str) -> CallbackView | None:
        """One callback with its delivery log, or None."""
        found = await self._views([callback_id])
        return found[0] if found else None

    async def page(
        self, wanted: CallbackFilter = EVERY_CALLBACK, cursor: str = "", limit: int = 50
    ) -> Page[CallbackView]:
        """Callbacks, waiting ones first, of each kind the newest. ValueError for no cursor."""
        names = [name for name, state in SHELVES.items() if state in wanted.states]
        return await paged([self._shelf(name, wanted) for name in names], cursor, limit)

    def _shelf(self, name: str, wanted: CallbackFilter) -> Shelf[CallbackView]:
        async def read(ids: Sequence[str]) -> dict[str, CallbackView]:
            views = await self._views(await self._fitting(ids, wanted))
            return {view.record.id: view for view in views if view.state is SHELVES[name]}

        sources = partial(self._sources, name, wanted)
        return SourceShelf(name, self._redis, sources, read, wanted.since_ms)

    async def _sources(self, shelf: str, wanted: CallbackFilter) -> list[Source]:
        """The lanes of endpoints, or the sorted set of a shelf."""
        if shelf in SORTED:
            return [SortedSource(self._redis, self._keys.key(SORTED[shelf]))]
        with translated():
            raws = await self._redis.zrange(self._keys.key("callback_lanes"), 0, -1)
        lanes = [lane for lane in map(text, raws) if wanted.endpoint in (None, lane)]
        return [StreamSource(self._keys.key("callbacks_", lane), lane, b"c") for lane in lanes]

    async def matching(
        self, wanted: CallbackFilter, settled_ms: int = 0
    ) -> AsyncIterator[list[str]]:
        """Ids of all that fit and ended no earlier than `settled_ms`, in chunks, newest first; at
        most 10,000 of a state."""
        for state in wanted.states:
            ids = await self._ids(state, max(wanted.since_ms, settled_ms))
            for start in range(0, len(ids), CHUNK):
                yield await self._fitting(ids[start : start + CHUNK], wanted)

    async def counts(self) -> dict[str, int]:
        """`recorded` = `waiting` + `delivered` + `dead`, ever (I12)."""
        with translated():
            rows = await self._redis.hgetall(self._keys.key("callback_counts"))
        return {text(field): int(count) for field, count in rows.items()}

    async def _ids(self, state: CallbackState, since_ms: int) -> list[str]:
        if state is CallbackState.WAITING:
            return await self._waiting()
        name = "callback_done" if state is CallbackState.DELIVERED else "callback_dead"
        with translated():
            ids = await self._redis.zrange(
                *(self._keys.key(name), "+inf", since_ms),
                byscore=True,
                desc=True,
                offset=0,
                num=LISTED_MAX,
            )
        return [text(callback_id) for callback_id in ids]

    async def _waiting(self) -> list[str]:
        """Those under way, then those in the lanes, then those that are due later."""
        keys = self._keys
        with translated():
            held = await self._redis.zrange(keys.key("callback_leases"), 0, LISTED_MAX - 1)
            ids = [text(member).split("|")[0] for member in held]
            lanes = await self._redis.zrange(keys.key("callback_lanes"), 0, LISTED_MAX - 1)
            for lane in lanes:
                key, room = keys.key("callbacks_", text(lane)), LISTED_MAX - len(ids)
                entries = await self._redis.xrange(key, count=max(1, room))
                ids += [text(fields[b"c"]) for _, fields in entries]
            ids += map(text, await self._redis.zrange(keys.key("callback_due"), 0, LISTED_MAX - 1))
        return list(dict.fromkeys(ids))[:LISTED_MAX]

    async def _fitting(self, ids: Sequence[str], wanted: CallbackFilter) -> list[str]:
        if not wanted.narrow:
            return list(ids)
        rows = await self._rows("hmget", ids, ["app", "endpoint", "end"])
        return [
            callback_id
            for callback_id, (app, endpoint, ended) in zip(ids, rows, strict=True)
            if ended is not None and wanted.fits(text(app), text(endpoint), int(ended))
        ]

    async def _views(self, ids: Sequence[str]) -> list[CallbackView]:
        rows = await self._rows("hgetall", ids)
        return [
            parse_view(callback_id, {text(name): value for name, value in row.items()})
            for callback_id, row in zip(ids, rows, strict=True)
            if row
        ]

    async def _rows(self, command: str, ids: Sequence[str], *arguments: Any) -> list[Any]:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for callback_id in ids:
                    getattr(pipe, command)(self._keys.key("callback_", callback_id), *arguments)
                rows: list[Any] = await pipe.execute()
        return rows


def parse_taken(reply: Sequence[Any], ceiling_ms: int) -> CallbackTaken:
    """The leases that a take answered."""
    again, *rows = reply
    leases = [parse_lease(text(id_), text(token), flat) for id_, token, flat in rows]
    return CallbackTaken(leases, ceiling_ms if again < 0 else min(again, ceiling_ms))


def parse_lease(callback_id: str, token: str, flat: Iterable[Any]) -> CallbackLease:
    """A lease from the answer of take."""
    row = record_row(flat)
    record = parse_record(callback_id, row)
    return CallbackLease(callback_id, token, int(row["tries"]), record, text(row.get("edition")))


def record_row(flat: Iterable[Any]) -> dict[str, bytes]:
    """A record's fields from a flat reply."""
    return {text(name): value for name, value in pairs(flat)}


def parse_record(callback_id: str, row: dict[str, bytes]) -> CallbackRecord:
    """The frozen values from a record's fields."""
    code = text(row["code"])
    return CallbackRecord(
        id=callback_id,
        job_id=text(row["job"]),
        app=text(row["app"]),
        processor=text(row["processor"]),
        state=State(text(row["state"])),
        attempt=int(row["attempt"]),
        submitted_ms=int(row["at"]),
        started_ms=int(row["start"]),
        ended_ms=int(row["end"]),
        fault=Fault(code, text(row["error"])) if code else None,
        result=row["result"] or None,
        result_bytes=int(row["size"]),
        url=text(row["url"]),
        endpoint=text(row["endpoint"]),
        sequence=int(row["sequence"]),
        tags=tuple(text(row["tags"]).split()),
        trace=text(row["trace"]),
        test="test" in row,
    )


def parse_view(callback_id: str, row: dict[str, bytes]) -> CallbackView:
    """A callback with its delivery log from its record's fields."""
    log = []
    for attempt in text(row.get("log")).splitlines():
        at_ms, status, took_ms, error, reason, answer = attempt.split("\t", 5)
        log.append(DeliveryAttempt(int(at_ms), int(status), int(took_ms), reason, error, answer))
    return CallbackView(
        record=parse_record(callback_id, row),
        state=CallbackState(text(row["status"])),
        tries=int(row["tries"]),
        attempts=tuple(log),
        due_ms=int(row.get("due", 0)),
        reason=text(row.get("reason")),
    )
