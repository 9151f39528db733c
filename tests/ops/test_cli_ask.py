"""`roughneck ask`: words as they come, and the exit code of every ending."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ops.links import Engine, opened_engine
from ops.settings import load
from streams.attempt import Attempt
from streams.errors import Rejected
from streams.model import Job, State
from tests.ops.test_cli import CARD, Cli, cli, on
from tests.support.plain_worker import plain_worker
from tests.support.waiting import until_sync

__all__ = ["cli"]  # a fixture
Run = Callable[[Attempt], Awaitable[bytes]]


def answer(text: str) -> bytes:
    return msgspec.json.encode({"answer": text, "model": "m"})


async def in_words(attempt: Attempt) -> bytes:
    prompt = msgspec.json.decode(attempt.payload)["prompt"]
    for word in f"You ask: {prompt}".split(" "):
        attempt.emit(f"{word} ")
        await asyncio.sleep(0.01)
    return answer(f"You ask: {prompt} ")


async def in_silence(attempt: Attempt) -> bytes:
    return answer("at once")


async def second_try(attempt: Attempt) -> bytes:
    attempt.emit(f"try {attempt.lease.attempt}")
    await asyncio.sleep(0.3)
    if attempt.lease.attempt == 1:
        raise RuntimeError("it broke")
    return answer("try 2")


async def refuse(attempt: Attempt) -> bytes:
    attempt.emit("Well")
    raise Rejected("no")


async def for_ever(attempt: Attempt) -> bytes:
    attempt.emit("Hm")
    await asyncio.Event().wait()
    return b""


@contextmanager
def answering(url: str, run: Run) -> Iterator[None]:
    """A worker in a thread that has a processor `ask`."""
    ready, over = threading.Event(), threading.Event()

    async def work() -> None:
        settings = load(environ={}, given={"redis.url": url})
        async with opened_engine(settings, "test") as engine:
            card = msgspec.structs.replace(
                CARD, name="ask", input_schema=msgspec.Raw(b"{}"), attempts_max=2
            )
            await engine.directory.publish_processor(card)
            async with plain_worker(engine.broker, url, run, grace_s=0.1):
                ready.set()
                await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_an_answer_appears_word_by_word(cli: Cli, redis_url: str) -> None:
    with answering(redis_url, in_words):
        ran = cli("ask", "hvad nu?")
        assert (ran.code, ran.out) == (0, "You ask: hvad nu? \n")
        as_json = cli("ask", "hvad nu?", "-o", "json")
    assert as_json.json == {"answer": "You ask: hvad nu? ", "model": "m"}


def test_an_answer_that_was_not_streamed_is_shown_whole(cli: Cli, redis_url: str) -> None:
    with answering(redis_url, in_silence):
        assert cli("ask", "x").out == "at once\n"


def test_a_second_attempt_begins_anew(cli: Cli, redis_url: str) -> None:
    with answering(redis_url, second_try):
        ran = cli("ask", "x")
    assert (ran.code, ran.out) == (0, "try 1\ntry 2\n")
    assert "once more" in ran.err


def test_a_question_that_fails_and_one_that_takes_too_long(cli: Cli, redis_url: str) -> None:
    with answering(redis_url, refuse):
        failed = cli("ask", "x")
    assert (failed.code, failed.out) == (1, "Well\n")
    assert "rejected: no" in failed.err
    with answering(redis_url, for_ever):
        late = cli("ask", "x", "--timeout", "0.5")
    assert late.code == 4
    assert "it goes on" in late.err
    assert cli("ask", "  ").code == 2


def asked(url: str) -> Job | None:
    async def look(engine: Engine) -> Job | None:
        events = await engine.events.read("0-0")
        return await engine.inspector.job(events[0].job_id) if events else None

    return on(url, look)


def test_an_interrupt_stops_the_job(cli: Cli, redis_url: str, tmp_path: Path) -> None:
    with answering(redis_url, for_ever):
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "--redis", redis_url, "ask", "x"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            cwd=tmp_path,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.read(2) == b"Hm"
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 130
        until_sync(
            lambda: (job := asked(redis_url)) is not None and job.state is State.CANCELLED,
            what="the job to be cancelled",
        )
