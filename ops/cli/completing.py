"""What Tab offers beside commands and options: jobs, flows, processors and so on, from Redis.

Asked while somebody types, so it is quick and silent: what does not answer at once offers nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import click
import uvloop
from click.shell_completion import CompletionItem

from ops.cli.session import Session
from ops.links import Engine
from ops.looking import found_jobs
from streams.listing import EVERY_JOB, JobFilter
from streams.model import State

LIMIT_S = 1.0
OFFERED_MAX = 50

Found = Iterable[tuple[str, str]]  # what may stand there, and what it is
Find = Callable[[Engine], Awaitable[Found]]
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def offering(find: Find) -> Complete:
    """A completion of click that offers what is found in Redis."""

    def complete(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
        try:
            found = uvloop.run(_found(context, find))
        except Exception:  # nobody wants to read an error amid a line
            return []
        fitting = [(name, what) for name, what in found if name.startswith(begun)]
        return [CompletionItem(name, help=what) for name, what in fitting[:OFFERED_MAX]]

    return complete


async def _found(context: click.Context, find: Find) -> list[tuple[str, str]]:
    async with asyncio.timeout(LIMIT_S), _engine(context) as engine:
        return list(await find(engine))


@contextlib.asynccontextmanager
async def _engine(context: click.Context) -> AsyncIterator[Engine]:
    """The engine that the options before the command name."""
    given = context.find_root().params
    named = {"redis.url": given.get("redis"), "redis.folder": given.get("data")}
    session = Session(given.get("path"), {name: value for name, value in named.items() if value})
    async with session.engine() as engine:
        yield engine


async def _jobs(engine: Engine, wanted: JobFilter = EVERY_JOB) -> Found:
    jobs = await found_jobs(engine, wanted, OFFERED_MAX)
    return [(job.id, f"{job.state} {job.lane.processor} of {job.lane.app}") for job in jobs]


async def _flows(engine: Engine) -> Found:
    page = await engine.flows.flows(sorted(await engine.directory.apps()), limit=OFFERED_MAX)
    return [(one.job.id, f"{one.state} {one.name}".strip()) for one in page.items]


async def _processors(engine: Engine) -> Found:
    flows, processors = await engine.directory.flows(), await engine.directory.processors()
    named = {name: card.summary for name, card in flows.items()}
    return sorted((named | {name: card.summary for name, card in processors.items()}).items())


async def _schedules(engine: Engine) -> Found:
    page = await engine.schedules.page(limit=OFFERED_MAX)
    return [(one.schedule.name, f"of {one.schedule.app}") for one in page.items]


async def _endpoints(engine: Engine) -> Found:
    found = await engine.callbacks.endpoints.all()
    return [(one.id, f"{one.url} of {one.app}") for one in found.values()]


async def _callbacks(engine: Engine) -> Found:
    page = await engine.callbacks.page(limit=OFFERED_MAX)
    return [(one.record.id, f"{one.state} of {one.record.job_id}") for one in page.items]


async def _keys(engine: Engine) -> Found:
    return [(one.id, f"{one.app} {one.note}") for one in (await engine.directory.keys()).values()]


of_jobs = offering(_jobs)
of_dead_letters = offering(lambda engine: _jobs(engine, JobFilter(state=State.DEAD)))
of_flows = offering(_flows)
of_processors = offering(_processors)
of_schedules = offering(_schedules)
of_endpoints = offering(_endpoints)
of_callbacks = offering(_callbacks)
of_keys = offering(_keys)
