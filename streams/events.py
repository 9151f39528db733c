"""Reading the event stream: every change of a job's state, in order, capped."""

import msgspec

from streams.keyspace import Keyspace
from streams.model import Lane, State
from streams.scripts import Client, text, translated


class Event(msgspec.Struct, frozen=True):
    """One change; its id is the entry's with the number of its line.

    Kinds: submitted, active, progress, retrying, handed_back, cancelling, ended.
    """

    id: str
    kind: str
    job_id: str
    lane: Lane
    state: State
    attempt: int
    at_ms: int
    fields: dict[str, str]

    @property
    def app(self) -> str:
        """The app whose job it is."""
        return self.lane.app


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
        entry = "-".join(after.split("-")[:2])
        with translated():
            reply = await self._redis.xread({self._key: entry}, count=count, block=block_ms or None)
        rows = reply[0][1] if reply else []
        return [event for entry in rows for event in parse_entry(text(entry[0]), entry[1][b"e"])]


def parse_entry(entry_id: str, lines: bytes) -> list[Event]:
    """The events of one stream entry: all that one call of a script said, a line each."""
    return [
        parse_event(f"{entry_id}-{number}", line)
        for number, line in enumerate(text(lines).split("\n"))
    ]


def parse_event(event_id: str, line: str) -> Event:
    """One event from its line: kind, job, lane, state, attempt, then `name=value` fields."""
    kind, job_id, lane, state, attempt, *fields = line.split("\t")
    named = (field.partition("=") for field in fields if field)
    return Event(
        id=event_id,
        kind=kind,
        job_id=job_id,
        lane=Lane.parse(lane),
        state=State(state),
        attempt=int(attempt),
        at_ms=int(event_id.split("-")[0]),
        fields={name: value for name, _, value in named},
    )
