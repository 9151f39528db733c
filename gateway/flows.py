"""Flows over HTTP: submit, look, cancel, run again what failed; and the flows that have names."""

from starlette.responses import Response

from gateway.acceptance import accept
from gateway.auth import Scope, app_filter
from gateway.call import Call, Operation, answer
from gateway.flow_checks import unserved
from gateway.jobs import visible_job
from gateway.making import check_same, make_flow, origin_of, wait_of
from gateway.paging import PageQuery, checked_limit, page_of
from gateway.planning import Planned
from gateway.problems import KeyReused, MalformedJson, NotFound, is_outage
from gateway.wire import CancelAnswer, CancelRequest, PageView
from gateway.wire_flows import (
    FlowAccepted,
    FlowLinks,
    FlowRequest,
    FlowRow,
    FlowView,
    NamedFlowView,
)
from streams.errors import (
    ClassFull,
    InvalidInput,
    JobGone,
    NotAllowed,
    TooLarge,
    Unavailable,
    UnknownEndpoint,
    UnknownJob,
    UnknownProcessor,
    WrongState,
)
from streams.flow_record import FlowRecord, FlowState, is_flow, summary_of
from streams.model import Cancelled, Job, State, Submitted


class FlowsQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of GET /v1/flows."""

    app: str | None = None
    state: FlowState | None = None


async def submit_flow(call: Call) -> Response:
    """Accept a flow once everything in it has been checked; 200 where it ended while waited for.

    A wrong field is named by its path, a stage by its name. It counts as one job of the app's
    limits, and its stages' jobs as jobs in flight.
    """
    max_bytes = call.parts.settings.batch_body_max_bytes
    request = await call.body(FlowRequest, max_bytes=max_bytes)
    plan = await make_flow(call.parts, request, origin_of(call))
    await call.admit(1)
    (submitted,) = await accept(call.parts, [plan.job])
    check_same(submitted)
    headers = {"location": f"/v1/flows/{plan.job.id}"}
    wait_s = wait_of(call)
    if wait_s is not None:
        headers["preference-applied"] = f"wait={wait_s:g}"
        ended = await _ended_view(call, plan.job.id, wait_s)
        if ended is not None:
            return answer(ended, 200, headers)
    return answer(await _accepted(call, submitted, plan), 202, headers)


async def list_flows(call: Call) -> Response:
    """Flows that the key may see, the newest first; what is only spooled is not among them."""
    query = call.query(FlowsQuery)
    limit = checked_limit(query, call.parts.settings.page_max)
    app = app_filter(call.key, query.app)
    apps = [app] if app else sorted(await call.parts.directory.apps())
    reader = call.parts.flow_reader
    page = await page_of(
        lambda cursor: reader.flows(apps, query.state, cursor, limit), query.cursor, FlowRow.of
    )
    return answer(page)


async def read_flow(call: Call) -> Response:
    """A flow and its stages as they stand; with `Prefer: wait=N`, once it has ended."""
    job = await visible_flow(call)
    wait_s = wait_of(call)
    if wait_s is None or job.state.ended:
        return answer(await _view(call, job, with_result=wait_s is not None))
    later = await call.parts.watch.ended(job.id, wait_s) or job
    view = await _view(call, later, with_result=True)
    return answer(view, 200, {"preference-applied": f"wait={wait_s:g}"})


async def cancel_flow(call: Call) -> Response:
    """Stop a flow: nothing of it starts any more, and what runs is asked to stop."""
    request = await call.body(CancelRequest)
    job = await visible_flow(call)
    outcome = await call.parts.broker.cancel(job.id, request.reason)
    if outcome is Cancelled.UNKNOWN and job.state is State.SPOOLED:
        raise Unavailable("the flow is on its way to Redis")
    if outcome is Cancelled.UNKNOWN:
        raise UnknownJob(f"there is no flow {job.id}")
    if outcome is Cancelled.ENDED:
        raise WrongState("the flow had ended before")
    return answer(CancelAnswer(job.id, outcome), 202 if outcome is Cancelled.REQUESTED else 200)


async def retry_flow(call: Call) -> Response:
    """Run again what did not succeed; the stages and items that did keep their results."""
    job = await visible_flow(call)
    if job.state is State.SPOOLED:
        raise WrongState("the flow is spooled: only one that has ended runs again")
    (outcome,) = await call.parts.broker.replay([job.id])
    if outcome == "gone":
        raise JobGone("the flow outlived its retention")
    if outcome != "replayed":
        raise WrongState(f"the flow is {outcome}: only dead, cancelled and expired ones run again")
    submitted = Submitted(job.id, State.WAITING, created=False)
    headers = {"location": f"/v1/flows/{job.id}"}
    return answer(await _accepted(call, submitted, None), 202, headers)


async def list_named_flows(call: Call) -> Response:
    """Every flow that workers have published, by name."""
    await call.parts.flows.look_again()
    cards = call.parts.flows.rows()
    views = tuple(NamedFlowView.of(cards[name]) for name in sorted(cards))
    return answer(PageView(views, None))


async def read_named_flow(call: Call) -> Response:
    """A named flow: its stages, and the JSON Schema of its input."""
    card = await call.parts.flows.find(call.name("name"))
    if card is None:
        raise NotFound(f"no worker has published a flow {call.name('name')[:100]}")
    return answer(NamedFlowView.of(card))


async def visible_flow(call: Call) -> Job:
    """The own job of the flow of the path, if it exists for this key. Raises as visible_job."""
    job = await visible_job(call, call.name("id"))
    if not is_flow(job):
        raise UnknownJob(f"there is no flow {job.id}")
    return job


async def _accepted(call: Call, submitted: Submitted, plan: Planned | None) -> FlowAccepted:
    warnings: tuple[str, ...] = ()
    if plan is not None:
        warnings = (*plan.warnings, *await _unserved(call, plan))
    links = FlowLinks.of(submitted.id)
    return FlowAccepted(submitted.id, submitted.state, submitted.created, warnings, links)


async def _unserved(call: Call, plan: Planned) -> list[str]:
    """Which stages nobody could run now; nothing while Redis cannot tell."""
    try:
        return unserved(plan.stages, await call.parts.directory.workers())
    except Exception as error:
        if not is_outage(error):
            raise
        return []


async def _ended_view(call: Call, flow_id: str, wait_s: float) -> FlowView | None:
    """The flow if it ends in time. An outage meanwhile takes nothing back: it was accepted."""
    try:
        job = await call.parts.watch.ended(flow_id, wait_s)
        if job is None or not job.state.ended:
            return None
        return await _view(call, job, with_result=True)
    except Exception as error:
        if not is_outage(error):
            raise
        return None


async def _view(call: Call, job: Job, *, with_result: bool) -> FlowView:
    result = None
    if with_result and job.state is State.SUCCEEDED:
        result = await call.parts.read_result(job)
    if job.state is State.SPOOLED:  # Redis may be away, and knows nothing of it anyway
        return FlowView.of(FlowRecord(summary_of(job, {})))
    return FlowView.of(await call.parts.flow_reader.flow(job), result)


REFUSALS = (InvalidInput, MalformedJson, UnknownProcessor, UnknownEndpoint, TooLarge, KeyReused)
MISSING = (UnknownJob, JobGone)

OPERATIONS = (
    Operation(
        "POST",
        "/v1/flows",
        "Submit a flow",
        submit_flow,
        Scope.SUBMIT,
        body=FlowRequest,
        answers={202: FlowAccepted, 200: FlowView},
        errors=(*REFUSALS, ClassFull),
    ),
    Operation(
        "GET",
        "/v1/flows",
        "List flows",
        list_flows,
        Scope.READ,
        query=FlowsQuery,
        answers={200: PageView[FlowRow]},
        errors=(InvalidInput, NotAllowed),
    ),
    Operation(
        "GET",
        "/v1/flows/{id}",
        "Read a flow and its stages, or wait for its end",
        read_flow,
        Scope.READ,
        answers={200: FlowView},
        errors=(*MISSING, TooLarge),
    ),
    Operation(
        "POST",
        "/v1/flows/{id}:cancel",
        "Cancel a flow",
        cancel_flow,
        Scope.SUBMIT,
        body=CancelRequest,
        answers={200: CancelAnswer, 202: CancelAnswer},
        errors=(*MISSING, WrongState),
    ),
    Operation(
        "POST",
        "/v1/flows/{id}:retry",
        "Run again what failed of a flow",
        retry_flow,
        Scope.SUBMIT,
        answers={202: FlowAccepted},
        errors=(*MISSING, WrongState),
    ),
    Operation(
        "GET",
        "/v1/named-flows",
        "List named flows",
        list_named_flows,
        Scope.READ,
        answers={200: PageView[NamedFlowView]},
    ),
    Operation(
        "GET",
        "/v1/named-flows/{name}",
        "Read a named flow and the schema of its input",
        read_named_flow,
        Scope.READ,
        answers={200: NamedFlowView},
        errors=(NotFound,),
    ),
)
