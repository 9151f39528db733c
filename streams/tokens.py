"""What attempts say while they run, such as a model's words: written in pieces, read by anybody.

One capped stream per job holds what its newest attempt said. Pieces carry the place of their first
byte, so that a piece that is sent twice is kept once and what is missing can be seen.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streams.errors import Unavailable
from streams.keyspace import Keyspace
from streams.model import Lease
from streams.scripts import Client, Scripts, text, translated

EVERY_S = 0.05  # one call in that time, whatever runs
CALL_MAX_BYTES = 128 * 1024  # of text in one call
KEPT_MAX_BYTES = 256 * 1024  # of one attempt, unsaid; what comes beyond is missing
LAST_S = 1.0  # how long an attempt that ends waits for its last words to arrive
AWAY_S = 0.5
READ_MAX = 500  # pieces of one answer


class Piece(msgspec.Struct, frozen=True):
    """Some of what an attempt said. An empty one begins the attempt or, with `cut`, ends it."""

    id: str
    attempt: int
    at: int  # bytes of UTF-8 that the attempt had said before
    text: str
    cut: bool = False  # it said more than is kept

    @property
    def begins(self) -> bool:
        """Whether a new attempt begins: whatever an earlier one said is void."""
        return not self.text and not self.cut


class Unsaid:
    """What one attempt has said and Redis has not heard."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.start = 0  # bytes said before those in `kept`
        self.kept = bytearray()
        self.dropped = 0  # bytes that came after `kept` was full
        self.closed = False  # nobody wants to hear more

    def add(self, piece: str) -> None:
        """Keep a piece, if there is room."""
        raw = piece.encode("utf-8", "replace")
        if self.closed:
            return
        if not self.kept:
            self.start, self.dropped = self.start + self.dropped, 0
        if self.dropped or len(self.kept) + len(raw) > KEPT_MAX_BYTES:
            self.dropped += len(raw)
        else:
            self.kept += raw

    def heard(self, size: int) -> None:
        """The first `size` bytes have arrived."""
        self.start += size
        del self.kept[:size]


class Speaker:
    """Writes what a worker's attempts say: at most one call every 50 ms for all of them."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._unsaid: dict[str, Unsaid] = {}  # by token
        self._something = asyncio.Event()
        self._speaking = asyncio.Lock()
        self._spoke_at = 0.0

    def say(self, lease: Lease, piece: str) -> None:
        """Say a piece soon. Never waits, never raises."""
        if piece:
            unsaid = self._unsaid.get(lease.token)
            if unsaid is None:
                unsaid = self._unsaid[lease.token] = Unsaid(lease)
            unsaid.add(piece)
            self._something.set()

    async def run(self) -> None:
        """Say what there is to say, for ever."""
        while True:
            await self._something.wait()
            try:
                await self._speak()
            except Unavailable:
                await asyncio.sleep(AWAY_S)

    async def finish(self, lease: Lease) -> None:
        """Say the rest of an attempt that has ended: viewers shall have all before its end."""
        unsaid = self._unsaid.get(lease.token)
        if unsaid is None:
            return
        with contextlib.suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(LAST_S):
                while unsaid.kept and not unsaid.closed:
                    await self._speak()
        self._unsaid.pop(lease.token, None)

    def forget(self, lease: Lease) -> None:
        """The attempt is over, however."""
        self._unsaid.pop(lease.token, None)

    async def _speak(self) -> None:
        async with self._speaking:
            await asyncio.sleep(max(0.0, self._spoke_at + EVERY_S - time.monotonic()))
            self._something.clear()
            saying, row = self._gather()
            if not saying:
                return
            try:
                answers = await self._scripts.run("say", *row)
            except BaseException:
                self._something.set()  # it was said or not: saying it again is harmless
                raise
            finally:
                self._spoke_at = time.monotonic()
            for (unsaid, size), answer in zip(saying, answers, strict=True):
                unsaid.heard(size)
                if answer != b"said":
                    unsaid.closed = True
                    unsaid.kept.clear()

    def _gather(self) -> tuple[list[tuple[Unsaid, int]], list[str | bytes | int]]:
        """What one call carries; the rest goes with the next."""
        saying: list[tuple[Unsaid, int]] = []
        row: list[str | bytes | int] = []
        left = CALL_MAX_BYTES
        for unsaid in self._unsaid.values():
            if not unsaid.kept:
                continue
            piece = whole_characters(bytes(unsaid.kept[:left]))
            if not piece:
                self._something.set()
                break
            saying.append((unsaid, len(piece)))
            lease, start = unsaid.lease, unsaid.start
            row += [lease.job_id, lease.token, start, start + len(piece), piece]
            left -= len(piece)
            if len(piece) < len(unsaid.kept):
                self._something.set()
        return saying, row


def whole_characters(raw: bytes) -> bytes:
    """`raw` without the beginning of a character at its end."""
    for back in range(1, min(4, len(raw)) + 1):
        first = raw[-back]
        if first < 0x80:
            return raw
        if first >= 0xC0:
            size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            return raw if size <= back else raw[:-back]
    return raw


class TokenReader:
    """Reads what attempts say. Its client must not be shared with short control calls."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._keys = keyspace

    async def read(self, job_id: str, after: str = "-", count: int = READ_MAX) -> list[Piece]:
        """What a job's newest attempt said after the piece of the id `after`, in order."""
        start = after if after == "-" else f"({after}"
        with translated():
            rows = await self._redis.xrange(
                self._keys.key("tokens_", job_id), min=start, count=count
            )
        return [parse_piece(text(entry), fields) for entry, fields in rows]

    async def news(self, heard: Mapping[str, str], block_ms: int) -> dict[str, str]:
        """Wait until one of these jobs says something after its id; the newest id of each.

        `0` is the id before the first. Empty when nobody did within `block_ms`.
        """
        by_key = {self._keys.key("tokens_", job_id): job_id for job_id in heard}
        asked = {key: heard[job_id] for key, job_id in by_key.items()}
        with translated():
            reply: Sequence[Any] = await self._redis.xread(asked, block=block_ms) or ()
        return {by_key[text(key)]: text(rows[-1][0]) for key, rows in reply}


def parse_piece(entry_id: str, fields: Mapping[bytes, bytes]) -> Piece:
    """A piece from its entry."""
    return Piece(
        id=entry_id,
        attempt=int(fields[b"a"]),
        at=int(fields[b"f"]),
        text=fields[b"x"].decode("utf-8", "replace"),
        cut=b"cut" in fields,
    )
