"""Endpoints: whether each can be connected to, over allowed addresses only. Nothing is sent."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence

import httpcore
import httpx

from ops.doctor.examination import Deployment
from ops.doctor.finding import Finding, fine, listed, problem, warning
from processors.dependencies.guard import Guard, Refused
from processors.dependencies.guarded_client import GuardedBackend
from streams.directory import Endpoint
from streams.endpoints import EndpointHealth

ENDPOINTS_MAX = 100
AT_ONCE = 10
CONNECT_S = 5.0


async def check_endpoints(deployment: Deployment) -> list[Finding]:
    """Connect to every enabled endpoint, and hang up."""
    store = deployment.engine.callbacks.endpoints
    known = list((await store.all()).values())
    health = await store.health(one.id for one in known)
    enabled = [one for one in known if not health[one.id].disabled][:ENDPOINTS_MAX]
    guard = Guard(deployment.settings.network)
    room = asyncio.Semaphore(AT_ONCE)

    async def ask(endpoint: Endpoint) -> str:
        async with room:
            return await trouble_with(guard, endpoint.url)

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(one)) for one in enabled]
    trouble = {one.id: a.result() for one, a in zip(enabled, asked, strict=True)}
    return judge_endpoints(known, health, trouble)


async def trouble_with(guard: Guard, url: str, limit_s: float = CONNECT_S) -> str:
    """Why an endpoint cannot be connected to; empty when it can."""
    try:
        target = guard.check_url(url)
        plain = target.scheme == "http"
        backend = GuardedBackend(guard, plain=plain)
        async with asyncio.timeout(limit_s):
            stream = await backend.connect_tcp(target.host, target.port, timeout=limit_s)
            try:
                if not plain:
                    tls = httpx.create_ssl_context(trust_env=False)
                    stream = await stream.start_tls(tls, target.host, timeout=limit_s)
            finally:
                await stream.aclose()
    except TimeoutError:
        return f"no connection within {limit_s:g} s"
    except (Refused, httpcore.NetworkError, httpcore.TimeoutException, ssl.SSLError) as error:
        return str(error) or repr(error)
    return ""


def judge_endpoints(
    known: Sequence[Endpoint], health: Mapping[str, EndpointHealth], trouble: Mapping[str, str]
) -> list[Finding]:
    """One line for each endpoint that gets nothing."""
    found = []
    for endpoint in known:
        whose = f"{endpoint.app}: {endpoint.url}"
        if disabled := health[endpoint.id].disabled:
            remedy = f"when it is mended: roughneck endpoints enable {endpoint.id}"
            said = f"{whose} is disabled: {disabled}"
            found.append(warning("endpoints", said, remedy))
        elif why := trouble.get(endpoint.id):
            remedy = "look at the receiver, its name and its certificate, or at `network.allow_…`"
            found.append(problem("endpoints", f"{whose}: {why}", remedy))
    unasked = [one.id for one in known if not health[one.id].disabled and one.id not in trouble]
    if unasked:
        said = f"{len(unasked)} more were not asked: {listed(unasked, 2)}"
        found.append(warning("endpoints", said, f"test one: roughneck endpoints test {unasked[0]}"))
    return found or [fine("endpoints", f"{len(known)} endpoints, each can be connected to")]
