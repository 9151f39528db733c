"""A gateway's copy of a table: what was written a moment ago is found, without a flood of reads."""

import asyncio

from gateway.mirror import Mirror
from streams.clock import SystemClock


class Table:
    """A table in Redis that counts its reads."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.reads = 0
        self.mirror = Mirror("rows", self.load, SystemClock(), refresh_s=2.0)

    async def load(self) -> dict[str, int]:
        self.reads += 1
        return dict(self.rows)


async def test_what_was_written_right_after_a_read_is_found() -> None:
    table = Table()
    await table.mirror.refresh()
    table.rows["new"] = 1
    assert await table.mirror.find("new") == 1


async def test_many_who_look_for_what_is_missing_share_a_read() -> None:
    table = Table()
    await table.mirror.refresh()
    found = await asyncio.gather(*(table.mirror.find(f"no-{number}") for number in range(100)))
    assert set(found) == {None}
    assert table.reads == 2
