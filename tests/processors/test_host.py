"""Attempts on the loop and in threads; `test_children.py` has those in child processes."""

import asyncio
import threading

import msgspec
import pytest

from processors.dependencies.log import LogProvider
from processors.sdk import InvalidInput, Rejected, Retry, TooLarge
from processors.sdk.declaration import InvalidResult
from processors.sdk.frames import Raised
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from processors.sdk.settings import ProcessorSettings
from processors.sdk.testing import Line, Step
from streams.errors import ConfigError, Crashed
from tests.processors.support import (
    fixture_attempt,
    fixture_module,
    fixture_registry,
    running_host,
)
from tests.support.waiting import until

BOTH = pytest.mark.parametrize("name", ["on-the-loop", "in-a-thread"])


@BOTH
async def test_a_processor_gets_its_input_and_speaks_through_its_context(name):
    async with running_host() as host:
        attempt = fixture_attempt(name, {"message": "hej"}, attempt=2)
        result = msgspec.json.decode(await host.run(attempt))
        await until(lambda: attempt.steps, what="what a thread says on the loop")
    thread = threading.current_thread().name if name == "on-the-loop" else name
    assert result == {"message": "hej", "thread": thread}
    assert attempt.lines == [Line("info", "started", {"attempt": 2})]
    assert attempt.steps == [Step(1.0, "done")]


@BOTH
@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("raise", ValueError, "asked to raise"),
        ("reject", Rejected, "asked to reject"),
        ("retry", Retry, "asked to retry"),
        ("exit", Crashed, r"the processor raised SystemExit\(4\)"),
        ("cancel", Raised, "CancelledError"),
        ("bad_result", InvalidResult, r"forbids: Expected `str`, got `null` - at `\$.message`"),
    ],
)
async def test_a_processor_that_fails_ends_its_own_attempt_only(name, how, kind, said):
    async with running_host() as host:
        with pytest.raises(kind, match=said):
            await host.run(fixture_attempt(name, {"fail": how}))
        assert await host.run(fixture_attempt(name, {}))


async def test_a_retry_keeps_its_wait_and_its_count():
    async with running_host() as host:
        with pytest.raises(Retry) as caught:
            await host.run(fixture_attempt("on-the-loop", {"fail": "retry"}))
    assert (caught.value.after_s, caught.value.uses_attempt) == (7, False)


@BOTH
@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (b'{"message": 3}', "$.message"),
        (b'{"fail": "unheard of"}', "$.fail"),
        (b"[]", "$"),
        (b'{"message": ', "$"),
        (b"", "$"),
        (b'{"message": "\xff"}', "$"),
        (b'{"else": ' + b"[" * 100_000, "$"),
    ],
)
async def test_a_payload_that_does_not_fit_is_refused_with_its_path(name, payload, path):
    async with running_host() as host:
        with pytest.raises(InvalidInput) as caught:
            await host.run(fixture_attempt(name, payload))
    assert caught.value.path == path


async def test_a_result_over_the_cap_is_refused():
    async with running_host(ProcessorSettings(result_max_bytes=100)) as host:
        with pytest.raises(TooLarge, match="the limit is 100"):
            await host.run(fixture_attempt("on-the-loop", {"message": "x" * 100}))


async def test_a_processor_that_this_worker_lacks_is_for_another_worker():
    async with Host(Registry([]), []) as host:
        with pytest.raises(Retry, match="has no processor 'on-the-loop'") as caught:
            await host.run(fixture_attempt("on-the-loop", {}))
    assert not caught.value.uses_attempt


async def test_a_host_does_not_start_without_its_dependencies():
    talk = fixture_registry().get("talk")
    assert talk is not None
    host = Host(Registry([talk]), [LogProvider()])
    with pytest.raises(ConfigError, match="processor 'talk': unknown dependency 'cache'"):
        await host.start()
    await host.stop()


async def started(host, attempt):
    """The running attempt, once its processor has said so."""
    running = asyncio.ensure_future(host.run(attempt))
    await until(lambda: attempt.lines, what="the processor to start")
    return running


@BOTH
async def test_a_hanging_processor_stops_when_it_is_cancelled(name):
    async with running_host() as host:
        running = await started(host, fixture_attempt(name, {"fail": "hang"}))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert host.abandoned_threads == 0


async def test_plain_functions_that_hang_block_neither_the_loop_nor_each_other():
    async with running_host(ProcessorSettings(stop_grace_s=0.01)) as host:
        running = [
            await started(host, fixture_attempt("in-a-thread", {"fail": "hang"})) for _ in range(40)
        ]
        assert await host.run(fixture_attempt("on-the-loop", {}))
        assert await host.run(fixture_attempt("in-a-thread", {}))
        for one in running:
            one.cancel()
        endings = await asyncio.gather(*running, return_exceptions=True)
    assert {type(ending) for ending in endings} == {asyncio.CancelledError}


async def test_a_thread_that_does_not_stop_is_abandoned_counted_and_no_longer_heard():
    module = fixture_module("on_the_loop")
    module.release_threads.clear()
    async with running_host(ProcessorSettings(stop_grace_s=0.01)) as host:
        attempt = fixture_attempt("deaf", {})
        running = await started(host, attempt)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert host.abandoned_threads == 1
        module.release_threads.set()
        try:
            await until(lambda: host.abandoned_threads == 0, what="the abandoned thread to end")
        finally:
            module.release_threads.clear()
    assert [line.message for line in attempt.lines] == ["started"]
