"""The doorbells at which a worker waits, on a connection of its own."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from streams.errors import Unavailable
from streams.scripts import Client, pairs, text, translated
from streams.wire import pack

PATIENCE_S = 2.0  # beyond the time that was asked for

Ring = tuple[str, Mapping[bytes, bytes]]


class Bell:
    """Reads several doorbells with one blocking command after the other. For one task."""

    def __init__(self, redis: Client, doorbells: Sequence[str]) -> None:
        self._pool = redis.connection_pool
        self._after = dict.fromkeys(doorbells, "0-0")
        self._connection: Any = None

    async def wait(self, block_ms: int) -> list[Ring]:
        """What rang since the last wait, as (doorbell, fields); nothing when the time is up.

        Raises Unavailable; the next wait connects again and hears what rang meanwhile.
        """
        command = ("XREAD", "BLOCK", block_ms, "STREAMS", *self._after, *self._after.values())
        try:
            with translated():
                async with asyncio.timeout(block_ms / 1000 + PATIENCE_S):
                    link = self._connection or await self._connect()
                    packed = pack(command)
                    await link.send_packed_command(packed, check_health=False)
                    reply = await link.read_response()
        except BaseException as error:
            await self.close()
            if isinstance(error, AttributeError | TimeoutError):  # the writer was dropped meanwhile
                raise Unavailable("no answer at the doorbell") from error
            raise
        return list(self._rings(reply))

    def _rings(self, reply: Any) -> Any:
        """Both shapes of an answer: a map from version 3 of the protocol on, else pairs."""
        for raw, entries in reply.items() if isinstance(reply, dict) else reply or ():
            doorbell = text(raw)
            self._after[doorbell] = text(entries[-1][0])
            for _, fields in entries:
                yield doorbell, dict(pairs(fields))

    async def _connect(self) -> Any:
        connection = self._pool.make_connection()
        await connection.connect()
        connection.socket_timeout = None  # `wait` has its own, and this one costs a task a call
        self._connection = connection
        return connection

    async def close(self) -> None:
        """Drop the connection; a wait under way raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
