"""Callbacks over HTTP: the delivery log, and delivering again."""

from collections.abc import Sequence

from starlette.responses import Response

from gateway.auth import Scope, app_filter, sees
from gateway.call import Call, Operation, answer
from gateway.paging import PageQuery, checked_limit, page_of
from gateway.problems import NotFound
from gateway.wire import PageView, ReplayAnswer
from gateway.wire_registry import CallbackDetail, CallbackReplayRequest
from streams.callbacks import CallbackState, CallbackView
from streams.errors import InvalidInput, NotAllowed


class CallbacksQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of GET /v1/callbacks."""

    app: str | None = None
    state: CallbackState | None = None


async def list_callbacks(call: Call) -> Response:
    """Callbacks that the key may see: waiting ones first, then the newest."""
    query = call.query(CallbacksQuery)
    limit = checked_limit(query, call.parts.settings.page_max)
    app = app_filter(call.key, query.app)
    page = await page_of(
        lambda cursor: call.parts.callbacks.page(app, query.state, cursor, limit),
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
    """Deliver callbacks again: those named, or all dead ones. Same id, same bytes."""
    request = await call.body(CallbackReplayRequest, optional=True)
    app = app_filter(call.key, request.app)
    if request.ids is None:
        ids, more = await _dead(call, app, request.limit)
    else:
        ids, more = await _ended(call, request.ids), False
    if request.dry_run or not ids:
        return answer(ReplayAnswer(len(ids), 0, more))
    replayed = await call.parts.callbacks.replay(ids)
    return answer(ReplayAnswer(len(ids), replayed, more))


async def _dead(call: Call, app: str | None, limit: int) -> tuple[list[str], bool]:
    page = await call.parts.callbacks.page(app, CallbackState.DEAD, "", limit)
    return [view.record.id for view in page.items], bool(page.cursor)


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
