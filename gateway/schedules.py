"""Schedules over HTTP: work that is to be done again and again."""

import re
from itertools import islice

import msgspec
from starlette.responses import Response

from gateway.acceptance import accept
from gateway.auth import Scope, app_filter, app_of, require
from gateway.call import Call, Operation, answer
from gateway.making import KEY_HEADER, make_template
from gateway.paging import PageQuery, checked_limit, page_of
from gateway.parts import GatewayParts
from gateway.problems import NotFound
from gateway.scheduling import inside_job, job_request, schedule_of, timing_of, triggered
from gateway.submission import Origin
from gateway.wire import JobAccepted, PageView, links_of, milliseconds
from gateway.wire_schedules import (
    InstantView,
    PreviewAnswer,
    PreviewRequest,
    SchedulePut,
    ScheduleRequest,
    ScheduleView,
)
from streams.errors import (
    InvalidInput,
    NameTaken,
    NotAllowed,
    TooLarge,
    UnknownEndpoint,
    UnknownProcessor,
)
from streams.schedule import Schedule, check, instants
from streams.schedules import Standing

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class SchedulesQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of GET /v1/schedules."""

    app: str | None = None


class ScheduleQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose schedule it is; a key of all apps has to say."""

    app: str | None = None


async def create_schedule(call: Call) -> Response:
    """Create a schedule. The key needs the scope `submit` too, since it makes jobs."""
    require(call.key, Scope.SUBMIT)
    request = await call.body(ScheduleRequest)
    schedule = await compose(call.parts, request.name, request, app_of(call.key, request.app))
    _note(call, schedule)
    standing = await call.parts.schedules.create(schedule)
    headers = {"location": f"/v1/schedules/{schedule.name}"}
    return answer(ScheduleView.of(standing), 201, headers)


async def put_schedule(call: Call) -> Response:
    """Create a schedule or replace it whole. It stays paused if it was.

    With the same timing it goes on from where it stands; another timing begins now.
    """
    require(call.key, Scope.SUBMIT)
    request = await call.body(SchedulePut)
    name = call.name("name")
    if not NAME.fullmatch(name):
        raise InvalidInput(f"a name fits {NAME.pattern}", "$.name")
    wanted = call.query(ScheduleQuery).app or request.app
    schedule = await compose(call.parts, name, request, app_of(call.key, wanted))
    _note(call, schedule)
    standing = await call.parts.schedules.put(schedule)
    made = standing.revision == 1 and standing.schedule.created_ms == schedule.created_ms
    return answer(ScheduleView.of(standing), 201 if made else 200)


async def list_schedules(call: Call) -> Response:
    """The schedules that the key may see, by app and name, without payloads."""
    query = call.query(SchedulesQuery)
    limit = checked_limit(query, call.parts.settings.page_max)
    app = app_filter(call.key, query.app)
    page = await page_of(
        lambda cursor: call.parts.schedules.page(app, cursor, limit), query.cursor, ScheduleView.of
    )
    return answer(page)


async def read_schedule(call: Call) -> Response:
    """One schedule, how far it has come, and what it does next."""
    return answer(ScheduleView.of(found(call, await call.parts.schedules.get(_key(call)))))


async def delete_schedule(call: Call) -> Response:
    """Forget a schedule. Jobs that it made stay."""
    if not await call.parts.schedules.remove(_key(call)):
        raise _unknown(call)
    return Response(status_code=204)


async def pause_schedule(call: Call) -> Response:
    """Fire no more ticks. Jobs that were made go on."""
    return answer(ScheduleView.of(found(call, await call.parts.schedules.pause(_key(call)))))


async def resume_schedule(call: Call) -> Response:
    """Fire ticks again, from now on: those of the pause are not made up for."""
    return answer(ScheduleView.of(found(call, await call.parts.schedules.resume(_key(call)))))


async def trigger_schedule(call: Call) -> Response:
    """Make the schedule's job now, beside its ticks; paused or not, whatever else runs."""
    key = call.headers.get("idempotency-key", "")
    if key and not KEY_HEADER.fullmatch(key):
        raise InvalidInput("1 to 255 visible ASCII characters", "$.headers.idempotency-key")
    schedule = found(call, await call.parts.schedules.get(_key(call))).schedule
    job = triggered(schedule, call.parts.clock.now_ms(), key)
    call.parts.acceptor.check(job.lane)
    await call.admit(1)
    (submitted,) = await accept(call.parts, [job])
    accepted = JobAccepted(job.id, submitted.state, submitted.created, links_of(job.id))
    return answer(accepted, 202, {"location": f"/v1/jobs/{job.id}"})


async def preview_schedule(call: Call) -> Response:
    """The next instants of a timing, in UTC and in its zone; nothing is stored."""
    request = await call.body(PreviewRequest)
    timing = timing_of(request)
    after_ms = milliseconds(request.after) or call.parts.clock.now_ms()
    check(timing, after_ms)
    coming = islice(instants(timing, after_ms), request.count)
    items = tuple(InstantView.of(instant_ms, timing.zone) for instant_ms in coming)
    return answer(PreviewAnswer(timing.zone, items))


async def compose(parts: GatewayParts, name: str, request: SchedulePut, app: str) -> Schedule:
    """The schedule that `request` asks for, checked against what is registered now."""
    origin = Origin(app, "", parts.clock.now_ms())
    with inside_job():
        job = await make_template(parts, job_request(request), origin)
    return schedule_of(name, request, origin, job)


def found(call: Call, standing: Standing | None) -> Standing:
    """The schedule of the path. Raises NotFound."""
    if standing is None:
        raise _unknown(call)
    return standing


def _unknown(call: Call) -> NotFound:
    return NotFound(f"there is no schedule {call.name('name')[:100]}")


def _key(call: Call) -> str:
    """The schedule of the path: of the key's own app, so that no other app's exists."""
    name = call.name("name")
    app = app_of(call.key, call.query(ScheduleQuery).app)
    if not NAME.fullmatch(name) or not NAME.fullmatch(app):
        raise _unknown(call)
    return f"{app}|{name}"


def _note(call: Call, schedule: Schedule) -> None:
    timing = schedule.timing
    when = timing.cron or f"every {timing.every_ms / 1_000:g} s"
    call.note(of_app=schedule.app, processor=schedule.job.lane.processor, when=when)


PATH = "/v1/schedules/{name}"
ONE = {200: ScheduleView}
ERRORS = (NotFound, NotAllowed, InvalidInput)
REFUSALS = (InvalidInput, NotAllowed, UnknownProcessor, UnknownEndpoint, TooLarge)

OPERATIONS = (
    Operation(
        "POST",
        "/v1/schedules",
        "Create a schedule",
        create_schedule,
        Scope.OPERATE,
        body=ScheduleRequest,
        answers={201: ScheduleView},
        errors=(*REFUSALS, NameTaken),
    ),
    Operation(
        "GET",
        "/v1/schedules",
        "List schedules",
        list_schedules,
        Scope.READ,
        query=SchedulesQuery,
        answers={200: PageView[ScheduleView]},
        errors=(InvalidInput, NotAllowed),
    ),
    Operation(
        "POST",
        "/v1/schedules:preview",
        "Show the next instants of a timing",
        preview_schedule,
        Scope.READ,
        body=PreviewRequest,
        answers={200: PreviewAnswer},
        errors=(InvalidInput,),
    ),
    Operation(
        "GET",
        PATH,
        "Read a schedule",
        read_schedule,
        Scope.READ,
        query=ScheduleQuery,
        answers=ONE,
        errors=ERRORS,
    ),
    Operation(
        "PUT",
        PATH,
        "Create or replace a schedule",
        put_schedule,
        Scope.OPERATE,
        body=SchedulePut,
        query=ScheduleQuery,
        answers={200: ScheduleView, 201: ScheduleView},
        errors=REFUSALS,
    ),
    Operation(
        "DELETE",
        PATH,
        "Remove a schedule",
        delete_schedule,
        Scope.OPERATE,
        query=ScheduleQuery,
        answers={204: None},
        errors=ERRORS,
    ),
    Operation(
        "POST",
        f"{PATH}:pause",
        "Pause a schedule",
        pause_schedule,
        Scope.OPERATE,
        query=ScheduleQuery,
        answers=ONE,
        errors=ERRORS,
    ),
    Operation(
        "POST",
        f"{PATH}:resume",
        "Resume a schedule",
        resume_schedule,
        Scope.OPERATE,
        query=ScheduleQuery,
        answers=ONE,
        errors=ERRORS,
    ),
    Operation(
        "POST",
        f"{PATH}:trigger",
        "Make a schedule's job now",
        trigger_schedule,
        Scope.SUBMIT,
        query=ScheduleQuery,
        answers={202: JobAccepted},
        errors=ERRORS,
    ),
)
