"""Endpoints over HTTP: where an app may be called back, and the secrets that sign it."""

from typing import TypeVar

import msgspec
from starlette.responses import Response

from gateway.auth import Scope, app_filter, app_of, sees
from gateway.call import Call, Operation, answer
from gateway.problems import NotFound
from gateway.registrar import Standing
from gateway.wire import PageView
from gateway.wire_registry import (
    CallbackDetail,
    EndpointEnabled,
    EndpointPatch,
    EndpointRequest,
    EndpointView,
    RotateRequest,
)
from processors.dependencies.guard import Refused, parse_url
from streams.errors import InvalidInput, NotAllowed

T = TypeVar("T")


class EndpointsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters of GET /v1/endpoints."""

    app: str | None = None


async def create_endpoint(call: Call) -> Response:
    """Register an endpoint. The answer is the only one that holds its secret."""
    request = await call.body(EndpointRequest)
    app, url = app_of(call.key, request.app), _checked_url(call, request.url)
    standing, secret = await call.parts.registrar.create(
        app, url, request.events, ordered=request.ordered
    )
    call.note(endpoint=standing.endpoint.id, url=url)
    await call.parts.endpoints.refresh()
    headers = {"location": f"/v1/endpoints/{standing.endpoint.id}"}
    return answer(_view(call, standing, secret), 201, headers)


async def list_endpoints(call: Call) -> Response:
    """The endpoints that the key may see, oldest first."""
    app = app_filter(call.key, call.query(EndpointsQuery).app)
    found = [one for one in await call.parts.registrar.all() if app in (None, one.endpoint.app)]
    return answer(PageView(tuple(_view(call, one) for one in found), None))


async def read_endpoint(call: Call) -> Response:
    """One endpoint and how it fares, without its secrets."""
    return answer(_view(call, await _visible(call)))


async def change_endpoint(call: Call) -> Response:
    """Change URL, events or order. Jobs submitted before keep the callback that they asked for."""
    request = await call.body(EndpointPatch)
    known = await _visible(call)
    changed = await call.parts.registrar.change(
        known.endpoint.id,
        url=None if request.url is None else _checked_url(call, request.url),
        events=request.events,
        ordered=request.ordered,
    )
    await call.parts.endpoints.refresh()
    return answer(_view(call, _still_there(changed)))


async def delete_endpoint(call: Call) -> Response:
    """Remove an endpoint; callbacks on their way to it become dead letters."""
    known = await _visible(call)
    await call.parts.registrar.store.delete(known.endpoint.id)
    await call.parts.endpoints.refresh()
    return Response(status_code=204)


async def rotate_endpoint(call: Call) -> Response:
    """Make a new secret. The previous one goes on signing too, for a day."""
    request = await call.body(RotateRequest)
    known = await _visible(call)
    made = await call.parts.registrar.rotate(known.endpoint.id, drop_previous=request.drop_previous)
    standing, secret = _still_there(made)
    await call.parts.endpoints.refresh()
    return answer(_view(call, standing, secret))


async def enable_endpoint(call: Call) -> Response:
    """Deliver again to an endpoint that was disabled, also what it has missed since."""
    known = await _visible(call)
    standing, replayed = _still_there(await call.parts.registrar.enable(known.endpoint.id))
    call.note(replayed=replayed)
    return answer(EndpointEnabled(_view(call, standing), replayed))


async def test_endpoint(call: Call) -> Response:
    """Send a callback of no job, of type `endpoint.test`; its log says whether it arrived."""
    known = await _visible(call)
    callback_id = _still_there(await call.parts.registrar.test(known.endpoint.id))
    view = _still_there(await call.parts.callbacks.get(callback_id))
    return answer(CallbackDetail.of(view), 202, {"location": f"/v1/callbacks/{callback_id}"})


async def _visible(call: Call) -> Standing:
    endpoint_id = call.name("id")
    standing = await call.parts.registrar.find(endpoint_id)
    if standing is None or not sees(call.key, standing.endpoint.app):
        raise NotFound(f"there is no endpoint {endpoint_id[:100]}")
    return standing


def _still_there(found: T | None) -> T:
    """What was there a moment ago. Raises NotFound where somebody removed it meanwhile."""
    if found is None:
        raise NotFound("the endpoint was removed meanwhile")
    return found


def _view(
    call: Call, standing: Standing, secret: str | msgspec.UnsetType = msgspec.UNSET
) -> EndpointView:
    now_ms = call.parts.clock.now_ms()
    return EndpointView.of(standing.endpoint, standing.health, now_ms, secret)


def _checked_url(call: Call, url: str) -> str:
    """The one spelling of an endpoint's URL. Raises InvalidInput with what is wrong."""
    try:
        target = parse_url(url)
        call.parts.check_url(url)
    except Refused as error:
        raise InvalidInput(str(error), "$.url") from None
    if target.query:
        raise InvalidInput("an endpoint is an origin and a path: no query", "$.url")
    return target.url


PATH = "/v1/endpoints/{id}"
ONE = {200: EndpointView}
ERRORS = (NotFound,)

OPERATIONS = (
    Operation(
        "POST",
        "/v1/endpoints",
        "Register an endpoint for callbacks",
        create_endpoint,
        Scope.OPERATE,
        body=EndpointRequest,
        answers={201: EndpointView},
        errors=(InvalidInput, NotAllowed),
    ),
    Operation(
        "GET",
        "/v1/endpoints",
        "List endpoints",
        list_endpoints,
        Scope.READ,
        query=EndpointsQuery,
        answers={200: PageView[EndpointView]},
        errors=(InvalidInput, NotAllowed),
    ),
    Operation(
        "GET", PATH, "Read an endpoint", read_endpoint, Scope.READ, answers=ONE, errors=ERRORS
    ),
    Operation(
        "PATCH",
        PATH,
        "Change an endpoint",
        change_endpoint,
        Scope.OPERATE,
        body=EndpointPatch,
        answers=ONE,
        errors=(NotFound, InvalidInput),
    ),
    Operation(
        "DELETE",
        PATH,
        "Remove an endpoint",
        delete_endpoint,
        Scope.OPERATE,
        answers={204: None},
        errors=ERRORS,
    ),
    Operation(
        "POST",
        f"{PATH}:rotate",
        "Make a new secret",
        rotate_endpoint,
        Scope.OPERATE,
        body=RotateRequest,
        answers=ONE,
        errors=ERRORS,
    ),
    Operation(
        "POST",
        f"{PATH}:enable",
        "Deliver again to a disabled endpoint",
        enable_endpoint,
        Scope.OPERATE,
        answers={200: EndpointEnabled},
        errors=ERRORS,
    ),
    Operation(
        "POST",
        f"{PATH}:test",
        "Send a callback of no job",
        test_endpoint,
        Scope.OPERATE,
        answers={202: CallbackDetail},
        errors=ERRORS,
    ),
)
