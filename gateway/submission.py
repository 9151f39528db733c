"""From a submit as it crossed the wire to a complete job, or the error that says why not.

Nothing here waits or writes: manifests and endpoints come as values.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from gateway.problems import MalformedJson
from gateway.schemas import PayloadSchemas
from gateway.wire import CallbackTarget, JobRequest, milliseconds
from processors.dependencies.guard import Refused, lies_under, parse_url
from streams.directory import Endpoint, ProcessorCard
from streams.errors import InvalidInput, TooLarge, UnknownEndpoint
from streams.ids import job_id_for_key, new_job_id
from streams.model import CallbackRequest, Conflict, Lane, NewJob, UniqueKey


class Origin(msgspec.Struct, frozen=True):
    """Where a submit comes from: the app, its idempotency key if it gave one, the time."""

    app: str
    idempotency_key: str
    now_ms: int
    trace: str = ""


def new_job(
    request: JobRequest,
    origin: Origin,
    card: ProcessorCard,
    endpoints: Mapping[str, Endpoint],
    schemas: PayloadSchemas,
) -> NewJob:
    """The job that `request` asks for, complete. Raises what is wrong with it."""
    _check_times(request, origin.now_ms)
    payload = decoded(request.payload)
    schemas.check(card, payload)
    key = request.idempotency_key or origin.idempotency_key
    return NewJob(
        id=job_id_for_key(origin.app, key) if key else new_job_id(origin.now_ms),
        lane=Lane(card.resource_class, origin.app, request.priority, card.name, card.model),
        payload=bytes(request.payload),
        attempts_max=request.attempts_max or card.attempts_max,
        timeout_ms=round(request.timeout_s * 1_000) if request.timeout_s else card.timeout_ms,
        backoff_ms=card.backoff_ms,
        backoff_max_ms=card.backoff_max_ms,
        delay_ms=round(request.delay_s * 1_000),
        run_at_ms=milliseconds(request.run_at),
        expires_at_ms=milliseconds(request.expires_at),
        callback=callback_request(request.callback, origin.app, endpoints),
        tags=request.tags,
        trace=origin.trace,
        digest=digest_of(card.name, payload) if key else "",
        unique=unique_of(request),
        fresh=request.fresh,
    )


def unique_of(request: JobRequest) -> UniqueKey | None:
    """The unique key that a submit asks for. Raises InvalidInput for what does not go together."""
    if request.unique_key is None:
        if request.unique_for_s is not None:
            raise InvalidInput("needs a unique_key", "$.unique_for_s")
        return None
    if request.unique_for_s is not None and request.on_conflict is Conflict.REPLACE:
        raise InvalidInput("goes with refuse and existing only", "$.unique_for_s")
    window_ms = max(1, round(request.unique_for_s * 1_000)) if request.unique_for_s else 0
    return UniqueKey(request.unique_key, request.on_conflict, window_ms)


def digest_of(processor: str, payload: object) -> str:
    """What two submits under one idempotency key must have in common; not how it was written."""
    canonical = msgspec.json.encode(payload, order="sorted")
    return hashlib.sha256(processor.encode() + b"\0" + canonical).hexdigest()[:32]


def callback_request(
    target: CallbackTarget | None, app: str, endpoints: Mapping[str, Endpoint]
) -> CallbackRequest | None:
    """The callback that a job asks for, bound to the app's endpoint that its URL lies under.

    Raises UnknownEndpoint when it lies under none. Of several the longest prefix wins.
    """
    if target is None:
        return None
    try:
        url = parse_url(target.url)
    except Refused as error:
        raise InvalidInput(str(error), "$.callback.url") from None
    own = sorted(
        (endpoint for endpoint in endpoints.values() if endpoint.app == app),
        key=lambda endpoint: (-len(endpoint.url), endpoint.id),
    )
    for endpoint in own:
        if lies_under(url, parse_url(endpoint.url)):
            events = tuple(event for event in target.events if event in endpoint.events)
            return CallbackRequest(target.url, endpoint.id, events) if events else None
    place = target.url.partition("?")[0]  # a query may hold a token
    raise UnknownEndpoint(f"{place} lies under none of the {len(own)} endpoints of {app}")


def check_payload_size(payload: bytes | msgspec.Raw, max_bytes: int) -> None:
    """Raise TooLarge for a payload of a batch that could not have come alone."""
    if memoryview(payload).nbytes > max_bytes:
        raise TooLarge(f"the payload has more than {max_bytes} bytes")


def _check_times(request: JobRequest, now_ms: int) -> None:
    if request.run_at is not None and request.delay_s:
        raise InvalidInput("run_at and delay_s exclude each other", "$.delay_s")
    if request.expires_at is None:
        return
    expires_ms = milliseconds(request.expires_at)
    starts_ms = max(now_ms + round(request.delay_s * 1_000), milliseconds(request.run_at))
    if expires_ms <= starts_ms:
        raise InvalidInput("expires before it could start", "$.expires_at")


def decoded(payload: msgspec.Raw) -> object:
    """A payload as plain values. Raises MalformedJson, or TooLarge for one nested too deeply."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedJson(f"in the payload: {error}") from None
    except RecursionError:
        raise TooLarge("the payload is nested too deeply") from None
