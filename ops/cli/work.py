"""Commands of those who give work: submit and wait."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import click
import msgspec
import uvloop

from gateway.client import AsyncClient, Begun, Cut, Ended, Refused, Said, Text
from gateway.making import accepted_as
from gateway.planning import Catalog, job_of
from gateway.schemas import PayloadSchemas
from gateway.submission import Origin
from gateway.wire import CallbackTarget, JobAccepted, JobRequest, JobView, links_of
from ops.cli.completing import of_jobs, of_processors
from ops.cli.screen import duration
from ops.cli.session import Command, GaveUpWaiting, JobFailed, Session, app_option, pass_session
from ops.links import Engine
from ops.looking import result_of
from streams.clock import SystemClock
from streams.errors import InvalidInput, UnknownJob
from streams.ids import new_job_id
from streams.model import Conflict, Priority, State
from streams.tokens import Piece, TokenReader

LOOK_FIRST_S, LOOK_LAST_S = 0.02, 0.5
WAIT_S = 60.0
NEWS_MS = 500

wait_option = click.option(
    "--timeout",
    "timeout_s",
    default=WAIT_S,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to wait before giving up (exit code 4).",
)


class Jobs(Protocol):
    """Where jobs go: over a gateway, or straight to Redis."""

    async def submit(self, request: JobRequest) -> JobAccepted:
        """Submit one job."""
        ...

    async def wait(self, job_id: str, within_s: float) -> JobView:
        """The job when it has ended, or as it stands when the time is up."""
        ...

    async def job(self, job_id: str) -> JobView:
        """The job as it stands."""
        ...

    def stream(self, job_id: str) -> AsyncIterator[Said]:
        """What the job says while it runs; last that it has ended, with its result."""
        ...

    async def cancel(self, job_id: str) -> None:
        """Cancel the job, if it has not ended."""
        ...


class DirectJobs:
    """Jobs straight to Redis, for whoever may reach it anyway."""

    def __init__(self, engine: Engine, app: str) -> None:
        self._engine = engine
        self._app = app

    async def submit(self, request: JobRequest) -> JobAccepted:
        """Submit one job, checked as the gateway would."""
        origin = Origin(self._app, "", SystemClock().now_ms())
        job = job_of(request, origin, await catalog_of(self._engine))
        (submitted,) = await self._engine.broker.submit([job])
        answer = accepted_as(job, submitted)
        return JobAccepted(answer.id, answer.state, answer.created, links_of(answer.id))

    async def wait(self, job_id: str, within_s: float) -> JobView:
        """Look until it has ended; less often the longer it takes."""
        deadline = time.monotonic() + within_s
        pause_s = LOOK_FIRST_S
        while True:
            view = await self.job(job_id)
            if view.state.ended or time.monotonic() >= deadline:
                return view
            await asyncio.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))
            pause_s = min(pause_s * 1.5, LOOK_LAST_S)

    async def job(self, job_id: str) -> JobView:
        """The job with its result."""
        found = await self._engine.inspector.job(job_id)
        if found is None:
            raise UnknownJob(f"there is no job {job_id}")
        done = found.state is State.SUCCEEDED
        return JobView.of(found, await result_of(self._engine, found) if done else None)

    async def stream(self, job_id: str) -> AsyncIterator[Said]:
        """Read what it says; wait for more until it has ended."""
        reader = TokenReader(self._engine.redis, self._engine.keyspace)
        heard = ""
        while True:
            view = await self.job(job_id)
            while pieces := await reader.read(job_id, heard or "-"):
                for piece in pieces:
                    yield said_in(piece)
                heard = pieces[-1].id
            if view.state.ended:
                yield Ended(view)
                return
            await reader.news({job_id: heard or "0-0"}, NEWS_MS)

    async def cancel(self, job_id: str) -> None:
        """Cancel the job, if it has not ended."""
        await self._engine.broker.cancel(job_id, "interrupted")


def said_in(piece: Piece) -> Said:
    """A piece as the client shows it."""
    if piece.cut:
        return Cut(piece.attempt)
    return Begun(piece.attempt) if piece.begins else Text(piece.text, piece.attempt, piece.at)


async def catalog_of(engine: Engine) -> Catalog:
    """What a submit is checked against."""
    return Catalog(
        await engine.directory.processors(),
        await engine.directory.flows(),
        await engine.callbacks.endpoints.all(),
        PayloadSchemas(),
    )


class GatewayJobs:
    """Jobs over HTTP."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def submit(self, request: JobRequest) -> JobAccepted:
        """Submit one job."""
        fields = msgspec.json.decode(msgspec.json.encode(request))
        named = {name: value for name, value in fields.items() if value not in (None, [])}
        return await self._client.submit(**named)

    async def wait(self, job_id: str, within_s: float) -> JobView:
        """Wait at the gateway."""
        return await self._client.wait(job_id, within_s)

    async def job(self, job_id: str) -> JobView:
        """The job as it stands."""
        return await self._client.job(job_id)

    async def stream(self, job_id: str) -> AsyncIterator[Said]:
        """Read it at the gateway."""
        async for said in self._client.stream(job_id):
            yield Ended(await self._client.wait(job_id, 0.0)) if isinstance(said, Ended) else said

    async def cancel(self, job_id: str) -> None:
        """Cancel the job, if it has not ended."""
        with suppress(Refused):
            await self._client.cancel(job_id, "interrupted")


@asynccontextmanager
async def opened_jobs(session: Session, app: str) -> AsyncIterator[Jobs]:
    """Over the gateway when one is configured, else straight to Redis."""
    client = session.settings.client
    if client.gateway:
        async with AsyncClient(client.gateway, client.key) as over_http:
            yield GatewayJobs(over_http)
    else:
        async with session.engine() as engine:
            yield DirectJobs(engine, app)


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  roughneck submit echo '{"message": "hi"}'
  roughneck submit ask @question.json --priority high --wait
  cat page.json | roughneck submit govejle-enrichment - --app govejle""",
)
@click.argument("processor", shell_complete=of_processors)
@click.argument("payload", default="{}")
@app_option(default="cli", show_default=True, help="The app, where no gateway is used.")
@click.option(
    "--priority",
    type=click.Choice([str(one) for one in Priority]),
    default="normal",
    help="How urgent.",
)
@click.option("--delay", "delay_s", type=click.FloatRange(min=0), default=0.0, help="Seconds.")
@click.option("--attempts", "attempts_max", type=click.IntRange(1, 100), help="Before it is dead.")
@click.option(
    "--job-timeout",
    "job_timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that one attempt may take.",
)
@click.option("--tag", "tags", multiple=True, help="A tag; repeat it.")
@click.option("--fresh", is_flag=True, help="Take no result that is kept of the same input.")
@click.option("--unique", "unique_key", metavar="KEY", help="One job of the app at a time has it.")
@click.option(
    "--on-conflict",
    type=click.Choice([str(one) for one in Conflict]),
    help="What is done when another has the key.",
)
@click.option(
    "--unique-for",
    "unique_for_s",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds; else until the job ends.",
)
@click.option("--callback", metavar="URL", help="Where to tell the app how it ended.")
@click.option("--wait", "waits", is_flag=True, help="Wait for the end and print the result.")
@wait_option
@pass_session
def submit(
    session: Session, /, processor: str, payload: str, app: str, timeout_s: float, **fields: Any
) -> None:
    """Submit a job of PROCESSOR with PAYLOAD: JSON, @FILE, or - for standard input."""
    waits = fields.pop("waits")
    request = _request(processor, payload, fields)

    async def act() -> JobView | JobAccepted:
        async with opened_jobs(session, app) as jobs:
            accepted = await jobs.submit(request)
            return await jobs.wait(accepted.id, timeout_s) if waits else accepted

    ended = uvloop.run(act())
    if isinstance(ended, JobAccepted):
        session.screen.say(ended.id, ended)
    else:
        show_end(session, ended, timeout_s)


@click.command(cls=Command, epilog="\b\nExample:\n  roughneck wait 0-01jd… --timeout 300")
@click.argument("job_id", metavar="JOB", shell_complete=of_jobs)
@wait_option
@pass_session
def wait(session: Session, /, job_id: str, timeout_s: float) -> None:
    """Wait until JOB has ended and print its result."""

    async def act() -> JobView:
        async with opened_jobs(session, "cli") as jobs:
            return await jobs.wait(job_id, timeout_s)

    show_end(session, uvloop.run(act()), timeout_s)


def show_end(session: Session, /, view: JobView, timeout_s: float) -> None:
    """The result on standard output, and the exit code of how it ended."""
    if not view.state.ended:
        span = duration(timeout_s * 1_000)
        raise GaveUpWaiting(f"{view.id} is still {view.state} after {span}")
    if session.screen.as_json:
        session.screen.json(view)
    elif view.state is State.SUCCEEDED and not isinstance(view.result, msgspec.UnsetType):
        session.screen.json(msgspec.json.decode(view.result))
    if view.state is not State.SUCCEEDED:
        fault = f": {view.error.code}: {view.error.message}" if view.error else ""
        raise JobFailed(f"{view.id} is {view.state}{fault}")


def _request(processor: str, payload: str, fields: dict[str, Any]) -> JobRequest:
    callback, timeout_s = fields.pop("callback"), fields.pop("job_timeout_s")
    given = {name: value for name, value in fields.items() if value not in (None, ())}
    raw = payload_of(payload)
    try:
        return msgspec.convert(
            {
                "processor": processor,
                "payload": raw,
                **({"callback": CallbackTarget(callback)} if callback else {}),
                **({"timeout_s": timeout_s} if timeout_s else {}),
                "idempotency_key": new_job_id(SystemClock().now_ms()),
                **given,
            },
            JobRequest,
        )
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from error


def payload_of(text: str) -> msgspec.Raw:
    """The payload that an argument stands for: JSON, @FILE, or - for standard input."""
    try:
        if text == "-":
            text = click.get_text_stream("stdin").read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text("utf-8")
        msgspec.json.decode(text)
    except OSError as error:
        raise InvalidInput(f"the payload: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the payload is no JSON: {error}") from error
    return msgspec.Raw(text.encode())
