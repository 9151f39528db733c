"""The ASGI application: every operation of every resource module under its path.

There is no middleware of our own: one resource answers one path, from authentication to the
problem document, and counts what it answered.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import groupby

from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import (
    apps,
    blobs,
    callbacks,
    catalog,
    classes,
    deadletters,
    endpoints,
    events,
    flows,
    health,
    job_control,
    jobs,
    keys,
    limits,
    models,
    openapi,
    overview,
    schedules,
    streaming,
    usage,
)
from gateway.auth import EVERY_APP
from gateway.auth import Scope as KeyScope
from gateway.call import Answer, Call, Operation
from gateway.heads import AT_ONCE
from gateway.parts import GatewayParts
from gateway.problems import MethodNotAllowed, NotFound, problem_response
from gateway.sse import EventStream

MODULES = (
    *(jobs, job_control, flows, deadletters, classes, endpoints, callbacks, schedules, catalog),
    *(models, usage, apps, keys, events, overview, streaming, blobs, health),
)
READING = ("GET", "HEAD")
UNKNOWN_ROUTE = "unknown"


class SegmentConvertor(StringConvertor):
    """A part of a path up to a slash or the colon of a method suffix such as `:cancel`."""

    regex = "[^/:]+"


register_url_convertor("segment", SegmentConvertor())


def build_app(parts: GatewayParts) -> ASGIApp:
    """The gateway's HTTP interface over `parts`, which must be started while it serves."""
    operations = [operation for module in MODULES for operation in module.OPERATIONS]
    operations += openapi.operations(operations)
    resources = resources_of(operations, parts)
    routed = Starlette(
        routes=[Route(resource.route, resource) for resource in resources],
        exception_handlers={HTTPException: _unrouted(parts)},
    )
    routed.router.redirect_slashes = False
    exact = {resource.path: resource for resource in resources if "{" not in resource.path}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """A path without parts that vary is found at once; the others are Starlette's."""
        await exact.get(scope.get("path", ""), routed)(scope, receive, send)

    return app


def resources_of(operations: Iterable[Operation], parts: GatewayParts) -> list["Resource"]:
    """One resource per path, in the order in which paths first appear."""
    order = {operation.path: index for index, operation in reversed([*enumerate(operations)])}
    by_path = groupby(sorted(operations, key=lambda one: order[one.path]), lambda one: one.path)
    return [Resource(path, list(group), parts) for path, group in by_path]


class Resource:
    """Answers all methods of one path."""

    def __init__(self, path: str, operations: Iterable[Operation], parts: GatewayParts) -> None:
        self.path = path
        self.route = path.replace("}", ":segment}")
        self._operations = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            self._operations["HEAD"] = self._operations["GET"]
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong becomes a problem document."""
        began = time.monotonic()
        method = scope["method"]
        call = Call(scope, receive, self._parts)
        try:
            response = await self._respond(method, call)
        except Exception as error:  # the edge: nothing may leave as a bare 500
            response = problem_response(error, scope["path"])
        self._audit(call, method, response)
        answered = time.monotonic()
        at_once = scope.get(AT_ONCE) if type(response) is Answer else None
        if at_once is None or not at_once(response):
            await response(scope, receive, send)
        known = method if method in self._operations else UNKNOWN_ROUTE
        ended = answered if isinstance(response, EventStream) else time.monotonic()
        self._parts.metrics.observe(known, self.path, response.status_code, ended - began)

    async def _respond(self, method: str, call: Call) -> Response:
        operation = self._operations.get(method)
        if operation is None:
            raise MethodNotAllowed(sorted(self._operations))
        limits.check_expectation(call.headers)
        limits.check_acceptable(call.headers, operation.media)
        if operation.scope is not None:
            await call.identify(operation.scope)
        return await operation.run(call)

    def _audit(self, call: Call, method: str, response: Response) -> None:
        """Note what an operator did or tried."""
        operation, key = self._operations.get(method), call.caller
        if operation is None or key is None or not is_audited(operation, key.app):
            return
        made = response.headers.get("location", "").rpartition("/")[2]
        self._parts.audit.write(
            operation.run.__name__,
            key_id=key.id,
            app=key.app,
            subject=",".join(call.names.values()) or made,
            **{"from": call.address, "status": response.status_code, **call.noted},
        )


def is_audited(operation: Operation, app: str) -> bool:
    """Whether the audit log tells that a key of `app` used `operation`."""
    if operation.scope is KeyScope.ADMIN:
        return True
    by_operator = operation.scope is KeyScope.OPERATE or app == EVERY_APP
    return by_operator and operation.method not in READING


def _unrouted(parts: GatewayParts) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        """Whatever Starlette itself refuses: a path that does not exist."""
        parts.metrics.observe(UNKNOWN_ROUTE, UNKNOWN_ROUTE, 404, 0.0)
        path = request.url.path
        return problem_response(NotFound(f"there is no path {path[:200]}"), path)

    return answer
