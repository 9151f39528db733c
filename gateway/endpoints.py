"""Endpoints over HTTP: where an app may be called back, and the secrets that sign it."""

import secrets

import msgspec
from starlette.responses import Response

from gateway.auth import Scope, app_filter, app_of, sees
from gateway.call import Call, Operation, answer
from gateway.problems import NotFound
from gateway.signing import new_secret
from gateway.wire import PageView
from gateway.wire_registry import EndpointPatch, EndpointRequest, EndpointView, RotateRequest
from processors.dependencies.guard import Refused, parse_url
from streams.directory import Endpoint
from streams.errors import InvalidInput, NotAllowed
from streams.ids import base32

SECRETS_MAX = 2  # live at once, while an app changes over


class EndpointsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters of GET /v1/endpoints."""

    app: str | None = None


async def create_endpoint(call: Call) -> Response:
    """Register an endpoint. The answer is the only one that holds its secret."""
    request = await call.body(EndpointRequest)
    secret = new_secret()
    endpoint = Endpoint(
        id=f"ep_{base32(secrets.randbits(80), 16)}",
        app=app_of(call.key, request.app),
        url=_checked_url(call, request.url),
        secrets=(secret,),
        events=request.events,
        created_ms=call.parts.clock.now_ms(),
    )
    await _store(call, endpoint)
    headers = {"location": f"/v1/endpoints/{endpoint.id}"}
    return answer(EndpointView.of(endpoint, secret), 201, headers)


async def list_endpoints(call: Call) -> Response:
    """The endpoints that the key may see, oldest first."""
    app = app_filter(call.key, call.query(EndpointsQuery).app)
    endpoints = await call.parts.directory.endpoints()
    found = sorted(
        (one for one in endpoints.values() if app in (None, one.app)),
        key=lambda one: (one.created_ms, one.id),
    )
    return answer(PageView(tuple(map(EndpointView.of, found)), None))


async def read_endpoint(call: Call) -> Response:
    """One endpoint, without its secrets."""
    return answer(EndpointView.of(await _visible(call)))


async def change_endpoint(call: Call) -> Response:
    """Change URL or events. Jobs submitted before keep the callback that they asked for."""
    request = await call.body(EndpointPatch)
    known = await _visible(call)
    changed = msgspec.structs.replace(
        known,
        url=known.url if request.url is None else _checked_url(call, request.url),
        events=known.events if request.events is None else request.events,
    )
    await _store(call, changed)
    return answer(EndpointView.of(changed))


async def delete_endpoint(call: Call) -> Response:
    """Remove an endpoint; callbacks on their way to it become dead letters."""
    endpoint = await _visible(call)
    await call.parts.directory.delete_endpoint(endpoint.id)
    await call.parts.endpoints.refresh()
    return Response(status_code=204)


async def rotate_endpoint(call: Call) -> Response:
    """Make a new secret. The previous one goes on signing too, until the next rotation."""
    request = await call.body(RotateRequest, optional=True)
    known = await _visible(call)
    secret = new_secret()
    kept = () if request.drop_previous else known.secrets[: SECRETS_MAX - 1]
    changed = msgspec.structs.replace(known, secrets=(secret, *kept))
    await _store(call, changed)
    return answer(EndpointView.of(changed, secret))


async def enable_endpoint(call: Call) -> Response:
    """Deliver again to an endpoint that was disabled."""
    changed = msgspec.structs.replace(await _visible(call), disabled="")
    await _store(call, changed)
    return answer(EndpointView.of(changed))


async def _visible(call: Call) -> Endpoint:
    endpoint_id = call.name("id")
    endpoint = await call.parts.directory.endpoint(endpoint_id)
    if endpoint is None or not sees(call.key, endpoint.app):
        raise NotFound(f"there is no endpoint {endpoint_id[:100]}")
    return endpoint


async def _store(call: Call, endpoint: Endpoint) -> None:
    await call.parts.directory.put_endpoint(endpoint)
    await call.parts.endpoints.refresh()


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
        answers=ONE,
        errors=ERRORS,
    ),
)
