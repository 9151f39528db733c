"""One connection to Redis on which calls overtake nothing: sent in order, answered in order.

A worker's settles and takes must keep their order although two rounds are on their way at once;
a pool of connections does not promise that. Every call sent here is a script that may be repeated.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import hiredis
from redis import exceptions as failures

from streams.errors import Unavailable
from streams.keyspace import Keyspace
from streams.scripts import Client, Scripts, translated

Call = tuple[str, Sequence[str | bytes | int | float]]
pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command  # redis-py packs in Python
BYTES_PER_S = 100_000  # the slowest link that a deadline allows for
PATIENCE_S = 2.0


class ScriptFailed(Unavailable):
    """Redis answers, but this call ends in an error, as it will the next time."""


class Wire:
    """Scripts over one multiplexed connection. Not for blocking commands."""

    def __init__(self, redis: Client, keyspace: Keyspace, scripts: Scripts) -> None:
        self._pool = redis.connection_pool
        self._route = keyspace.key("counts")
        self._scripts = scripts
        self._connection: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._lock = asyncio.Lock()
        self._connections = 0

    async def open(self) -> int:
        """Connect where there is no connection; the number of the connection, from 1.

        Raises Unavailable.
        """
        async with self._lock:
            if self._connection is None:
                await self._connect()
            return self._connections

    async def call(self, calls: Sequence[Call], *, connection: int | None = None) -> list[Any]:
        """Send calls in one write and wait for all answers, over the connection of that number.

        Raises Unavailable when the link fails or is too slow, and its subclass ScriptFailed when
        Redis refused a script; what was sent may then have been done or not.
        """
        async with self._lock:
            link = self._connection or await self._connect()
            if connection not in (None, self._connections):
                raise Unavailable("the link to Redis was made anew meanwhile")
            packed = b"".join(
                pack(("EVALSHA", self._scripts[name].sha, 1, self._route, *arguments))
                for name, arguments in calls
            )
            loop = asyncio.get_running_loop()
            answers = [loop.create_future() for _ in calls]
            self._waiting.extend(answers)
            patience = PATIENCE_S + len(packed) / BYTES_PER_S
            async with self._patience(patience):
                await _send(link, packed)
        async with self._patience(patience):
            replies = [await answer for answer in answers]
        for reply in replies:
            if isinstance(reply, failures.RedisError):
                await self.close("a script failed")  # a new connection loads the scripts again
                raise refusal(reply) from reply
        return replies

    @asynccontextmanager
    async def _patience(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            await self.close(f"no answer within {seconds:.1f} s")
            raise Unavailable("Redis does not answer in time") from error

    async def _connect(self) -> Any:
        with translated():
            connection = self._pool.make_connection()
            await connection.connect()
            for script in self._scripts:
                await connection.send_command("SCRIPT", "LOAD", script.text, check_health=False)
                await connection.read_response()
        connection.socket_timeout = None  # calls have their own, and this one costs a task a call
        self._connection = connection
        self._connections += 1
        self._reader = asyncio.get_running_loop().create_task(self._read(connection))
        return connection

    async def _read(self, connection: Any) -> None:
        reason = "closed"
        try:
            while True:
                try:
                    reply = await connection.read_response(
                        timeout=math.inf, disconnect_on_error=False
                    )
                except failures.ResponseError as error:
                    reply = error
                answer = self._waiting.popleft()
                if not answer.done():
                    answer.set_result(reply)
        except (failures.RedisError, OSError) as error:
            reason = str(error)
        finally:
            if self._connection is connection:
                self._connection = None
                self._fail(reason)
            await connection.disconnect(nowait=True)

    def _fail(self, reason: str) -> None:
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(Unavailable(f"the link to Redis failed: {reason}"))
                answer.exception()  # a call awaits its first answer only: the rest is no news

    async def close(self, reason: str = "closed") -> None:
        """Drop the connection; calls under way raise Unavailable. The next call opens a new one."""
        reader, self._reader, self._connection = self._reader, None, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        self._fail(reason)


def refusal(reply: failures.RedisError) -> Unavailable:
    """What a script's error means: Redis cannot serve now, or it will never accept this call."""
    try:
        with translated():
            raise reply
    except Unavailable as known:
        return known
    except failures.NoScriptError:
        return Unavailable("Redis has forgotten the scripts")
    except failures.RedisError:
        return ScriptFailed(f"Redis refused a script: {reply}")


async def _send(connection: Any, packed: bytes) -> None:
    try:
        with translated():
            await connection.send_packed_command(packed, check_health=False)
    except AttributeError as error:
        # redis-py writes a turn of the loop later; by then the reader may have dropped the writer.
        raise Unavailable("the link to Redis was dropped meanwhile") from error
