"""What stands around Redis and is not in it: a gateway, and its spool."""

import asyncio

import httpx
import msgspec

from gateway.wire_registry import Health

PROBE_S = 2.0
UNKNOWN = "?"


class Surroundings(msgspec.Struct, frozen=True):
    """`gateway`: what it says of itself, `away`, or `?` where it was not asked or is not ours."""

    gateway: str = UNKNOWN
    spooled: int | None = None  # rows that only its journal has; None: not known


async def look_around(http: httpx.AsyncClient, url: str) -> Surroundings:
    """Ask a gateway whether it is ready. Never raises; `away` when nothing answers."""
    try:
        async with asyncio.timeout(PROBE_S):
            reply = await http.get(f"{url.rstrip('/')}/readyz")
        health = msgspec.json.decode(reply.content, type=Health)
    except (httpx.HTTPError, TimeoutError):
        return Surroundings("away")
    except msgspec.MsgspecError:
        return Surroundings(UNKNOWN)  # something else listens there
    return Surroundings(health.status, health.journal.rows if health.journal else None)
