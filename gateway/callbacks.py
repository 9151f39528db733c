"""Callbacks over HTTP: the delivery log, and delivering again."""

from collections.abc import Sequence

from starlette.responses import Response

from gateway.auth import Scope, app_filter, sees
from gateway.call import Call, Operation, answer
from gateway.paging import PageQuery, checked_limit, page_of
from gateway.problems import NotFound
from gateway.wire import Aware, PageView, ReplayAnswer, milliseconds
from gateway.wire_registry import CallbackDetail, CallbackReplayRequest
from streams.callbacks import CallbackFilter, CallbackState, CallbackView
from streams.errors import InvalidInput, NotAllowed


class CallbacksQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of GET /v1/callbacks; `since` and `until` are about when the job ended."""

    app: str | None = None
    state: CallbackState | None = None
    endpoint: str | None = None
    since: Aware | None = None
    until: Aware | None = None


async def list_callbacks(call: Call) -> Response:
    """Callbacks that the key may see: waiting ones first, then the newest."""
    query = call.query(CallbacksQuery)
    limit = checked_limit(query, call.parts.settings.page_max)
    wanted = CallbackFilter(
        app=app_filter(call.key, query.app),
        states=(query.state,) if query.state else tuple(CallbackState),
        endpoint=query.endpoint,
        since_ms=milliseconds(query.since),
        until_ms=milliseconds(query.until),
    )
    page = await page_of(
        lambda cursor: call.parts.callbacks.page(wanted, cursor, limit),
        query.cursor,
        CallbackDetail.of,
    )
    return answer(page)


async def read_callback(call: Call) -> Response:
    """One callback and its delivery log."""
    callback_id = call.name("id")
    view = await call.parts.callbacks.get(callback_id)
    if view is None or not sees(call.key, view.record.app):
        raise NotFound(f"there is no callback {callback_id[:100]}")
    return answer(CallbackDetail.of(view))


async def replay_callbacks(call: Call) -> Response:
    """Deliver callbacks again: those named, or those that fit. Same id, same bytes."""
    request = await call.body(CallbackReplayRequest)
    app = app_filter(call.key, request.app)
    if request.ids is None:
        ids, more = await _fitting(call, app, request)
    else:
        ids, more = await _ended(call, request.ids), False
    if request.dry_run or not ids:
        return answer(ReplayAnswer(len(ids), 0, more))
    replayed = await call.parts.callbacks.replay(ids)
    call.note(replayed=replayed)
    return answer(ReplayAnswer(len(ids), replayed, more))


async def _fitting(
    call: Call, app: str | None, request: CallbackReplayRequest
) -> tuple[list[str], bool]:
    wanted = CallbackFilter(
        app=app,
        states=(CallbackState(request.state),),
        endpoint=request.endpoint,
        since_ms=milliseconds(request.since),
        until_ms=milliseconds(request.until),
    )
    found: list[str] = []
    async for ids in call.parts.callbacks.matching(wanted):
        found += ids
        if len(found) > request.limit:
            break
    return found[: request.limit], len(found) > request.limit


async def _ended(call: Call, ids: Sequence[str]) -> list[str]:
    views = [await call.parts.callbacks.get(callback_id) for callback_id in dict.fromkeys(ids)]
    return [view.record.id for view in views if view is not None and _replayable(view, call)]


def _replayable(view: CallbackView, call: Call) -> bool:
    return view.state is not CallbackState.WAITING and sees(call.key, view.record.app)


OPERATIONS = (
    Operation(
        "GET",
        "/v1/callbacks",
        "List callbacks",
        list_callbacks,
        Scope.READ,
        query=CallbacksQuery,
        answers={200: PageView[CallbackDetail]},
        errors=(InvalidInput, NotAllowed),
    ),
    Operation(
        "GET",
        "/v1/callbacks/{id}",
        "Read a callback and its delivery log",
        read_callback,
        Scope.READ,
        answers={200: CallbackDetail},
        errors=(NotFound,),
    ),
    Operation(
        "POST",
        "/v1/callbacks:replay",
        "Deliver callbacks again",
        replay_callbacks,
        Scope.OPERATE,
        body=CallbackReplayRequest,
        answers={200: ReplayAnswer},
        errors=(InvalidInput, NotAllowed),
    ),
)
