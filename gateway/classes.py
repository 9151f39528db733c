"""Resource classes over HTTP: lanes and limits, pause and resume."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from gateway.auth import EVERY_APP, Scope, sees
from gateway.call import Call, Operation, answer
from gateway.problems import NotFound
from gateway.wire_control import RateLimit
from gateway.wire_registry import ClassDetail, ClassPatch, EstimateDetail, LaneDetail, PoolDetail
from streams.directory import ApiKey
from streams.errors import InvalidInput, NotAllowed
from streams.inspector import ClassView
from streams.model import ResourceClass


async def list_classes(call: Call) -> Response:
    """The three classes with the lanes that the key may see."""
    views = await call.parts.inspector.classes()
    return answer([class_detail(view, call.key) for view in views])


async def read_class(call: Call) -> Response:
    """One class."""
    return answer(await _detail(call, _class_named(call)))


async def pause_class(call: Call) -> Response:
    """Lease no more jobs of a class; attempts under way go on."""
    name = _class_for_operator(call)
    await call.parts.broker.pause(name)
    return answer(await _detail(call, name))


async def resume_class(call: Call) -> Response:
    """Lease jobs of a class again."""
    name = _class_for_operator(call)
    await call.parts.broker.resume(name)
    return answer(await _detail(call, name))


async def limit_class(call: Call) -> Response:
    """Change totals of pools, concurrency of apps, and rates; workers obey at their next take."""
    name = _class_for_operator(call)
    request = await call.body(ClassPatch)
    _check_pools(name, list(request.limits))
    call.note(**msgspec.to_builtins(request))
    for pool, total in request.limits.items():
        await call.parts.broker.set_limit(pool, total)
    for app, concurrency in request.app_limits.items():
        await call.parts.broker.set_app_limit(name, app, concurrency)
    control = call.parts.control
    if request.rate is not UNSET:
        await control.set_rate(name, request.rate.rate if request.rate else None)
    for app, limit in request.app_rates.items():
        await control.set_rate(name, limit.rate if limit else None, app)
    return answer(await _detail(call, name))


def class_detail(view: ClassView, key: ApiKey) -> ClassDetail:
    """A class as the owner of `key` may see it: totals of all, lanes of its own app."""
    lanes = tuple(
        LaneDetail(
            app=lane.lane.app,
            priority=lane.lane.priority,
            processor=lane.lane.processor,
            model=lane.lane.model,
            waiting=lane.waiting,
            active=lane.active,
            oldest_age_s=lane.oldest_age_ms / 1_000,
        )
        for lane in view.lanes
        if sees(key, lane.lane.app)
    )
    return ClassDetail(
        name=view.name,
        paused=view.paused,
        waiting=view.waiting,
        active=view.active,
        delayed=view.delayed,
        oldest_age_s=view.oldest_age_ms / 1_000,
        pools={name: PoolDetail(pool.leases, pool.limit) for name, pool in view.pools.items()},
        lanes=lanes,
        rate=RateLimit.of(view.rate) if view.rate else None,
        app_limits={app: one for app, one in view.app_limits.items() if sees(key, app)},
        app_rates={
            app: RateLimit.of(rate) for app, rate in view.app_rates.items() if sees(key, app)
        },
        estimates=EstimateDetail.of(view.offness) if view.offness else None,
    )


async def _detail(call: Call, name: ResourceClass) -> ClassDetail:
    views = {view.name: view for view in await call.parts.inspector.classes()}
    return class_detail(views[name], call.key)


def _class_named(call: Call) -> ResourceClass:
    name = call.name("name")
    if name not in list(ResourceClass):
        raise NotFound(f"the classes are {', '.join(ResourceClass)}")
    return ResourceClass(name)


def _class_for_operator(call: Call) -> ResourceClass:
    """The class of the path. A class serves all apps: no single app may change it."""
    if call.key.app != EVERY_APP:
        raise NotAllowed("only a key of all apps may change a class")
    return _class_named(call)


def _check_pools(name: ResourceClass, pools: Sequence[str]) -> None:
    for pool in pools:
        if pool != name and not pool.startswith(f"{name}@"):
            raise InvalidInput(f"not a pool of class {name}", f"$.limits.{pool}")


ERRORS = (NotFound, NotAllowed)
PATH = "/v1/classes/{name}"
ONE = {200: ClassDetail}

OPERATIONS = (
    Operation(
        "GET",
        "/v1/classes",
        "List resource classes with their lanes",
        list_classes,
        Scope.READ,
        answers={200: tuple[ClassDetail, ...]},
    ),
    Operation(
        "GET", PATH, "Read a resource class", read_class, Scope.READ, answers=ONE, errors=ERRORS
    ),
    Operation(
        "PATCH",
        PATH,
        "Change the limits of a class",
        limit_class,
        Scope.OPERATE,
        body=ClassPatch,
        answers=ONE,
        errors=(*ERRORS, InvalidInput),
    ),
    Operation(
        "POST",
        f"{PATH}:pause",
        "Pause a class",
        pause_class,
        Scope.OPERATE,
        answers=ONE,
        errors=ERRORS,
    ),
    Operation(
        "POST",
        f"{PATH}:resume",
        "Resume a class",
        resume_class,
        Scope.OPERATE,
        answers=ONE,
        errors=ERRORS,
    ),
)
