"""What crosses the wire beside jobs: callbacks, endpoints, keys, classes, processors, health."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.auth import OVERLAP_S, Scope
from gateway.sealing import live_secrets
from gateway.wire import (
    EVERY_ENDING,
    Aware,
    Events,
    Limit,
    Name,
    Note,
    Request,
    Url,
    moment,
    shown_url,
)
from gateway.wire_control import RateLimit
from streams.callbacks import CallbackState, CallbackView
from streams.directory import ApiKey, AppLimits, Endpoint, ProcessorCard
from streams.endpoints import EndpointHealth
from streams.learned import Offness
from streams.model import Priority, ResourceClass, State

APP = re.compile(r"(\*|[a-z0-9][a-z0-9_.-]{0,63})")

# Callbacks


class CallbackReplayRequest(Request, frozen=True):
    """Which callbacks to deliver again: by id, or by endpoint and by when their jobs ended (`since`
    counts in, `until` does not). Without `state` only dead ones. `dry_run` only counts."""

    ids: Annotated[tuple[str, ...], Meta(max_length=1_000)] | None = None
    app: Name | None = None
    endpoint: Annotated[str, Meta(max_length=64)] | None = None
    since: Aware | None = None
    until: Aware | None = None
    state: Literal["dead", "delivered"] = "dead"
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    dry_run: bool = False


class DeliveryAttemptView(msgspec.Struct, frozen=True):
    """One attempt to deliver a callback."""

    at: datetime | None
    status: int  # 0: no answer came
    took_ms: int
    error: str  # its class: timeout, connect, resolve, tls, reset, status_5xx …; empty: delivered
    reason: str
    answer: str  # the start of what the receiver answered


class CallbackDetail(msgspec.Struct, frozen=True):
    """A callback and its delivery log. `id` is the `webhook-id` that the receiver sees."""

    id: str
    job_id: str
    app: str
    processor: str
    job_state: State
    state: CallbackState
    reason: str  # why it is dead, or failed last
    url: str
    endpoint: str
    sequence: int  # the n-th ending of the job
    test: bool  # of no job: made by POST /v1/endpoints/{id}:test
    due_at: datetime | None
    attempts: tuple[DeliveryAttemptView, ...]

    @classmethod
    def of(cls, view: CallbackView) -> Self:
        """The outside's view of a callback."""
        record = view.record
        return cls(
            id=record.id,
            job_id=record.job_id,
            app=record.app,
            processor=record.processor,
            job_state=record.state,
            state=view.state,
            reason=view.reason,
            url=shown_url(record.url),
            endpoint=record.endpoint,
            sequence=record.sequence,
            test=record.test,
            due_at=moment(view.due_ms),
            attempts=tuple(
                DeliveryAttemptView(
                    moment(one.at_ms), one.status, one.took_ms, one.error, one.reason, one.answer
                )
                for one in view.attempts
            ),
        )


# Endpoints and keys


class EndpointRequest(Request, frozen=True):
    """An endpoint to register: callback URLs must lie under `url`. Operators name the app."""

    url: Url
    events: Events = EVERY_ENDING
    ordered: bool = False  # one delivery at a time, each after the end of the one before
    app: Name | None = None


class EndpointPatch(Request, frozen=True):
    """What to change of an endpoint."""

    url: Url | None = None
    events: Events | None = None
    ordered: bool | None = None


class RotateRequest(Request, frozen=True):
    """`drop_previous`: end the old secret at once, for one that leaked."""

    drop_previous: bool = False


class EndpointView(msgspec.Struct, frozen=True):
    """An endpoint and how it fares. `secret` is there once: when it was made."""

    id: str
    app: str
    url: str
    events: tuple[State, ...]
    ordered: bool
    created_at: datetime | None
    disabled: str  # why nothing is delivered, empty while enabled
    disabled_at: datetime | None
    failures: int  # since the last success
    failing_since: datetime | None
    open_until: datetime | None  # its breaker lets nothing through before
    secrets_live: int
    previous_secret_until: datetime | None
    secret: str | UnsetType = UNSET

    @classmethod
    def of(
        cls,
        endpoint: Endpoint,
        health: EndpointHealth,
        now_ms: int,
        secret: str | UnsetType = UNSET,
    ) -> Self:
        """The view of `endpoint`, with a secret only where it was just made."""
        live = len(live_secrets(endpoint, now_ms))
        return cls(
            id=endpoint.id,
            app=endpoint.app,
            url=endpoint.url,
            events=endpoint.events,
            ordered=endpoint.ordered,
            created_at=moment(endpoint.created_ms),
            disabled=health.disabled,
            disabled_at=moment(health.disabled_ms),
            failures=health.failures,
            failing_since=moment(health.failing_since_ms),
            open_until=moment(health.open_until_ms if health.open_until_ms > now_ms else 0),
            secrets_live=live,
            previous_secret_until=moment(endpoint.previous_until_ms if live > 1 else 0),
            secret=secret,
        )


class EndpointEnabled(msgspec.Struct, frozen=True):
    """An endpoint that is sent to again; `replayed` counts what it had missed."""

    endpoint: EndpointView
    replayed: int


AppOrEvery = Annotated[str, Meta(pattern=rf"^{APP.pattern}$(?!\n)")]


class KeyRequest(Request, frozen=True):
    """A key to make. `app` may be `*` for operators. `networks`: it is good from these only."""

    app: AppOrEvery
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=5)]
    expires_at: Aware | None = None
    note: Note = ""
    networks: Annotated[tuple[str, ...], Meta(max_length=16)] = ()


class KeyRotateRequest(Request, frozen=True):
    """`overlap_s`: how long the previous key stays good; 0 ends it at once."""

    overlap_s: Annotated[int, Meta(ge=0, le=30 * 86_400)] = OVERLAP_S


class KeyView(msgspec.Struct, frozen=True):
    """A key. `key` is there once: when it was made."""

    id: str
    app: str
    scopes: tuple[str, ...]
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None  # within a minute
    note: str
    networks: tuple[str, ...]
    replaced_by: str
    key: str | UnsetType = UNSET

    @classmethod
    def of(cls, record: ApiKey, key: str | UnsetType = UNSET, *, used_ms: int = 0) -> Self:
        """The view of a stored key, with its text only where it was just made."""
        return cls(
            id=record.id,
            app=record.app,
            scopes=record.scopes,
            created_at=moment(record.created_ms),
            expires_at=moment(record.expires_ms),
            last_used_at=moment(used_ms),
            note=record.note,
            networks=record.networks,
            replaced_by=record.replaced_by,
            key=key,
        )


# Apps, classes and catalog


class AppPatch(Request, frozen=True):
    """New limits of an app; null removes one."""

    requests_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] | UnsetType | None = UNSET
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType | None = UNSET
    bytes_per_minute: Annotated[int, Meta(ge=1, le=2**50)] | UnsetType | None = UNSET
    jobs_in_flight: Annotated[int, Meta(ge=0, le=10_000_000)] | UnsetType | None = UNSET


class AppDetail(msgspec.Struct, frozen=True):
    """An app's limits (null: none) and its jobs that wait or run."""

    app: str
    own: bool  # False: these are the limits of `*`, or there are none
    requests_per_s: float | None
    burst: int | None
    bytes_per_minute: int | None
    jobs_in_flight: int | None
    in_flight: int

    @classmethod
    def of(cls, app: str, limits: Mapping[str, AppLimits], in_flight: int) -> Self:
        """The view of an app, given all limits."""
        found = limits.get(app) or limits.get("*") or AppLimits()
        return cls(app, app in limits, **msgspec.structs.asdict(found), in_flight=in_flight)


class PoolDetail(msgspec.Struct, frozen=True):
    """A pool: leases given out, and how many there may be (null: no total limit)."""

    active: int
    limit: int | None


class LaneDetail(msgspec.Struct, frozen=True):
    """One lane and its backlog."""

    app: str
    priority: Priority
    processor: str
    model: str
    waiting: int
    active: int
    oldest_age_s: float


class EstimateDetail(msgspec.Struct, frozen=True):
    """How far estimates of starts were off lately, over jobs that started after `wait_s`."""

    compared: int  # ever
    off_s: float  # whatever the sign
    late_s: float  # how much later than foretold; negative: earlier
    wait_s: float

    @classmethod
    def of(cls, off: Offness) -> Self:
        """The view of what was learned."""
        seconds = (round(ms / 1_000, 3) for ms in (off.off_ms, off.late_ms, off.wait_ms))
        return cls(off.compared, *seconds)


class ClassDetail(msgspec.Struct, frozen=True):
    """A resource class with its pools and the lanes that the key may see."""

    name: ResourceClass
    paused: bool
    waiting: int
    active: int
    delayed: int
    oldest_age_s: float
    pools: dict[str, PoolDetail]
    lanes: tuple[LaneDetail, ...]
    rate: RateLimit | None
    app_limits: dict[str, int]
    app_rates: dict[str, RateLimit]
    estimates: EstimateDetail | None = None  # null: none was compared yet


class ClassPatch(Request, frozen=True):
    """New limits: totals by pool, concurrency by app, rates. Null removes a limit."""

    limits: dict[str, Limit | None] = msgspec.field(default_factory=dict)
    app_limits: dict[Name, Limit | None] = msgspec.field(default_factory=dict)
    rate: RateLimit | UnsetType | None = UNSET  # of all apps together
    app_rates: dict[Name, RateLimit | None] = msgspec.field(default_factory=dict)


class ProcessorView(msgspec.Struct, frozen=True):
    """A processor as its workers published it."""

    name: str
    version: str
    summary: str
    resource_class: ResourceClass
    model: str
    prompt_version: str
    attempts_max: int
    timeout_s: float
    dependencies: tuple[str, ...]
    published_at: datetime | None
    input_schema: msgspec.Raw
    output_schema: msgspec.Raw

    @classmethod
    def of(cls, card: ProcessorCard) -> Self:
        """The view of a published manifest."""
        return cls(
            name=card.name,
            version=card.version,
            summary=card.summary,
            resource_class=card.resource_class,
            model=card.model,
            prompt_version=card.prompt_version,
            attempts_max=card.attempts_max,
            timeout_s=card.timeout_ms / 1_000,
            dependencies=card.dependencies,
            published_at=moment(card.published_ms),
            input_schema=card.input_schema,
            output_schema=card.output_schema,
        )


class JournalHealth(msgspec.Struct, frozen=True):
    """What a gateway has accepted and Redis has not; how often Redis had lost what it had."""

    rows: int
    bytes: int
    oldest_s: float
    alarms: int


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """`ok` or `failing`, and the same for each dependency; `spooling`: all well but Redis."""

    status: str
    dependencies: dict[str, str]
    journal: JournalHealth | None = None
