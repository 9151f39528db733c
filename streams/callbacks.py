"""The callbacks' own retry stream: frozen records, leased to couriers, settled, replayed."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from streams.keyspace import Keyspace
from streams.model import Fault, Page, Settled, State
from streams.scripts import Client, Scripts, pairs, text, translated
from streams.settings import EngineSettings

REASON_MAX = 300  # characters kept of why an attempt failed


class CallbackState(StrEnum):
    """Where a callback stands; `waiting` includes those under way and those due later."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


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


class CallbackLease(msgspec.Struct, frozen=True):
    """The right to deliver one callback; `attempt` counts from 1."""

    id: str
    token: str
    attempt: int
    record: CallbackRecord


class DeliveryAttempt(msgspec.Struct, frozen=True):
    """One line of a callback's delivery log; `status` is 0 when no answer came."""

    at_ms: int
    status: int
    took_ms: int
    reason: str


class CallbackView(msgspec.Struct, frozen=True):
    """A callback as the read side shows it."""

    record: CallbackRecord
    state: CallbackState
    tries: int
    attempts: tuple[DeliveryAttempt, ...]
    due_ms: int = 0
    reason: str = ""


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    """The receiver said 2xx."""

    status: int
    took_ms: int = 0


class RetryDelivery(msgspec.Struct, frozen=True, tag="retry"):
    """Another attempt after `delay_ms`; `counts` says whether this one used up a try."""

    delay_ms: int
    reason: str
    status: int = 0
    took_ms: int = 0
    counts: bool = True


class DeadDelivery(msgspec.Struct, frozen=True, tag="dead"):
    """No further attempt by itself: the callback becomes a dead letter with this reason."""

    reason: str
    status: int = 0
    took_ms: int = 0


DeliveryVerdict = Delivered | RetryDelivery | DeadDelivery


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

    async def take(
        self, courier: str, sequence: int, slots: int, lease_ms: int = 30_000
    ) -> CallbackTaken:
        """Lease at most `slots` callbacks. `sequence` rises by one per call; the last one again
        gives the same leases again."""
        nonce = courier.rsplit("-", 1)[-1]
        again, *rows = await self._scripts.run(
            "callbacks_take", courier, sequence, f"{nonce}.c{sequence}", slots, lease_ms
        )
        ceiling = self._settings.poll_ceiling_ms
        leases = []
        for callback_id, token, flat in rows:
            row = record_row(flat)
            record = parse_record(text(callback_id), row)
            leases.append(CallbackLease(record.id, text(token), int(row["tries"]), record))
        return CallbackTaken(leases, ceiling if again < 0 else min(again, ceiling))

    async def wait(self, after: str, block_ms: int) -> str:
        """Wait until a callback is recorded after the entry `after`; the newest entry's id."""
        key = self._keys.key("callbacks")
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
        """Write how a delivery ended, fenced by its token. Repeatable."""
        row: tuple[str, int, int, str, int]
        match verdict:
            case Delivered(status, took_ms):
                row = ("delivered", 0, status, "", took_ms)
            case RetryDelivery(delay_ms, reason, status, took_ms, counts):
                row = ("retry" if counts else "put_back", delay_ms, status, reason, took_ms)
            case DeadDelivery(reason, status, took_ms):
                row = ("dead", 0, status, reason, took_ms)
        kind, delay_ms, status, reason, took_ms = row
        line = " ".join(reason.split())[:REASON_MAX]
        answer = await self._scripts.run(
            "callbacks_settle", callback_id, token, kind, delay_ms, status, line, took_ms
        )
        return Settled(text(answer))

    async def replay(self, callback_ids: Sequence[str]) -> int:
        """Deliver ended callbacks once more, same webhook-id and bytes; how many."""
        return int(await self._scripts.run("callbacks_replay", *callback_ids))

    async def get(self, callback_id: str) -> CallbackView | None:
        """One callback with its delivery log, or None."""
        found = await self._views([callback_id])
        return found[0] if found else None

    async def page(
        self,
        app: str | None = None,
        state: CallbackState | None = None,
        cursor: str = "",
        limit: int = 50,
    ) -> Page[CallbackView]:
        """Callbacks, waiting ones first, then the newest."""
        ids: list[str] = []
        for each in [state] if state else list(CallbackState):
            ids += await self._ids(each)
        start = int(cursor or 0)
        found: list[CallbackView] = []
        position = start
        while position < len(ids) and len(found) < limit:
            chunk = ids[position : position + limit - len(found)]
            for view in await self._views(chunk):
                if app in (None, view.record.app):
                    found.append(view)
            position += len(chunk)
        return Page(found, str(position) if position < len(ids) else "")

    async def counts(self) -> dict[str, int]:
        """`recorded` = `waiting` + `delivered` + `dead`, ever (I12)."""
        with translated():
            rows = await self._redis.hgetall(self._keys.key("callback_counts"))
        return {text(field): int(count) for field, count in rows.items()}

    async def _ids(self, state: CallbackState) -> list[str]:
        with translated():
            if state is CallbackState.WAITING:
                entries = await self._redis.xrange(self._keys.key("callbacks"), count=10_000)
                due = await self._redis.zrange(self._keys.key("callback_due"), 0, 10_000)
                return [text(fields[b"c"]) for _, fields in entries] + [text(i) for i in due]
            name = "callback_done" if state is CallbackState.DELIVERED else "callback_dead"
            return [text(i) for i in await self._redis.zrevrange(self._keys.key(name), 0, 10_000)]

    async def _views(self, ids: Sequence[str]) -> list[CallbackView]:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for callback_id in ids:
                    pipe.hgetall(self._keys.key("callback_", callback_id))
                rows = await pipe.execute()
        return [
            parse_view(callback_id, {text(name): value for name, value in row.items()})
            for callback_id, row in zip(ids, rows, strict=True)
            if row
        ]


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
    )


def parse_view(callback_id: str, row: dict[str, bytes]) -> CallbackView:
    """A callback with its delivery log from its record's fields."""
    log = []
    for line in text(row.get("log")).splitlines():
        at_ms, status, took_ms, reason = line.split("\t", 3)
        log.append(DeliveryAttempt(int(at_ms), int(status), int(took_ms), reason))
    return CallbackView(
        record=parse_record(callback_id, row),
        state=CallbackState(text(row["status"])),
        tries=int(row["tries"]),
        attempts=tuple(log),
        due_ms=int(row.get("due", 0)),
        reason=text(row.get("reason")),
    )
