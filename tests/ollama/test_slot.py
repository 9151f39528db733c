"""At most one request is in flight per host."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from processors.dependencies.ollama_slot import HostSlot
from tests.ollama.simulated import Sim


async def asker(sim: Sim, directory: Path, count: int) -> asyncio.subprocess.Process:
    arguments = ("-m", "tests.ollama.asker", sim.url, str(directory), str(count))
    return await asyncio.create_subprocess_exec(sys.executable, *arguments)


async def test_two_processes_ask_one_after_the_other(sim: Sim, tmp_path: Path) -> None:
    askers = [await asker(sim, tmp_path, 6) for _ in range(2)]
    assert [await one.wait() for one in askers] == [0, 0]
    log = await sim.log()
    assert len(log["requests"]) == 2 * 6 * 2
    assert log["max_concurrency"] == 1


async def test_a_killed_holder_lets_go(sim: Sim, tmp_path: Path) -> None:
    await sim.fault("hang_before_headers", match={"route": "/api/chat"})
    holder = await asker(sim, tmp_path, 1)
    await sim.until(lambda seen: len(seen["requests"]) == 2, "it asks")
    heir = await asker(sim, tmp_path, 1)
    holder.send_signal(signal.SIGKILL)
    assert await heir.wait() == 0
    assert await holder.wait() == -signal.SIGKILL


async def test_one_process_waits_for_itself_without_blocking(tmp_path: Path) -> None:
    slot, order = HostSlot(tmp_path, "mac"), []
    entered, leave = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with slot.held():
            entered.set()
            await leave.wait()
            order.append("first")

    async def second() -> None:
        await entered.wait()
        async with HostSlot(tmp_path, "mac").held():
            order.append("second")

    async with asyncio.TaskGroup() as group:
        group.create_task(first())
        group.create_task(second())
        await entered.wait()
        async with HostSlot(tmp_path, "other").held():
            order.append("another host")
        leave.set()
    assert order == ["another host", "first", "second"]


async def test_a_waiter_that_is_cancelled_leaves_nothing_open(tmp_path: Path) -> None:
    slot = HostSlot(tmp_path, "mac")
    async with slot.held():
        held = open_files()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), HostSlot(tmp_path, "mac").held():
                pass
        assert open_files() == held
    async with asyncio.timeout(5), slot.held():
        pass


def open_files() -> int:
    """How many this process has open; Linux and macOS both list them."""
    return len(os.listdir("/dev/fd"))


async def test_a_symlink_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    slot = HostSlot(tmp_path, "mac")
    slot.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        async with slot.held():
            pass
