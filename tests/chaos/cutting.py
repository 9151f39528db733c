"""A proxy before Redis that cuts: at once, with a request or a reply, amid a frame, or silently."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from tests.support.waiting import until

READ_MAX = 65_536


class Cut(StrEnum):
    """How a connection ends."""

    NOW = "now"
    REQUEST_LOST = "request lost"
    REPLY_LOST = "reply lost"
    AMID_FRAME = "amid a frame"
    SILENT = "silent"  # nothing comes through any more, and nobody is told


class Passage:
    """One client's connection through the proxy, and what shall happen to it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.ends = (client, server)
        self.cut: Cut | None = None

    def abort(self) -> None:
        for end in self.ends:
            end.transport.abort()

    def through(self, data: bytes, *, reply: bool) -> bytes | None:
        """What is passed on of `data`; None: the connection ends here."""
        match self.cut:
            case Cut.SILENT:
                return b""
            case Cut.REQUEST_LOST if not reply:
                return None
            case Cut.REPLY_LOST if reply:
                return None
            case Cut.AMID_FRAME if reply:
                self.ends[0].write(data[: len(data) // 2])
                return None
        return data


class CuttingProxy:
    """Passes everything on to a port of this machine until it is told to cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.passages: set[Passage] = set()
        self.port = 0
        self.cuts = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self, how: Cut) -> int:
        """Cut every connection that there is now, in this way; how many there were."""
        for passage in list(self.passages):
            passage.cut = how
            if how is Cut.NOW:
                passage.abort()
        self.cuts += 1
        return len(self.passages)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        passage = Passage(writer, forth)
        self.passages.add(passage)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, forth, passage, reply=False))
                both.create_task(self._pass(back, writer, passage, reply=True))
        finally:
            self.passages.discard(passage)
            passage.abort()

    async def _pass(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        passage: Passage,
        *,
        reply: bool,
    ) -> None:
        try:
            while data := await source.read(READ_MAX):
                kept = passage.through(data, reply=reply)
                if kept is None:
                    await sink.drain()
                    break
                if kept:
                    sink.write(kept)
                    await sink.drain()
        except OSError:
            pass
        passage.abort()


@asynccontextmanager
async def cutting_proxy(target: int) -> AsyncIterator[CuttingProxy]:
    """A proxy on a free port of the loopback before the server on `target`."""
    proxy = CuttingProxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut(Cut.NOW)
        await until(lambda: not proxy.passages, what="the proxy's connections to end")
