"""Apps over HTTP: what each may ask of the gateways."""

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from gateway.auth import EVERY_APP, Scope, app_filter, sees
from gateway.call import Call, Operation, answer
from gateway.problems import NotFound
from gateway.wire import PageView
from gateway.wire_registry import APP, AppDetail, AppPatch
from streams.directory import AppLimits
from streams.errors import InvalidInput, NotAllowed


async def list_apps(call: Call) -> Response:
    """The apps that the key may see, with their limits and their jobs in flight."""
    directory = call.parts.directory
    limits = await directory.app_limits()
    own = app_filter(call.key, None)
    names = await directory.apps() | limits.keys() if own is None else {own}
    in_flight = await call.parts.rates.in_flight(names)
    views = [AppDetail.of(name, limits, in_flight[name]) for name in sorted(names)]
    return answer(PageView(tuple(views), None))


async def read_app(call: Call) -> Response:
    """One app's limits; those of `*` hold for every app that has none of its own."""
    return answer(await _detail(call, _visible(call)))


async def limit_app(call: Call) -> Response:
    """Change an app's limits; what is left out stays. Gateways obey within 5 s."""
    if call.key.app != EVERY_APP:
        raise NotAllowed("only a key of all apps may change limits")
    name = _visible(call)
    request = await call.body(AppPatch)
    before = (await call.parts.directory.app_limits()).get(name, AppLimits())
    changed = {
        field: value
        for field, value in msgspec.structs.asdict(request).items()
        if value is not UNSET
    }
    call.note(**changed)
    await call.parts.directory.put_app_limits(name, msgspec.structs.replace(before, **changed))
    await call.parts.app_limits.refresh()
    return answer(await _detail(call, name))


async def _detail(call: Call, name: str) -> AppDetail:
    in_flight = await call.parts.rates.in_flight([name])
    return AppDetail.of(name, await call.parts.directory.app_limits(), in_flight[name])


def _visible(call: Call) -> str:
    name = call.name("name")
    if not sees(call.key, name) or not APP.fullmatch(name):
        raise NotFound(f"there is no app {name[:100]}")
    return name


PATH = "/v1/apps/{name}"
ONE = {200: AppDetail}

OPERATIONS = (
    Operation(
        "GET", "/v1/apps", "List apps", list_apps, Scope.READ, answers={200: PageView[AppDetail]}
    ),
    Operation(
        "GET", PATH, "Read an app's limits", read_app, Scope.READ, answers=ONE, errors=(NotFound,)
    ),
    Operation(
        "PATCH",
        PATH,
        "Change an app's limits",
        limit_app,
        Scope.OPERATE,
        body=AppPatch,
        answers=ONE,
        errors=(NotFound, NotAllowed, InvalidInput),
    ),
)
