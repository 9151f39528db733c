"""`roughneck ask`: one question to the local model, its answer on the terminal as it is made."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import click
import msgspec
import uvloop

from gateway.client import Begun, Ended, Said, Text
from gateway.wire import JobRequest, JobView
from ops.cli.screen import duration
from ops.cli.session import Command, GaveUpWaiting, JobFailed, Session, app_option, pass_session
from ops.cli.work import Jobs, opened_jobs
from streams.clock import SystemClock
from streams.errors import InvalidInput
from streams.ids import new_job_id
from streams.model import Priority, State

WAIT_S = 300.0
CANCEL_AGAIN_S = 0.2


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  roughneck ask "Hvad er en fjord?"
  cat notes.txt | roughneck ask - --system "Sum it up in three sentences."
  roughneck ask "A haiku" -o json""",
)
@click.argument("prompt")
@click.option("--system", default="", help="What the model is told before the prompt.")
@click.option("--max-tokens", type=click.IntRange(1, 32_768), help="Cut the answer there.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="How freely it answers.")
@click.option(
    "--priority",
    type=click.Choice([str(one) for one in Priority]),
    default="high",
    help="How urgent.",
)
@app_option(default="cli", show_default=True, help="The app, where no gateway is used.")
@click.option(
    "--timeout",
    "timeout_s",
    default=WAIT_S,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to wait before giving up (exit code 4); the job goes on.",
)
@pass_session
def ask(
    session: Session, /, prompt: str, app: str, priority: str, timeout_s: float, **given: Any
) -> None:
    """Ask the local model PROMPT, or what standard input holds for `-`. Ctrl-C stops the model."""
    text = click.get_text_stream("stdin").read() if prompt == "-" else prompt
    if not text.strip():
        raise InvalidInput("there is nothing to ask", "$.prompt")
    payload = {"prompt": text, **{name: value for name, value in given.items() if value}}
    request = JobRequest(
        processor="ask",
        payload=msgspec.Raw(msgspec.json.encode(payload)),
        priority=Priority(priority),
        idempotency_key=new_job_id(SystemClock().now_ms()),
    )
    answer = Answer(shown=not session.screen.as_json)

    async def act() -> JobView:
        async with opened_jobs(session, app) as jobs:
            return await _asked(jobs, request, answer, timeout_s)

    job = uvloop.run(act())
    if job.state is not State.SUCCEEDED:
        answer.end_line()
        fault = f": {job.error.code}: {job.error.message}" if job.error else ""
        raise JobFailed(f"{job.id} is {job.state}{fault}")
    result = b"null" if isinstance(job.result, msgspec.UnsetType) else bytes(job.result)
    if session.screen.as_json:
        session.screen.json(msgspec.json.decode(result))
    else:
        answer.complete(str(msgspec.json.decode(result).get("answer", "")))


async def _asked(jobs: Jobs, request: JobRequest, answer: "Answer", timeout_s: float) -> JobView:
    """The job once it has ended. Ctrl-C cancels it."""
    accepted = await jobs.submit(request)
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    following = asyncio.ensure_future(answer.follow(jobs.stream(accepted.id)))
    stopping = asyncio.ensure_future(interrupted.wait())
    first = asyncio.FIRST_COMPLETED
    done, _ = await asyncio.wait((following, stopping), timeout=timeout_s, return_when=first)
    await _end(stopping)
    if following in done:
        return following.result()
    await _end(following)
    answer.end_line()
    if stopping in done:
        await jobs.cancel(accepted.id)
        raise click.Abort
    span = duration(timeout_s * 1_000)
    raise GaveUpWaiting(f"{accepted.id} has not ended after {span}; it goes on")


async def _end(waiting: "asyncio.Future[Any]") -> None:
    """Cancel until it has ended: `wait_for` of Python 3.11, which redis-py uses, may lose one."""
    while not waiting.done():
        waiting.cancel()
        await asyncio.wait([waiting], timeout=CANCEL_AGAIN_S)


class Answer:
    """An answer on its way to standard output."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._said = ""
        self._bytes = 0

    async def follow(self, stream: AsyncIterator[Said]) -> JobView:
        """Show what comes; the job once it has ended."""
        async with aclosing(stream) as said:  # type: ignore[type-var]  # both are generators
            async for one in said:
                match one:
                    case Ended(job):
                        return job
                    case Begun():
                        self.begin()
                    case Text(text, _, at) if at == self._bytes:  # else there is a hole before it
                        self.say(text)
        raise AssertionError("a stream ends with the job's end")

    def begin(self) -> None:
        """An attempt begins: what was shown does not count."""
        if self._said:
            self.end_line()
            click.echo("— once more —", err=True)
        self._said, self._bytes = "", 0

    def say(self, text: str) -> None:
        """Show a piece."""
        self._said += text
        self._bytes += len(text.encode())
        if self._shown:
            click.echo(text, nl=False)
            sys.stdout.flush()

    def complete(self, whole: str) -> None:
        """Show what the stream did not have, such as what came after it was cut."""
        if whole.startswith(self._said):
            click.echo(whole[len(self._said) :])
        else:
            click.echo(f"\n{whole}")

    def end_line(self) -> None:
        """End a line that was begun."""
        if self._said and self._shown:
            click.echo()
