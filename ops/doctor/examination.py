"""Runs the checks: each alone, with a limit of time, so that one that fails hides no other."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
from redis.exceptions import NoPermissionError, RedisError

from gateway.redaction import redact
from ops.doctor.finding import Finding, warning
from ops.links import Engine
from ops.settings import Settings
from streams.errors import Trouble

log = logging.getLogger(__name__)

CHECK_S = 30.0
AT_ONCE = 4
AS_OPERATOR = "run the doctor with the URL of the user `operator`"


class Deployment(msgspec.Struct, frozen=True):
    """What is examined."""

    settings: Settings
    path: Path | None  # of the settings file
    engine: Engine


class LocalCheck(msgspec.Struct, frozen=True):
    """A check of this machine, which needs no Redis. It runs in a thread."""

    name: str
    examine: Callable[[Settings, Path | None], Sequence[Finding]]


class Check(msgspec.Struct, frozen=True):
    """A check of the deployment over the link to Redis."""

    name: str
    examine: Callable[[Deployment], Awaitable[Sequence[Finding]]]


async def examined(
    name: str, examine: Callable[[], Awaitable[Sequence[Finding]]], limit_s: float = CHECK_S
) -> list[Finding]:
    """What one check finds; whatever hinders it is a finding too."""
    try:
        async with asyncio.timeout(limit_s):
            return list(await examine())
    except TimeoutError:
        why, remedy = f"no end within {limit_s:.0f} s", "look at the link to Redis and at its load"
    except NoPermissionError as error:
        why, remedy = str(error), AS_OPERATOR
    except (RedisError, Trouble, OSError) as error:
        why, remedy = str(error) or repr(error), "look at the link to Redis, then ask again"
    except Exception as error:  # a check that fails must not take the others along
        log.debug("check failed", exc_info=True)
        why, remedy = repr(error), "please report this"
    return [warning(name, f"could not be checked: {redact(why)}", remedy)]


async def examine_here(
    settings: Settings, path: Path | None, checks: Sequence[LocalCheck]
) -> list[Finding]:
    """What the checks of this machine find."""

    async def one(check: LocalCheck) -> Sequence[Finding]:
        return await asyncio.to_thread(check.examine, settings, path)

    found = []
    for check in checks:
        found += await examined(check.name, partial(one, check))
    return found


async def examine(deployment: Deployment, checks: Sequence[Check]) -> list[Finding]:
    """What all checks find, in their order; a few at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(check: Check) -> list[Finding]:
        async with room:
            return await examined(check.name, lambda: check.examine(deployment))

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(one(check)) for check in checks]
    return [finding for each in running for finding in each.result()]
