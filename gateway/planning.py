"""From a flow as it crossed the wire to its complete own job, or the error that says why not.

Nothing here waits or writes: manifests, named flows and endpoints come as values.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.fitting import completed, shape_of
from gateway.flow_checks import StageChecks
from gateway.schemas import PAYLOAD, PayloadSchemas
from gateway.submission import Origin, decoded, digest_of, new_job
from gateway.wire import JobRequest
from gateway.wire_flows import DEADLINE_S, FlowRequest
from streams.directory import Endpoint, FlowCard, ProcessorCard
from streams.errors import InvalidInput, UnknownProcessor
from streams.flow import Flow, Stage
from streams.keyspace import FLOW
from streams.model import Lane, NewJob, ResourceClass
from streams.planning import StageDefaults, planned_flow

# A flow's own job: it only stores the stages, which a worker does in a second or two.
OWN_CARD = ProcessorCard(
    name=FLOW,
    version="1",
    summary="",
    resource_class=ResourceClass.IO,
    model="",
    attempts_max=10,
    timeout_ms=600_000,
    backoff_ms=1_000,
    backoff_max_ms=60_000,
    input_schema=msgspec.Raw(b"{}"),
    output_schema=msgspec.Raw(b"{}"),
)
OWN_FIELDS = ("priority", "run_at", "delay_s", "expires_at", "callback", "tags", "idempotency_key")


class Catalog(msgspec.Struct, frozen=True):
    """What a flow is checked against."""

    processors: Mapping[str, ProcessorCard]
    flows: Mapping[str, FlowCard]
    endpoints: Mapping[str, Endpoint]
    schemas: PayloadSchemas


class Planned(msgspec.Struct, frozen=True):
    """A flow's own job, its stages, and what may keep it from going well."""

    job: NewJob
    stages: tuple[Stage, ...]
    lanes: frozenset[Lane]  # of the stages' jobs
    warnings: tuple[str, ...]


class Asked(msgspec.Struct, frozen=True):
    """A flow, how its own job is submitted, and what stands for it under an idempotency key."""

    flow: Flow
    own: JobRequest  # without its payload
    identity: Any
    root: str = "$"  # where the paths of its stages begin; a named flow has no stages to point at
    named: bool = False


def flow_job(request: FlowRequest, origin: Origin, catalog: Catalog) -> Planned:
    """The job of POST /v1/flows. Raises what is wrong with it, naming stage and field."""
    if (request.name is None) == (request.stages is None):
        raise InvalidInput("either the name of a flow, or its stages", "$.stages")
    own = {field: getattr(request, field) for field in OWN_FIELDS}
    asked_for = JobRequest(processor=FLOW, payload=msgspec.Raw(b"{}"), **own)
    if request.name is not None:
        card = catalog.flows.get(request.name)
        if card is None:
            raise UnknownProcessor(f"no worker has published a flow {request.name}")
        if request.result is not None:
            raise InvalidInput("a named flow has its own", "$.result")
        flow = named_flow(card, request.input, catalog, "$.input")
        if request.deadline_s is not None:
            flow = msgspec.structs.replace(flow, deadline_s=request.deadline_s)
        asked = Asked(flow, asked_for, [request.name, request.input], "$.input", named=True)
        return _planned(asked, origin, catalog)
    stages = tuple(one.stage() for one in request.stages or ())
    flow = Flow(stages, request.input, request.result or "", request.deadline_s or DEADLINE_S)
    return _planned(Asked(flow, asked_for, flow), origin, catalog)


def job_of(request: JobRequest, origin: Origin, catalog: Catalog) -> NewJob:
    """The job of POST /v1/jobs, which may name a flow. Raises what is wrong with it."""
    flow = catalog.flows.get(request.processor)
    if flow is not None:
        return named_flow_job(request, flow, origin, catalog).job
    card = catalog.processors.get(request.processor)
    if card is None:
        raise UnknownProcessor(f"no worker has published a processor {request.processor}")
    return new_job(request, origin, card, catalog.endpoints, catalog.schemas)


def named_flow_job(
    request: JobRequest, card: FlowCard, origin: Origin, catalog: Catalog
) -> Planned:
    """The job of POST /v1/jobs whose processor is the name of a flow."""
    given = decoded(request.payload)
    flow = named_flow(card, given, catalog, PAYLOAD)
    asked = Asked(flow, request, [card.name, given], PAYLOAD, named=True)
    return _planned(asked, origin, catalog)


def named_flow(card: FlowCard, given: Any, catalog: Catalog, root: str) -> Flow:
    """A named flow on an input, which is completed with defaults. Raises InvalidFields."""
    given = {} if given is None else given
    catalog.schemas.check(card, given, root)
    given = completed(shape_of(card.input_schema), given)
    return Flow(card.stages, given, card.result, card.deadline_s, card.name)


def _planned(asked: Asked, origin: Origin, catalog: Catalog) -> Planned:
    own = asked.own
    defaults = StageDefaults(origin.app, own.priority, own.attempts_max, own.timeout_s)
    flow = asked.flow
    try:
        plan = planned_flow(flow, catalog.processors, defaults)
    except InvalidInput as error:
        raise InvalidInput(str(error), "$.stages" if not asked.named else asked.root) from None
    checks = StageChecks(flow.stages, catalog.processors, catalog.schemas, flow.input)
    for index, stage in enumerate(flow.stages):
        checks.check(stage, asked.root if asked.named else f"$.stages[{index}]")
    request = msgspec.structs.replace(
        own,
        processor=FLOW,
        payload=msgspec.Raw(msgspec.json.encode(plan)),
        attempts_max=None,
        timeout_s=None,
    )
    job = new_job(request, origin, OWN_CARD, catalog.endpoints, catalog.schemas)
    if job.digest:
        job = msgspec.structs.replace(job, digest=digest_of(FLOW, asked.identity))
    lanes = frozenset(stage.lane for stage in plan.stages)
    return Planned(job, flow.stages, lanes, tuple(checks.warnings))
