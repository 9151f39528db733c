"""Reading the event stream: every change of a job's state, in order, capped."""

from collections.abc import Sequence

from streams.event_record import Entry, Event, parse_entry, parse_event
from streams.keyspace import Keyspace
from streams.scripts import Client, text, translated

__all__ = ["Entry", "Event", "EventReader", "parse_entry", "parse_event"]


class EventReader:
    """Reads events after an id. Its client must not be shared with short control calls."""

    def __init__(self, redis: Client, keyspace: Keyspace) -> None:
        self._redis = redis
        self._key = keyspace.key("events")

    async def latest_id(self) -> str:
        """The id of the newest event, `0-0` when there is none: read from here on."""
        with translated():
            rows = await self._redis.xrevrange(self._key, count=1)
        return text(rows[0][0]) if rows else "0-0"

    async def oldest_id(self) -> str:
        """The id of the oldest event still kept: reading from before it leaves a gap."""
        with translated():
            rows = await self._redis.xrange(self._key, count=1)
        return text(rows[0][0]) if rows else "0-0"

    async def read(self, after: str, block_ms: int = 0, count: int = 1_000) -> list[Event]:
        """Events of the entries after the one of `after`, at most `count` entries.

        Waits at most `block_ms` for the first one (0: not at all).
        """
        entries = await self.entries(after, block_ms, count)
        return [event for entry in entries for event in parse_entry(entry.id, entry.lines)]

    async def entries(self, after: str, block_ms: int = 0, count: int = 1_000) -> Sequence[Entry]:
        """The same, not taken apart: for whoever counts, or looks for a few among many."""
        entry = "-".join(after.split("-")[:2])
        with translated():
            reply = await self._redis.xread({self._key: entry}, count=count, block=block_ms or None)
        rows = reply[0][1] if reply else []
        return [Entry(text(entry_id), fields[b"e"]) for entry_id, fields in rows]
