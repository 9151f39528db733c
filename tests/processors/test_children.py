"""Attempts of class cpu: what happens to their processes, and to nobody else."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import uvloop

from processors.sdk import InvalidInput, Rejected, Retry, TooLarge, Unavailable
from processors.sdk.declaration import LOOSE_PREFIX, InvalidResult
from processors.sdk.frames import Raised
from processors.sdk.settings import ProcessorSettings
from processors.sdk.testing import Line, Step
from streams.errors import Crashed
from tests.processors.support import fixture_attempt, is_alive, running_host
from tests.support.waiting import until, until_sync

ECHO = {"message": "hej"}
QUICK = ProcessorSettings(stop_grace_s=0.05)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel kills on Linux only")


async def run(host, name, payload, **known):
    return msgspec.json.decode(await host.run(fixture_attempt(name, payload, **known)))


def pids_in(folder: Path) -> list[int]:
    file = folder / "pids"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


async def started(host, name, folder):
    """The running attempt, and the pids it left in `folder`."""
    running = asyncio.ensure_future(host.run(fixture_attempt(name, {"folder": str(folder)})))
    pids = await until(lambda: pids_in(folder), what="the attempt to start", limit_s=10)
    return running, pids


async def test_a_child_is_kept_warm_and_knows_its_attempt():
    async with running_host() as host:
        first = await run(host, "echo", ECHO)
        second = await run(host, "echo", ECHO, attempt=2)
        [pid] = host.child_pids
    assert first["worker"] == second["worker"] == f"{os.uname().nodename}:{pid}"
    assert (first["message"], first["attempt"], second["attempt"]) == ("hej", 1, 2)
    assert pid != os.getpid()
    assert not is_alive(pid)


async def test_two_attempts_run_at_one_time_in_two_processes(tmp_path):
    def one(me: str, other: str) -> dict[str, str]:
        return {"folder": str(tmp_path), "me": me, "other": other}

    async with running_host() as host, asyncio.timeout(20):
        pids = await asyncio.gather(
            run(host, "meet", one("a", "b")), run(host, "meet", one("b", "a"))
        )
        assert sorted(pids) == sorted(host.child_pids)
    assert len({*pids, os.getpid()}) == 3


async def test_a_child_has_its_own_group_few_files_no_secrets_and_only_its_module(monkeypatch):
    monkeypatch.setenv("ROUGHNECK_SECRET", "whsec_x")
    inherited = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        async with running_host(ProcessorSettings(cpu_files_max=64)) as host:
            seen = await run(host, "look", {})
    finally:
        os.close(inherited)
    assert seen["group"] == seen["pid"]
    assert {kind.partition(":")[0] for kind in seen["files"]} == {"/dev/null", "pipe", "socket"}
    assert len(seen["files"]) == 5
    assert set(seen["environment"]) <= {"PATH", "LANG", "PYTHONPATH", "LC_CTYPE"}
    assert (seen["core_max"], seen["files_max"]) == (0, 64)
    loaded = [name for name in seen["modules"] if name.startswith(LOOSE_PREFIX)]
    assert len(loaded) == 1
    assert not {"redis", "httpx", "faust", "processors.builtin.echo"} & set(seen["modules"])


async def test_a_child_speaks_and_its_prints_are_logged_in_order():
    async with running_host() as host:
        attempt = fixture_attempt("talk", {})
        result = msgspec.json.decode(await host.run(attempt))
        again = await run(host, "talk", {})
    assert result["cached"] is None
    assert again["cached"] == again["pid"] == result["pid"]
    assert (result["app"], result["job"]) == ("test", attempt.lease.job_id)
    assert attempt.steps == [Step(1.0, "over the top")]
    logged = [line for line in attempt.lines if "printed" not in line.fields]
    assert logged == [Line("warning", "logged", {"size": 3, "thing": repr(Path)})]
    printed = [line.message for line in attempt.lines if "printed" in line.fields]
    assert printed == ["printed", "written to descriptor 1", "complained"]


@pytest.mark.parametrize(
    ("payload", "kind", "said"),
    [
        ({"fail": "transient"}, Retry, "another attempt may succeed"),
        ({"fail": "permanent"}, Rejected, "asked to fail for good"),
        ({"fail": "raise"}, Raised, "ValueError: asked to raise"),
        ({"fail": "bad_result"}, InvalidResult, r"got `null` - at `\$.message`"),
        ({"message": 3}, InvalidInput, r"Expected `str`, got `int` - at `\$.message`"),
    ],
)
async def test_a_processor_that_raises_keeps_its_child(payload, kind, said):
    async with running_host() as host:
        await run(host, "echo", ECHO)
        before = host.child_pids
        with pytest.raises(kind, match=said) as caught:
            await run(host, "echo", {**ECHO, **payload})
        await run(host, "echo", ECHO)
        assert host.child_pids == before
    assert "Traceback" in caught.value.__notes__[0]


async def test_an_exception_keeps_code_path_and_wait_on_its_way_out_of_the_child():
    async with running_host() as host:
        with pytest.raises(InvalidInput) as wrong:
            await run(host, "echo", {"message": 3})
        with pytest.raises(Unavailable) as away:
            await run(host, "away", {})
    assert (wrong.value.code, wrong.value.path) == ("invalid_input", "$.message")
    assert (away.value.code, away.value.after_s) == ("unavailable", 12)


@pytest.mark.parametrize(
    ("how", "said"),
    [("crash", "was killed by SIGSEGV"), ("exit", "exited with code 3")],
)
async def test_a_process_that_dies_is_a_crash_of_its_attempt_only(how, said):
    async with running_host() as host:
        with pytest.raises(Crashed, match=said):
            await run(host, "echo", {**ECHO, "fail": how})
        assert host.child_pids == []
        assert (await run(host, "echo", ECHO))["message"] == "hej"


async def test_a_process_killed_from_outside_is_a_crash_that_says_so(tmp_path):
    async with running_host() as host:
        running, [pid, grandchild] = await started(host, "stubborn", tmp_path)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Crashed, match=r"was killed by SIGKILL \(out of memory\?\)"):
            await running
        await until(lambda: not is_alive(grandchild), what="what it started to be gone")


async def test_a_process_that_dies_is_noticed_though_a_fork_of_it_holds_the_connection(tmp_path):
    async with running_host() as host:
        running, [_, fork] = await started(host, "forked", tmp_path)
        with pytest.raises(Crashed, match="exited with code 5"):
            await asyncio.wait_for(running, 10)
        await until(lambda: not is_alive(fork), what="the fork to be gone")


async def test_a_child_that_died_while_idle_is_replaced():
    async with running_host() as host:
        await run(host, "echo", ECHO)
        [pid] = host.child_pids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: host.child_pids == [], what="the death to be noticed")
        assert (await run(host, "echo", ECHO))["message"] == "hej"


def test_a_child_that_hung_up_while_idle_is_replaced_before_its_death_is_known(monkeypatch):
    async def everything() -> None:
        async with running_host(QUICK) as host:
            await run(host, "echo", ECHO)
            [child] = host._processes._idle
            with monkeypatch.context() as late:
                late.setattr(child, "_on_exit", lambda: None)
                os.kill(child.pid, signal.SIGKILL)
                await until(child._reader.at_eof, what="the connection to be gone")
                again = asyncio.ensure_future(run(host, "echo", ECHO))
                await asyncio.wait([again], timeout=10)
            child._on_exit()
            assert (await again)["message"] == "hej"

    uvloop.run(everything())


async def test_a_cancelled_attempt_is_over_when_its_process_and_what_it_started_are_gone(tmp_path):
    async with running_host(QUICK) as host:
        running, pids = await started(host, "stubborn", tmp_path)
        assert all(is_alive(pid) for pid in pids)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not is_alive(pids[0])
        assert host.child_pids == []
        await until(lambda: not is_alive(pids[1]), what="the grandchild to be gone")


async def test_a_second_cancel_kills_at_once_and_still_waits_for_the_process(tmp_path):
    async with running_host(ProcessorSettings(stop_grace_s=600)) as host:
        running, [pid, _] = await started(host, "stubborn", tmp_path)
        running.cancel()
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 10)
        assert not is_alive(pid)


@pytest.mark.parametrize("how", ["hang", "block"])
async def test_an_attempt_at_its_deadline_is_stopped_and_the_next_one_runs(how):
    async with running_host(QUICK) as host:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await run(host, "echo", {**ECHO, "fail": how})
        assert host.child_pids == []
        assert (await run(host, "echo", ECHO))["message"] == "hej"


async def test_a_flood_of_prints_is_bounded_in_the_log_and_harms_nothing():
    async with running_host(ProcessorSettings(cpu_output_max_bytes=1_000)) as host:
        attempt = fixture_attempt("echo", {**ECHO, "fail": "flood"})
        assert msgspec.json.decode(await host.run(attempt))["message"] == "hej"
        after = fixture_attempt("echo", ECHO)
        await host.run(after)
    *lines, last = [line.message for line in attempt.lines]
    assert lines[0] == "line 0 of a flood"
    assert sum(len(line) + 1 for line in lines) <= 1_000 + 30
    assert last.endswith("more bytes of output were dropped")
    assert after.lines == []


async def test_log_lines_of_several_threads_do_not_mix():
    async with running_host() as host:
        attempt = fixture_attempt("chatty", {"bytes": 200})
        await host.run(attempt)
    numbers = [line.fields["number"] for line in attempt.lines]
    assert sorted(numbers) == sorted([0, 1, 2, 3] * 200)
    assert {line.fields["text"] for line in attempt.lines} == {"x" * 500}


async def test_a_result_of_megabytes_comes_through_and_one_over_the_cap_is_refused():
    async with running_host(ProcessorSettings(result_max_bytes=3_000_000)) as host:
        assert len(await run(host, "big", {"bytes": 2_999_998})) == 2_999_998
        with pytest.raises(TooLarge, match="the limit is 3000000"):
            await run(host, "big", {"bytes": 2_999_999})
        assert len(host.child_pids) == 1


async def test_rubbish_in_the_connection_is_a_crash_and_ends_the_process():
    async with running_host(QUICK) as host:
        with pytest.raises(Crashed, match="sent a frame of 4294967295 bytes"):
            await run(host, "breaks-in", {})
        assert host.child_pids == []


@linux_only
async def test_a_child_over_its_memory_fails_the_attempt_and_not_the_machine():
    async with running_host(ProcessorSettings(cpu_memory_max_bytes=1 << 30)) as host:
        with pytest.raises(Raised, match="MemoryError"):
            await run(host, "greedy", {"bytes": 2 << 30})
        assert await run(host, "greedy", {"bytes": 1 << 20}) == 1 << 20


async def test_a_child_is_replaced_after_its_share_of_jobs():
    async with running_host(ProcessorSettings(cpu_jobs_max=2)) as host:
        workers = [(await run(host, "echo", ECHO))["worker"] for _ in range(4)]
    assert workers[0] == workers[1] != workers[2] == workers[3]


async def test_no_more_children_are_kept_warm_than_set():
    async with running_host(ProcessorSettings(cpu_idle_max=1)) as host:
        await asyncio.gather(*(run(host, "echo", ECHO) for _ in range(3)))
        assert len(host.child_pids) == 1


async def test_a_stopped_host_leaves_no_process_and_no_descriptor_behind(tmp_path):
    async with running_host(QUICK) as host:  # what the loop opens for itself is open from here on
        await run(host, "echo", ECHO)
    before = os.listdir("/dev/fd")
    async with running_host(QUICK) as host:
        await asyncio.gather(*(run(host, "echo", ECHO) for _ in range(3)))
        for how in ("crash", "exit"):
            with pytest.raises(Crashed):
                await run(host, "echo", {**ECHO, "fail": how})
        running, [pid, _] = await started(host, "stubborn", tmp_path)
        pids = [*host.child_pids, pid]
    with pytest.raises(Crashed, match="was killed by SIGKILL"):
        await running
    assert not any(is_alive(pid) for pid in pids)
    assert os.listdir("/dev/fd") == before


@pytest.mark.parametrize("name", ["stubborn", pytest.param("locked", marks=linux_only)])
def test_a_killed_worker_takes_its_children_and_what_they_started_along(name, tmp_path):
    """`locked` holds the interpreter lock for ever: only the kernel can end it."""
    command = [sys.executable, "-m", "tests.processors.parent", name, str(tmp_path)]
    parent = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        pids = until_sync(lambda: pids_in(tmp_path), what="the attempt to start", limit_s=20)
        assert all(is_alive(pid) for pid in pids)
    finally:
        parent.kill()
        parent.wait()
    for pid in pids:
        until_sync(lambda pid=pid: not is_alive(pid), what="the process to be gone")


def test_children_work_under_uvloop_as_well(tmp_path):
    async def everything() -> None:
        async with running_host(QUICK) as host:
            assert (await run(host, "echo", ECHO))["message"] == "hej"
            with pytest.raises(Crashed, match="was killed by SIGSEGV"):
                await run(host, "echo", {**ECHO, "fail": "crash"})
            attempt = fixture_attempt("echo", {**ECHO, "fail": "flood"})
            await host.run(attempt)
            assert attempt.lines
            running, [pid, _] = await started(host, "stubborn", tmp_path)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert not is_alive(pid)

    uvloop.run(everything())
