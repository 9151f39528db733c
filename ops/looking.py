"""What commands and the terminal UI look up in Redis: jobs, their results, their whole story."""

from gateway.explain import explain, foretold
from gateway.wire import JobView
from gateway.wire_control import AttemptView
from gateway.wire_registry import CallbackDetail
from ops.links import Engine
from ops.story import Story, callback_ids
from streams.errors import UnknownJob
from streams.flow_record import is_flow
from streams.listing import JobFilter
from streams.model import Job

SCAN_PAGE = 200


async def existing_job(engine: Engine, job_id: str) -> Job:
    """The job of that id. Raises UnknownJob."""
    job = await engine.inspector.job(job_id)
    if job is None:
        raise UnknownJob(f"there is no job {job_id}")
    return job


async def found_jobs(engine: Engine, wanted: JobFilter, limit: int) -> list[Job]:
    """At most `limit` jobs that fit, over as many pages as it takes."""
    found: list[Job] = []
    cursor = ""
    while len(found) < limit:
        size = min(SCAN_PAGE, limit - len(found))
        page = await engine.inspector.jobs(wanted, cursor, size)
        found += page.items
        cursor = page.cursor
        if not cursor:
            break
    return found


async def result_of(engine: Engine, job: Job) -> bytes | None:
    """A job's result; a flow's may be put together."""
    if is_flow(job):
        return await engine.flows.result(job)
    return await engine.inspector.result(job.id)


async def story_of(engine: Engine, job_id: str) -> Story:
    """Everything that is known of a job. Raises UnknownJob."""
    job = await existing_job(engine, job_id)
    told = explain(job, await engine.circumstances.read(job))
    view = foretold(JobView.of(job, await result_of(engine, job)), told)
    callbacks = [await engine.callbacks.get(one) for one in callback_ids(view)]
    return Story(
        view,
        tuple(map(AttemptView.of, await engine.inspector.attempts(job_id))),
        tuple(CallbackDetail.of(one) for one in callbacks if one),
        told,
    )
