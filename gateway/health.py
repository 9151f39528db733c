"""Whether the gateway lives, whether it can work, and its metrics."""

import asyncio
import logging

from starlette.responses import Response

from gateway.auth import EVERY_APP, Scope
from gateway.call import Call, Operation, answer
from gateway.metrics import MEDIA
from gateway.parts import Check, GatewayParts
from gateway.peer import is_local
from gateway.wire_registry import Health, JournalHealth

log = logging.getLogger(__name__)

CHECK_S = 2.0


async def healthz(call: Call) -> Response:
    """The process answers. Says nothing about what it depends on."""
    return answer(Health("ok", {}))


async def readyz(call: Call) -> Response:
    """Whether jobs can be accepted, naming each dependency: 200, or 503 when they cannot.

    Redis may be away as long as the journal takes jobs.
    """
    found = await dependencies(call.parts)
    spool = call.parts.acceptor.spool()
    journal = None
    if spool is not None:
        journal = JournalHealth(spool.rows, spool.bytes, spool.oldest_s, spool.alarms)
        found["journal"] = "ok" if spool.writable and not spool.full else "failing"
    failing = {name for name, state in found.items() if state != "ok"}
    status = "ok"
    if failing:
        status = "spooling" if spool is not None and failing == {"redis"} else "failing"
    return answer(Health(status, found, journal), 503 if status == "failing" else 200)


async def metrics(call: Call) -> Response:
    """Prometheus' text format. A key of one app sees no other app's series."""
    parts, app = call.parts, ""
    if call.headers.get("authorization") or not _may_scrape_without_key(call):
        await call.identify(Scope.METRICS)
        app = call.key.app if call.key.app != EVERY_APP else ""
    text = await parts.metrics.render(
        parts.inspector, parts.callbacks, parts.directory, parts.windows, app=app
    )
    return Response(text, media_type=MEDIA)


async def dependencies(parts: GatewayParts) -> dict[str, str]:
    """`ok` or `failing` for each dependency, all asked at once."""
    found = {
        table.name: "ok" if table.loaded else "failing"
        for table in (parts.keys, parts.processors, parts.endpoints)
    }
    async with asyncio.TaskGroup() as group:
        asked = {name: group.create_task(_ask(name, check)) for name, check in parts.checks.items()}
    return found | {name: task.result() for name, task in asked.items()}


def _may_scrape_without_key(call: Call) -> bool:
    settings = call.parts.settings
    # With a proxy in front, what comes from this machine may come from anywhere.
    open_here = settings.metrics_open_to_loopback and not settings.trusted_proxies
    return open_here and is_local(call.request.scope)


async def _ask(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_S):
            await check()
    except Exception as error:  # whatever a check raises means that it failed
        log.warning("dependency fails", extra={"dependency": name, "error": repr(error)})
        return "failing"
    return "ok"


OPERATIONS = (
    Operation("GET", "/healthz", "Is the process alive", healthz, None, answers={200: Health}),
    Operation(
        "GET",
        "/readyz",
        "Can it serve, by dependency",
        readyz,
        None,
        answers={200: Health, 503: Health},
    ),
    Operation(
        "GET",
        "/metrics",
        "Metrics for Prometheus; needs scope metrics, except from loopback",
        metrics,
        None,
        answers={200: str},
        media="text/plain",
    ),
)
