"""Jobs and flows of requests, with what the gateway knows of processors, flows and endpoints."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from gateway.auth import app_of
from gateway.call import Call
from gateway.parts import GatewayParts
from gateway.planning import Catalog, Planned, flow_job, job_of, named_flow_job
from gateway.problems import KeyReused
from gateway.schemas import PAYLOAD
from gateway.submission import Origin, new_job
from gateway.wire import JobRequest
from gateway.wire_flows import FlowRequest
from streams.blobs import may_refer
from streams.directory import FlowCard
from streams.errors import InvalidInput, UniqueTaken, UnknownEndpoint
from streams.model import Conflict, Lane, NewJob, Submitted
from streams.trace import valid_traceparent

KEY_HEADER = re.compile(r"[!-~]{1,255}")
WAIT = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,4})(?:$|[,;\s])")

T = TypeVar("T")


async def make_job(parts: GatewayParts, request: JobRequest, origin: Origin) -> NewJob:
    """The job of a submit, which may name a flow. Raises what is wrong with it."""
    job = plain_job(parts, request, origin)
    if job is not None:
        return job
    flow = await _flow_named(parts, request.processor)
    if flow is not None:
        if request.shadow is not None:
            raise InvalidInput("a flow has no shadow", "$.shadow")
        plan = await _plan(parts, request, flow, origin)
        _check_lanes(parts, plan.lanes)
        parts.acceptor.check(plan.job.lane, plan.job.unique)
        return await _held(parts, plan.job)
    job = await _single(parts, request, origin)
    parts.acceptor.check(job.lane, job.unique)
    return await _held(parts, job) if may_refer(job.payload) else job


def plain_job(parts: GatewayParts, request: JobRequest, origin: Origin) -> NewJob | None:
    """The job of a submit for which all is known, as for nearly every one; None for any other.

    Raises what is wrong with it.
    """
    card = parts.processors.rows().get(request.processor)
    if card is None or request.callback is not None or request.processor in _flows(parts):
        return None
    if may_refer(bytes(request.payload)):
        return None
    job = new_job(request, origin, card, {}, parts.schemas)
    parts.acceptor.check(job.lane, job.unique)
    return job


async def make_template(parts: GatewayParts, request: JobRequest, origin: Origin) -> NewJob:
    """As `make_job`, for jobs that are made of it later."""
    if may_refer(bytes(request.payload)):
        raise InvalidInput("a schedule cannot refer to a blob, which goes with its jobs", PAYLOAD)
    flow = await _flow_named(parts, request.processor)
    if flow is not None:
        return (await _plan(parts, request, flow, origin)).job
    return await _single(parts, request, origin)


async def _held(parts: GatewayParts, job: NewJob) -> NewJob:
    """The job, once the blobs that it refers to are kept for it. Raises InvalidInput."""
    if may_refer(job.payload):
        if parts.blobs is None:
            raise InvalidInput("this gateway keeps no blobs", PAYLOAD)
        await parts.blobs.hold(job.lane.app, job.id, job.payload)
    return job


async def _flow_named(parts: GatewayParts, name: str) -> FlowCard | None:
    """The flow of that name; one that is no processor either may be a moment old."""
    flow = _flows(parts).get(name)
    if flow is not None or name in parts.processors.rows():
        return flow
    if await parts.processors.find(name) is None:
        flow = await _flow(parts, name)
    return flow


async def _plan(
    parts: GatewayParts, request: JobRequest, flow: FlowCard, origin: Origin
) -> Planned:
    await _know(parts, [stage.processor for stage in flow.stages])

    async def staged(catalog: Catalog) -> Planned:
        return await asyncio.to_thread(named_flow_job, request, flow, origin, catalog)

    return await _with_endpoints(parts, staged, calls_back=request.callback is not None)


async def _single(parts: GatewayParts, request: JobRequest, origin: Origin) -> NewJob:
    async def single(catalog: Catalog) -> NewJob:
        return job_of(request, origin, catalog)

    return await _with_endpoints(parts, single, calls_back=request.callback is not None)


async def make_flow(parts: GatewayParts, request: FlowRequest, origin: Origin) -> Planned:
    """The flow of a submit. Raises what is wrong with it, naming stage and field."""
    names = [stage.processor for stage in request.stages or ()]
    if request.name is not None:
        flow = await _flow(parts, request.name)
        names = [stage.processor for stage in flow.stages] if flow else []
    await _know(parts, names)

    async def made(catalog: Catalog) -> Planned:  # thousands of stages and items take their time
        return await asyncio.to_thread(flow_job, request, origin, catalog)

    plan = await _with_endpoints(parts, made, calls_back=request.callback is not None)
    _check_lanes(parts, plan.lanes)
    await _held(parts, plan.job)
    return plan


def _check_lanes(parts: GatewayParts, lanes: Iterable[Lane]) -> None:
    """Raise OutOfMemory or ClassFull when jobs of one of these lanes shall come later."""
    for lane in lanes:
        parts.acceptor.check(lane)


async def _with_endpoints(
    parts: GatewayParts, make: Callable[[Catalog], Awaitable[T]], *, calls_back: bool
) -> T:
    """What `make` makes; an endpoint that it does not know may have been made a moment ago."""
    try:
        return await make(_catalog(parts, calls_back=calls_back))
    except UnknownEndpoint:
        await parts.endpoints.look_again()
        return await make(_catalog(parts, calls_back=calls_back))


async def _know(parts: GatewayParts, processors: list[str]) -> None:
    """Look again, once, for processors that are not known yet."""
    known = parts.processors.rows()
    if any(name not in known for name in processors):
        await parts.processors.look_again()


def _catalog(parts: GatewayParts, *, calls_back: bool) -> Catalog:
    endpoints = parts.endpoints.rows() if calls_back else {}
    return Catalog(parts.processors.rows(), _flows(parts), endpoints, parts.schemas)


def _flows(parts: GatewayParts) -> Mapping[str, FlowCard]:
    """The named flows; a gateway that never read them goes on without."""
    return parts.flows.rows() if parts.flows.loaded else {}


async def _flow(parts: GatewayParts, name: str) -> FlowCard | None:
    if name not in _flows(parts):
        await parts.flows.look_again()
    return _flows(parts).get(name)


def origin_of(call: Call) -> Origin:
    """Where a submit comes from. Raises InvalidInput for an idempotency key that is none."""
    headers = call.headers
    key = headers.get("idempotency-key", "")
    if key and not KEY_HEADER.fullmatch(key):
        raise InvalidInput("1 to 255 visible ASCII characters", "$.headers.idempotency-key")
    traces = headers.getlist("traceparent")
    trace = valid_traceparent(traces[0]) if len(traces) == 1 else ""
    return Origin(app_of(call.key, None), key, call.parts.clock.now_ms(), trace)


def wait_of(call: Call) -> float | None:
    """The seconds of `Prefer: wait=N`, capped; None without it."""
    asked = call.headers.get("prefer")
    match = WAIT.search(asked) if asked else None
    return None if match is None else min(float(match[1]), call.parts.settings.wait_max_s)


def accepted_as(job: NewJob, submitted: Submitted) -> Submitted:
    """The job that stands for a submit: itself, or the one that has its unique key.

    Raises KeyReused, and UniqueTaken where the submit wanted to be refused then.
    """
    check_same(submitted)
    if not submitted.holder:
        return submitted
    if job.unique is not None and job.unique.on_conflict is Conflict.REFUSE:
        raise UniqueTaken(f"{submitted.holder} has the unique key", submitted.holder)
    return Submitted(submitted.holder, submitted.state, created=False)


def check_same(submitted: Submitted) -> None:
    """Raise KeyReused when the job that has this id is not the one just asked for."""
    if not submitted.same:
        raise KeyReused("this key was used for another processor or payload")
