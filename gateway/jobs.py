"""Jobs over HTTP: submit, look, wait, cancel, run again."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
from starlette.responses import Response

from gateway.acceptance import accept
from gateway.age import made_ms
from gateway.auth import Scope, app_filter, sees
from gateway.blobs import result_of
from gateway.call import Call, Operation, answer, decode
from gateway.explain import explain, foretold
from gateway.making import accepted_as, make_job, origin_of, plain_job, wait_of
from gateway.paging import PageQuery, checked_limit, page_of
from gateway.problems import KeyReused, MalformedJson, RangeRefused, is_outage, problem_of
from gateway.shadows import shade
from gateway.submission import Origin, check_payload_size
from gateway.wire import (
    Aware,
    BatchAccepted,
    BatchAnswer,
    BatchRequest,
    CancelAnswer,
    CancelRequest,
    JobAccepted,
    JobRequest,
    JobView,
    PageView,
    ShadowTarget,
    links_of,
    milliseconds,
)
from streams.errors import (
    ClassFull,
    InvalidInput,
    JobGone,
    NotAllowed,
    OutOfMemory,
    Rejected,
    TooLarge,
    Trouble,
    Unavailable,
    Undecided,
    Unfinished,
    UniqueTaken,
    UnknownBlob,
    UnknownEndpoint,
    UnknownJob,
    UnknownProcessor,
    WrongState,
)
from streams.listing import JobFilter
from streams.model import Cancelled, Job, NewJob, State, Submitted

TURN_JOBS = 25  # of a batch, judged in one turn of the loop: others come in between


class JobsQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of GET /v1/jobs. `since` and `until` are about when jobs were submitted."""

    app: str | None = None
    state: State | None = None
    processor: str | None = None
    tag: str | None = None
    since: Aware | None = None
    until: Aware | None = None  # not included


async def submit(call: Call) -> Response:
    """Accept one job: 202, or 200 with the result when asked to wait and it ended in time."""
    request = await call.body(JobRequest)
    job = await make_job(call.parts, request, origin_of(call))
    await call.admit(1)
    (submitted,) = await accept(call.parts, [job])
    submitted = accepted_as(job, submitted)
    shadows = await _shade(call, [(job, request.shadow, submitted)]) if request.shadow else {}
    wait_s = wait_of(call)
    headers = {"location": f"/v1/jobs/{submitted.id}"}
    if wait_s is not None:
        headers["preference-applied"] = f"wait={wait_s:g}"
        ended = await _ended_view(call, submitted.id, wait_s)
        if ended is not None:
            return answer(ended, 200, headers)
    return answer(shown(_accepted(submitted), request.shadow, shadows), 202, headers)


async def submit_batch(call: Call) -> Response:
    """Judge and accept up to 1,000 jobs; one that is refused does not harm the others."""
    settings = call.parts.settings
    request = await call.body(BatchRequest, max_bytes=settings.batch_body_max_bytes)
    if len(request.jobs) > settings.batch_jobs_max:
        raise TooLarge(f"more than {settings.batch_jobs_max} jobs")
    origin = origin_of(call)
    judged: list[Judged | Trouble] = []
    for index, item in enumerate(request.jobs):
        if index % TURN_JOBS == TURN_JOBS - 1:
            await asyncio.sleep(0)
        judged.append(await _judge(call, item, origin, index))
    good = [one for one in judged if isinstance(one, Judged)]
    await call.admit(len(good))
    submitted = await accept(call.parts, [one.job for one in good]) if good else []
    pairs = zip(good, submitted, strict=True)
    shadows = await _shade(call, [(one.job, one.shadow, was) for one, was in pairs])
    answers = iter(submitted)
    items: list[BatchAnswer] = []
    for index, one in enumerate(judged):
        if isinstance(one, Judged):
            items.append(_item_answer(index, one, next(answers), shadows))
        else:
            items.append(_refused(index, one))
    accepted = sum(item.job is not None for item in items)
    return answer(BatchAccepted(accepted, len(items) - accepted, tuple(items)))


async def list_jobs(call: Call) -> Response:
    """Jobs that the key may see, newest first."""
    query = call.query(JobsQuery)
    limit = checked_limit(query, call.parts.settings.page_max)
    wanted = JobFilter(
        app=app_filter(call.key, query.app),
        state=query.state,
        processor=query.processor,
        tag=query.tag,
        since_ms=milliseconds(query.since),
        until_ms=milliseconds(query.until),
    )
    inspector = call.parts.inspector
    page = await page_of(
        lambda cursor: inspector.jobs(wanted, cursor, limit), query.cursor, JobView.of
    )
    return answer(page)


async def read_job(call: Call) -> Response:
    """A job as it stands; with `Prefer: wait=N`, as it stands once it ended or N seconds later."""
    job = await visible_job(call, call.name("id"))
    wait_s = wait_of(call)
    if wait_s is None or job.state.ended:
        return answer(await _view(call, job, with_result=wait_s is not None))
    later = await call.parts.watch.ended(job.id, wait_s) or job
    view = await _view(call, later, with_result=True)
    return answer(view, 200, {"preference-applied": f"wait={wait_s:g}"})


async def read_result(call: Call) -> Response:
    """The result itself, as the processor returned it."""
    job = await visible_job(call, call.name("id"))
    if not job.state.ended:
        raise Unfinished(f"the job is {job.state}")
    if job.state is not State.SUCCEEDED:
        raise WrongState(f"the job ended {job.state}: it has an error instead of a result")
    result = await call.parts.read_result(job)
    if result is None:
        raise JobGone("the result outlived its retention")
    return await result_of(call, job, result)


async def cancel_job(call: Call) -> Response:
    """End a job, or ask the worker that runs it to stop."""
    request = await call.body(CancelRequest)
    job = await visible_job(call, call.name("id"))
    outcome = await call.parts.broker.cancel(job.id, request.reason)
    if outcome is Cancelled.UNKNOWN and job.state is State.SPOOLED:
        raise Unavailable("the job is on its way to Redis")
    if outcome is Cancelled.UNKNOWN:
        raise UnknownJob(f"there is no job {job.id}")
    if outcome is Cancelled.ENDED:
        raise WrongState("the job had ended before")
    status = 202 if outcome is Cancelled.REQUESTED else 200
    return answer(CancelAnswer(job.id, outcome), status)


async def retry_job(call: Call) -> Response:
    """Run a dead, cancelled or expired job again, with its id and payload."""
    job = await visible_job(call, call.name("id"))
    if job.state is State.SPOOLED:
        raise WrongState("the job is spooled: only dead, cancelled and expired jobs run again")
    (outcome,) = await call.parts.broker.replay([job.id])
    if outcome == "gone":
        raise JobGone("the job's payload outlived its retention")
    if outcome == "taken":
        raise UniqueTaken("another job has its unique key")
    if outcome == "in_flow":
        raise WrongState(f"the job is a stage of a flow: POST /v1/flows/{job.flow}:retry")
    if outcome != "replayed":
        raise WrongState(f"the job is {outcome}: only dead, cancelled and expired jobs run again")
    submitted = Submitted(job.id, State.WAITING, created=False)
    return answer(_accepted(submitted), 202, {"location": f"/v1/jobs/{job.id}"})


async def visible_job(call: Call, job_id: str) -> Job:
    """The job, if it exists for this key. Raises JobGone or UnknownJob."""
    job = await call.parts.read_job(job_id)
    if job is not None and sees(call.key, job.lane.app):
        return job
    made = made_ms(job_id)
    oldest_ms = call.parts.clock.now_ms() - call.parts.retention_s * 1_000
    if made is not None and 0 < made < oldest_ms:  # another app's too: it must not be told apart
        raise JobGone(f"jobs are kept {call.parts.retention_s} s after they ended")
    raise UnknownJob(f"there is no job {job_id[:100]}")


class Judged(msgspec.Struct, frozen=True):
    """One item of a batch that can be accepted."""

    job: NewJob
    shadow: ShadowTarget | None


async def _judge(call: Call, item: msgspec.Raw, origin: Origin, index: int) -> Judged | Trouble:
    """The job of one item of a batch, or why there is none."""
    if origin.idempotency_key:
        key = f"{origin.idempotency_key}#{index}"
        origin = msgspec.structs.replace(origin, idempotency_key=key)
    try:
        request = decode(item, JobRequest)
        check_payload_size(request.payload, call.parts.settings.body_max_bytes)
        job = plain_job(call.parts, request, origin)
        return Judged(job or await make_job(call.parts, request, origin), request.shadow)
    except (Rejected, OutOfMemory, ClassFull, Undecided) as error:
        return error


async def _shade(
    call: Call, asked: Sequence[tuple[NewJob, ShadowTarget | None, Submitted]]
) -> dict[str, str]:
    """Ids of the shadows of jobs that are new, by job."""
    wanted = [
        (job, target)
        for job, target, submitted in asked
        if target is not None and submitted.created and submitted.id == job.id
    ]
    return await shade(call.parts, wanted) if wanted else {}


def shown(
    accepted: JobAccepted, asked: ShadowTarget | None, shadows: Mapping[str, str]
) -> JobAccepted:
    """The answer, with the shadow where one was asked for."""
    if asked is None:
        return accepted
    return msgspec.structs.replace(accepted, shadow=shadows.get(accepted.id))


def _item_answer(
    index: int, one: Judged, submitted: Submitted, shadows: Mapping[str, str]
) -> BatchAnswer:
    try:
        accepted = _accepted(accepted_as(one.job, submitted))
        return BatchAnswer(index, 202, shown(accepted, one.shadow, shadows))
    except Rejected as error:
        return _refused(index, error)


def _refused(index: int, error: Trouble) -> BatchAnswer:
    problem = problem_of(error)
    return BatchAnswer(index, problem.status, problem=problem)


def _accepted(submitted: Submitted) -> JobAccepted:
    return JobAccepted(submitted.id, submitted.state, submitted.created, links_of(submitted.id))


async def _ended_view(call: Call, job_id: str, wait_s: float) -> JobView | None:
    """The job if it ends in time. An outage meanwhile takes nothing back: it was accepted."""
    try:
        job = await call.parts.watch.ended(job_id, wait_s)
    except Exception as error:
        if not is_outage(error):
            raise
        return None
    if job is None or not job.state.ended:
        return None
    return await _view(call, job, with_result=True)


async def _view(call: Call, job: Job, *, with_result: bool) -> JobView:
    result = None
    if with_result and job.state is State.SUCCEEDED:
        result = await call.parts.read_result(job)
    view = JobView.of(job, result)
    if job.state is not State.WAITING:
        return view
    return foretold(view, explain(job, await call.parts.circumstances.read(job)))


REFUSALS = (
    *(InvalidInput, MalformedJson, UnknownProcessor, UnknownEndpoint, TooLarge, KeyReused),
    UniqueTaken,
)

OPERATIONS = (
    Operation(
        "POST",
        "/v1/jobs",
        "Submit a job",
        submit,
        Scope.SUBMIT,
        body=JobRequest,
        answers={202: JobAccepted, 200: JobView},
        errors=REFUSALS,
    ),
    Operation(
        "POST",
        "/v1/jobs:batch",
        "Submit up to 1,000 jobs, each judged alone",
        submit_batch,
        Scope.SUBMIT,
        body=BatchRequest,
        answers={200: BatchAccepted},
        errors=(InvalidInput, MalformedJson, TooLarge),
    ),
    Operation(
        "GET",
        "/v1/jobs",
        "List jobs",
        list_jobs,
        Scope.READ,
        query=JobsQuery,
        answers={200: PageView[JobView]},
        errors=(InvalidInput, NotAllowed),
    ),
    Operation(
        "GET",
        "/v1/jobs/{id}",
        "Read a job, or wait for its end",
        read_job,
        Scope.READ,
        answers={200: JobView},
        errors=(UnknownJob, JobGone),
    ),
    Operation(
        "GET",
        "/v1/jobs/{id}/result",
        "Read a job's result",
        read_result,
        Scope.READ,
        answers={200: msgspec.Raw, 206: bytes},
        errors=(UnknownJob, JobGone, Unfinished, WrongState, UnknownBlob, RangeRefused),
    ),
    Operation(
        "POST",
        "/v1/jobs/{id}:cancel",
        "Cancel a job",
        cancel_job,
        Scope.SUBMIT,
        body=CancelRequest,
        answers={200: CancelAnswer, 202: CancelAnswer},
        errors=(UnknownJob, JobGone, WrongState),
    ),
    Operation(
        "POST",
        "/v1/jobs/{id}:retry",
        "Run an ended job again",
        retry_job,
        Scope.SUBMIT,
        answers={202: JobAccepted},
        errors=(UnknownJob, JobGone, WrongState, UniqueTaken),
    ),
)
