"""Jobs and flows of requests, with what the gateway knows of processors, flows and endpoints."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from gateway.auth import app_of
from gateway.call import Call
from gateway.parts import GatewayParts
from gateway.planning import Catalog, Planned, flow_job, named_flow_job
from gateway.problems import KeyReused
from gateway.submission import Origin, decoded, new_job
from gateway.wire import JobRequest
from gateway.wire_flows import FlowRequest
from streams.directory import FlowCard
from streams.errors import InvalidInput, UnknownEndpoint, UnknownProcessor
from streams.model import NewJob, Submitted

KEY_HEADER = re.compile(r"[!-~]{1,255}")
WAIT = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,4})(?:$|[,;\s])")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

T = TypeVar("T")


async def make_job(parts: GatewayParts, request: JobRequest, origin: Origin) -> NewJob:
    """The job of a submit, which may name a flow. Raises what is wrong with it."""
    flow = _flows(parts).get(request.processor)
    card = None if flow else await parts.processors.find(request.processor)
    if flow is None and card is None:  # it may have been published a moment ago
        flow = await _flow(parts, request.processor)
    if flow is not None:
        given = decoded(request.payload)
        await _know(parts, [stage.processor for stage in flow.stages])

        def staged(catalog: Catalog) -> Planned:
            return named_flow_job(request, given, flow, origin, catalog)

        return (await _made(parts, staged, calls_back=request.callback is not None)).job
    if card is None:
        raise UnknownProcessor(f"no worker has published a processor {request.processor}")

    async def single(catalog: Catalog) -> NewJob:
        return new_job(request, origin, card, catalog.endpoints, catalog.schemas)

    job = await _with_endpoints(parts, single, calls_back=request.callback is not None)
    parts.acceptor.check(job.lane)
    return job


async def make_flow(parts: GatewayParts, request: FlowRequest, origin: Origin) -> Planned:
    """The flow of a submit. Raises what is wrong with it, naming stage and field."""
    names = [stage.processor for stage in request.stages or ()]
    if request.name is not None:
        flow = await _flow(parts, request.name)
        names = [stage.processor for stage in flow.stages] if flow else []
    await _know(parts, names)

    def made(catalog: Catalog) -> Planned:
        return flow_job(request, origin, catalog)

    return await _made(parts, made, calls_back=request.callback is not None)


async def _made(
    parts: GatewayParts, make: Callable[[Catalog], Planned], *, calls_back: bool
) -> Planned:
    """A planned flow, made in a thread: there may be thousands of stages and items to check."""

    async def in_a_thread(catalog: Catalog) -> Planned:
        return await asyncio.to_thread(make, catalog)

    plan = await _with_endpoints(parts, in_a_thread, calls_back=calls_back)
    for lane in plan.lanes:
        parts.acceptor.check(lane)
    return plan


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
    headers = call.request.headers
    key = headers.get("idempotency-key", "")
    if key and not KEY_HEADER.fullmatch(key):
        raise InvalidInput("1 to 255 visible ASCII characters", "$.headers.idempotency-key")
    trace = headers.get("traceparent", "")
    return Origin(
        app=app_of(call.key, None),
        idempotency_key=key,
        now_ms=call.parts.clock.now_ms(),
        trace=trace if TRACEPARENT.fullmatch(trace) else "",
    )


def wait_of(call: Call) -> float | None:
    """The seconds of `Prefer: wait=N`, capped; None without it."""
    match = WAIT.search(call.request.headers.get("prefer", ""))
    return None if match is None else min(float(match[1]), call.parts.settings.wait_max_s)


def check_same(submitted: Submitted) -> None:
    """Raise KeyReused when the job that has this id is not the one just asked for."""
    if not submitted.same:
        raise KeyReused("this key was used for another processor or payload")
