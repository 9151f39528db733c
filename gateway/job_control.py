"""Control of jobs over HTTP: change, promote, their attempts, and why they wait."""

from starlette.responses import Response

from gateway.auth import Scope
from gateway.call import Call, Operation, answer
from gateway.explain import Spooled, explain
from gateway.jobs import visible_job
from gateway.wire import JobView, milliseconds
from gateway.wire_control import AttemptView, Explanation, JobPatch
from streams.circumstances import Circumstances
from streams.control import Changed
from streams.errors import InvalidInput, JobGone, Unavailable, UnknownJob, WrongState
from streams.model import Job, Priority, State


async def change_job(call: Call) -> Response:
    """Give a job that has not started another priority, or a delayed one another time.

    A waiting job keeps its age and goes to the end of its new lane.
    """
    request = await call.body(JobPatch)
    if request.priority is None and request.run_at is None:
        raise InvalidInput("name a priority, a run_at, or both")
    due_ms = None if request.run_at is None else milliseconds(request.run_at)
    job = await visible_job(call, call.name("id"))
    return await _changed(call, job, request.priority, due_ms)


async def promote_job(call: Call) -> Response:
    """Start a delayed job now: one that was asked to wait, or that waits for another attempt."""
    job = await visible_job(call, call.name("id"))
    return await _changed(call, job, None, 0)


async def list_attempts(call: Call) -> Response:
    """A job's attempts, oldest first, with what they logged: the newest 20."""
    job = await visible_job(call, call.name("id"))
    if job.state is State.SPOOLED:
        return answer([])
    attempts = await call.parts.inspector.attempts(job.id)
    return answer([AttemptView.of(attempt) for attempt in attempts])


async def explain_job(call: Call) -> Response:
    """Why a job stands where it stands, in sentences with figures."""
    job = await visible_job(call, call.name("id"))
    if job.state is not State.SPOOLED:
        return answer(explain(job, await call.parts.circumstances.read(job)))
    spool = call.parts.acceptor.spool()
    known = Spooled(spool.rows, spool.away) if spool else None
    return answer(explain(job, Circumstances(call.parts.clock.now_ms()), known))


async def _changed(call: Call, job: Job, priority: Priority | None, due_ms: int | None) -> Response:
    if job.state is State.SPOOLED:
        raise Unavailable("the job is on its way to Redis")
    outcome = await call.parts.control.change(job.id, priority, due_ms)
    if outcome is Changed.UNKNOWN:
        raise UnknownJob(f"there is no job {job.id}")
    if outcome is Changed.MISPLACED:
        raise Unavailable("the job's entry is being put right")
    if isinstance(outcome, State):
        may = "only a delayed job has a time" if due_ms is not None else "it has started"
        raise WrongState(f"the job is {outcome}: {may}")
    return answer(JobView.of(await call.parts.inspector.job(job.id) or job))


ERRORS = (UnknownJob, JobGone)

OPERATIONS = (
    Operation(
        "PATCH",
        "/v1/jobs/{id}",
        "Change a job that has not started",
        change_job,
        Scope.SUBMIT,
        body=JobPatch,
        answers={200: JobView},
        errors=(*ERRORS, WrongState, InvalidInput),
    ),
    Operation(
        "POST",
        "/v1/jobs/{id}:promote",
        "Start a delayed job now",
        promote_job,
        Scope.SUBMIT,
        answers={200: JobView},
        errors=(*ERRORS, WrongState),
    ),
    Operation(
        "GET",
        "/v1/jobs/{id}/attempts",
        "Read a job's attempts and what they logged",
        list_attempts,
        Scope.READ,
        answers={200: tuple[AttemptView, ...]},
        errors=ERRORS,
    ),
    Operation(
        "GET",
        "/v1/jobs/{id}/explain",
        "Why a job waits",
        explain_job,
        Scope.READ,
        answers={200: Explanation},
        errors=ERRORS,
    ),
)
