"""Dead letters over HTTP: look at them, run them again by id or by filter."""

from collections.abc import Sequence

from starlette.responses import Response

from gateway.auth import Scope, app_filter, sees
from gateway.call import Call, Operation, answer
from gateway.paging import PageQuery, checked_limit, page_of
from gateway.wire import JobView, PageView, ReplayAnswer, ReplayRequest
from gateway.wire_control import PurgeAnswer, PurgeRequest
from streams.errors import InvalidInput, NotAllowed
from streams.listing import JobFilter
from streams.model import Job, State

LOOKED_AT_MAX = 10_000  # dead letters that one filter may pass over
Selection = ReplayRequest | PurgeRequest


class DeadLettersQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of GET /v1/dead-letters."""

    app: str | None = None
    processor: str | None = None
    tag: str | None = None


async def list_dead_letters(call: Call) -> Response:
    """Dead jobs that the key may see, the newest first."""
    query = call.query(DeadLettersQuery)
    limit = checked_limit(query, call.parts.settings.page_max)
    app = app_filter(call.key, query.app)
    wanted = JobFilter(app=app, state=State.DEAD, processor=query.processor, tag=query.tag)
    inspector = call.parts.inspector
    page = await page_of(
        lambda cursor: inspector.jobs(wanted, cursor, limit), query.cursor, JobView.of
    )
    return answer(page)


async def replay_dead_letters(call: Call) -> Response:
    """Put dead jobs back to waiting, or only count them."""
    request = await call.body(ReplayRequest)
    app = app_filter(call.key, request.app)
    call.note(owner=app, processor=request.processor, code=request.code, dry_run=request.dry_run)
    if request.ids is None:
        matched, more = await _matching(call, request, app)
    else:
        matched, more = await _named(call, request.ids, request), False
    if request.dry_run or not matched:
        return answer(ReplayAnswer(len(matched), 0, more))
    ids = [job.id for job in matched]
    outcomes = await call.parts.broker.replay(ids)
    call.note(replayed=outcomes.count("replayed"), jobs=ids)
    return answer(ReplayAnswer(len(matched), outcomes.count("replayed"), more))


async def purge_dead_letters(call: Call) -> Response:
    """Forget dead jobs before their time, with their inputs; or only count them."""
    request = await call.body(PurgeRequest)
    app = app_filter(call.key, request.app)
    call.note(owner=app, processor=request.processor, code=request.code, dry_run=request.dry_run)
    if request.ids is None:
        matched, more = await _matching(call, request, app)
    else:
        matched, more = await _named(call, request.ids, request), False
    if request.dry_run or not matched:
        return answer(PurgeAnswer(len(matched), 0, more))
    ids = [job.id for job in matched]
    purged = (await call.parts.control.purge(ids, State.DEAD)).count("purged")
    call.note(purged=purged, jobs=ids)
    return answer(PurgeAnswer(len(matched), purged, more))


async def _named(call: Call, ids: Sequence[str], request: Selection) -> list[Job]:
    if request.processor is not None or request.code is not None:
        raise InvalidInput("ids and a filter exclude each other", "$.ids")
    jobs = await call.parts.inspector.jobs_by_id(list(dict.fromkeys(ids)))
    return [job for job in jobs if job.state is State.DEAD and sees(call.key, job.lane.app)]


async def _matching(call: Call, request: Selection, app: str | None) -> tuple[list[Job], bool]:
    """The dead jobs that fit the filter, up to its limit, and whether there may be more."""
    found: list[Job] = []
    cursor, looked_at = "", 0
    wanted = JobFilter(app=app, state=State.DEAD, processor=request.processor)
    while True:
        page = await call.parts.inspector.jobs(wanted, cursor, 200)
        fitting = [job for job in page.items if _fits(job, request.code)]
        room = request.limit - len(found)
        found += fitting[:room]
        looked_at += len(page.items)
        cursor = page.cursor
        full = len(fitting) > room or len(found) == request.limit
        if not cursor or full or looked_at >= LOOKED_AT_MAX:
            return found, bool(cursor) or len(fitting) > room


def _fits(job: Job, code: str | None) -> bool:
    return code is None or (job.fault is not None and job.fault.code == code)


OPERATIONS = (
    Operation(
        "GET",
        "/v1/dead-letters",
        "List dead letters",
        list_dead_letters,
        Scope.READ,
        query=DeadLettersQuery,
        answers={200: PageView[JobView]},
        errors=(InvalidInput, NotAllowed),
    ),
    Operation(
        "POST",
        "/v1/dead-letters:replay",
        "Run dead letters again, by id or by filter",
        replay_dead_letters,
        Scope.OPERATE,
        body=ReplayRequest,
        answers={200: ReplayAnswer},
        errors=(InvalidInput, NotAllowed),
    ),
    Operation(
        "POST",
        "/v1/dead-letters:purge",
        "Forget dead letters, by id or by filter",
        purge_dead_letters,
        Scope.OPERATE,
        body=PurgeRequest,
        answers={200: PurgeAnswer},
        errors=(InvalidInput, NotAllowed),
    ),
)
